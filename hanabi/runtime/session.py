"""The session of one runtime with its host, without I/O: each message is checked against the state table and becomes a callback."""

import json
import re
from collections.abc import Callable

from hanabi.contracts.invocation import Invocation
from hanabi.contracts.sandbox import Exit
from hanabi.quotas import RESPONSE_PAYLOAD_BYTES
from hanabi.runtime.states import TRANSITIONS, RuntimeEvent, RuntimeState
from hanabi.runtime.streamed_answer import StreamedAnswer

ERROR_TYPE_SCAN_BYTES = 64 * 1024  # bytes of an error payload that are looked at for its type
TOO_LARGE = "Function.ResponseSizeTooLarge"
UNKNOWN = "Runtime.Unknown"
_ERROR_TYPE = re.compile(rb'"errorType"\s*:\s*"((?:[^"\\]|\\.){0,256})"')


class InvalidTransition(Exception):
    """A message that the runtime's state does not allow."""


class RuntimeSession:
    """A runtime's session, for the channel and the Runtime API alike. It has at most one invocation at a time."""

    def __init__(
        self,
        *,
        on_ready: Callable[[], None],  # its init is over, or it has asked for the next invocation after the answer to one
        on_init_error: Callable[[bytes, str], None],
        on_result: Callable[[bytes], None],
        on_error: Callable[[bytes, str], None],
        on_violation: Callable[[str], None],
        on_awaiting_restore: Callable[[], None] = lambda: None,
        begin: RuntimeState = RuntimeState.STARTING,  # DORMANT, RESTORING: of a clone
    ) -> None:
        self.state = begin
        self.invocation: Invocation | None = None
        self.deliver: Callable[[Invocation], None] | None = None  # set by the end on which the runtime waits
        self.send_restore: Callable[[], None] | None = None  # likewise: tells a runtime that it has been restored
        self.undelivered: Callable[[Exit | None], bool] = lambda exit: False  # likewise; see `lost`
        self._on_ready = on_ready
        self._on_init_error = on_init_error
        self._on_result = on_result
        self._on_error = on_error
        self._on_violation = on_violation
        self._on_awaiting_restore = on_awaiting_restore
        self._streamed = StreamedAnswer()
        self.on_room: Callable[[], None] = lambda: None  # likewise; see `is_full`
        self._asked_early = False
        self._broke_off = False  # a violation in the middle of an answer
        self._answer: bytes | None = None  # given by the runtime, and not handed out
        self._error_type: str | None = None

    # --- the host -----------------------------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation) -> None:
        """Send an invocation to a runtime that is ready."""
        self._advance(RuntimeEvent.INVOKE)
        self.invocation = invocation
        assert self.deliver is not None
        self.deliver(invocation)

    def restore(self) -> None:
        """Resume a restored runtime: let it run its after-restore hooks."""
        self._advance(RuntimeEvent.RESTORE)
        if self._asked_early:
            self.next()
        elif self.send_restore is not None:
            self.send_restore()

    def held_answer(self) -> tuple[bytes, str | None] | None:
        """(payload, error type or None) of a runtime that ended after its answer, or will, without asking for the next invocation."""
        return None if self._answer is None else (self._answer, self._error_type)

    def lost(self, exit: Exit | None) -> bool:
        """Whether a runtime ended before it had received its whole invocation: another runtime may then get it."""
        if self.state not in (RuntimeState.INVOKING, RuntimeState.FAILED) or self._broke_off:
            return False
        return self.invocation is not None and self.undelivered(exit)

    def close(self) -> None:
        self._advance(RuntimeEvent.CLOSE)
        self._streamed.break_off("the runtime ended in the middle of its answer")
        self.invocation = None

    # --- the runtime --------------------------------------------------------------------------------------------------

    def next(self) -> None:
        """The runtime asks for the next invocation: its init, or the one it answered, is over. Raises `InvalidTransition`."""
        before = self.state
        self._advance(RuntimeEvent.NEXT)
        if before is RuntimeState.AWAITING_RESTORE:
            self._asked_early = True
        elif before in (RuntimeState.STARTING, RuntimeState.RESTORING):
            self._on_ready()
        elif before is RuntimeState.ANSWERED:
            self.release_answer()
            if self.state is RuntimeState.READY:  # and has not been given the next one at once
                self._on_ready()

    def release_answer(self) -> None:
        """Give the caller the answer now, though the runtime is not ready for the next invocation yet."""
        answer, self._answer = self._answer, None
        if answer is None:
            return
        if self._error_type is None:
            self._on_result(answer)
        else:
            self._on_error(answer, self._error_type)

    def restore_next(self) -> None:
        """The runtime waits to be restored. Raises `InvalidTransition`."""
        before = self.state
        self._advance(RuntimeEvent.RESTORE_NEXT)
        if before is RuntimeState.STARTING:
            self._on_awaiting_restore()

    def start(self) -> None:
        """The init, or the work after an answer, is over. As `next`, but only once: the channel has no repeated `next`."""
        if self.state not in (RuntimeState.STARTING, RuntimeState.RESTORING, RuntimeState.ANSWERED):
            raise InvalidTransition(f"ready while {self.state.name.lower()}")
        self.next()

    def answer(self, payload: bytes) -> None:
        """The runtime's result. Raises `InvalidTransition`."""
        if len(payload) > RESPONSE_PAYLOAD_BYTES:
            self.fail(too_large(), TOO_LARGE)
        else:
            self._advance(RuntimeEvent.ANSWER)
            self._answer, self._error_type = payload, None

    def finish(self, payload: bytes, *, ready: bool) -> None:
        """As `answer`, released at once; `ready`: the runtime asked for the next invocation, too. Raises `InvalidTransition`."""
        if len(payload) > RESPONSE_PAYLOAD_BYTES:
            self.fail(too_large(), TOO_LARGE)
            if ready:
                self.next()
            else:
                self.release_answer()
            return
        self._advance(RuntimeEvent.ANSWER)
        if ready:
            self._advance(RuntimeEvent.NEXT)
        self._on_result(payload)
        if self.state is RuntimeState.READY:  # and has not been given the next one at once
            self._on_ready()

    # --- the runtime answers piece by piece ---------------------------------------------------------------------------

    @property
    def takes_streams(self) -> bool:
        """Whether a streamed answer is handed on as it arrives."""
        return self.invocation is not None and self.invocation.on_stream is not None

    @property
    def is_full(self) -> bool:
        """Whether the runtime must wait for a slower reader of its answer. `on_room` is called when that is over."""
        return self._streamed.is_full

    def begin_stream(self, content_type: str) -> None:
        """Begin a streamed answer. Raises `InvalidTransition`."""
        self._advance(RuntimeEvent.STREAM)
        assert self.invocation is not None
        self._streamed.begin(self.invocation.on_stream, content_type, self._on_room)

    def add_chunk(self, chunk: bytes) -> None:
        """Raises `InvalidTransition`."""
        self._advance(RuntimeEvent.CHUNK)
        self._streamed.add(chunk)
        if self.invocation is not None:
            self.invocation.streamed_bytes += len(chunk)

    def end_stream(self) -> None:
        """End a streamed answer; its payload is empty if its pieces were handed on. Raises `InvalidTransition`."""
        self._advance(RuntimeEvent.END)
        self._answer, self._error_type = self._streamed.end(), None
        if self._streamed.is_too_large:
            self._answer, self._error_type = too_large(self._streamed.limit_bytes), TOO_LARGE

    def _on_room(self) -> None:
        self.on_room()

    def fail(self, payload: bytes, error_type: str | None = None) -> None:
        """The runtime's error, also within a streamed answer. Raises `InvalidTransition`."""
        self._advance(RuntimeEvent.END if self.state is RuntimeState.STREAMING else RuntimeEvent.ANSWER)
        self._streamed.break_off("the function failed in the middle of its answer")
        if len(payload) > RESPONSE_PAYLOAD_BYTES:
            payload, error_type = too_large(), TOO_LARGE
        self._answer, self._error_type = payload, error_type or error_type_of(payload)

    def fail_init(self, payload: bytes, error_type: str | None = None) -> None:
        """The runtime's init failed. Raises `InvalidTransition`."""
        self._advance(RuntimeEvent.INIT_ERROR)
        self._on_init_error(payload, error_type or error_type_of(payload))

    def violate(self, reason: str) -> None:
        """Note a protocol violation: the environment is no longer trusted."""
        if self.state not in (RuntimeState.FAILED, RuntimeState.CLOSED):
            self._broke_off = self.state is RuntimeState.STREAMING
            self._advance(RuntimeEvent.VIOLATION)
            self._streamed.break_off(reason)
            self._on_violation(reason)

    def _advance(self, event: RuntimeEvent) -> None:
        try:
            self.state = TRANSITIONS[self.state][event]
        except KeyError:
            raise InvalidTransition(f"{event.name.lower()} while {self.state.name.lower()}") from None


def error_type_of(payload: bytes) -> str:
    """Find the `errorType` of an error payload, which may not be JSON."""
    found = _ERROR_TYPE.search(payload, 0, ERROR_TYPE_SCAN_BYTES)
    if not found:
        return UNKNOWN
    text = found[1].decode("utf-8", "replace")
    return "".join(letter for letter in text if letter.isprintable()) or UNKNOWN


def too_large(limit_bytes: int = RESPONSE_PAYLOAD_BYTES) -> bytes:
    """The error payload that replaces an answer over the limit."""
    message = f"Response payload size exceeded maximum allowed payload size ({limit_bytes} bytes)."
    return json.dumps({"errorMessage": message, "errorType": TOO_LARGE}, separators=(",", ":")).encode()
