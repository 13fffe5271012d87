"""The host end of the runtime channel to a bundled bootstrap. This is the warm path."""

import array
import asyncio
import fcntl
import socket
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Self, cast

from hanabi.base.clock import Clock, SystemClock, Timer
from hanabi.contracts.invocation import Invocation
from hanabi.contracts.sandbox import Exit
from hanabi.runtime.frames import (
    CHUNK,
    END,
    ERROR,
    FATAL,
    FRAME_LIMIT_BYTES,
    HEAD,
    INIT_ERROR,
    LOADED,
    OVERSIZE,
    READY,
    READY_FRAME,
    RESULT,
    STREAM,
    BrokenFrame,
    FrameReader,
    init_frame,
    invoke_head,
    restored_frame,
)
from hanabi.runtime.session import TOO_LARGE, InvalidTransition, RuntimeSession, too_large

FRAMES_AT_ONCE = 128  # then others have their turn: frames without end, or as small as can be, must not hold up the loop
PAUSE_S = 0.002
JOIN_LIMIT_BYTES = 64 * 1024  # up to here one write of head and payload together is cheaper than two


class RuntimeChannel(asyncio.Protocol):
    """The connection to one bootstrap; each frame becomes a call on the session."""

    def __init__(self, session: RuntimeSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._frames = FrameReader()
        self._coming: Iterator[tuple[int, bytes]] | None = None  # that were read and wait for their turn
        self._pause: Timer | None = None
        self._transport: asyncio.Transport | None = None
        self._sent = 0  # bytes, since the channel was opened
        self._answered = False  # an answer is to be handed out
        self._cut = False  # it ended with bytes of ours unread
        self.on_hangup: Callable[[], None] = lambda: None  # the runtime, and every process with a copy of its end, have closed it
        session.deliver = self._deliver
        session.on_room = self._go_on
        session.undelivered = self._undelivered

    @classmethod
    async def open(cls, sock: socket.socket, session: RuntimeSession, clock: Clock | None = None) -> Self:
        """Open a channel on the host end of a sandbox's runtime socket, and own that socket.

        Nothing else may close the descriptor, and the opening is not cancelled half-way, whatever happens to the sandbox and the
        caller meanwhile: uvloop would close a descriptor number that is in use again.
        """
        sock.setblocking(False)
        own = socket.socket(fileno=sock.detach())
        loop = asyncio.get_running_loop()
        opening = loop.create_task(loop.create_connection(lambda: cls(session, clock or SystemClock()), sock=own))
        try:
            return (await asyncio.shield(opening))[1]
        except asyncio.CancelledError:
            opening.add_done_callback(_hang_up)
            raise

    def initialize(self, environment: Mapping[str, str], handler: str, task_root: str, *, generic: bool) -> None:
        """Tell the bootstrap its function."""
        self._write(init_frame(environment, handler, task_root, generic=generic))

    def send_restored(self, environment: Mapping[str, str]) -> None:
        """Tell a restored bootstrap the changes in its environment."""
        self._write(restored_frame(environment))

    def close(self) -> None:
        self.on_hangup = lambda: None
        self._coming = None
        if self._pause is not None:
            self._pause.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Note the disconnect only: the runtime has most likely exited, and its exit says more. If it runs on, the deadline ends it."""
        self._transport = None
        self._cut = isinstance(error, ConnectionResetError)
        self.on_hangup()

    def data_received(self, data: bytes) -> None:
        """Feed the frames. An answer is released after all frames that came with it: most often the runtime is ready by then."""
        try:
            if self._frames.between and len(data) >= HEAD.size:  # the most usual: one result, and ready, in one piece
                length, kind = HEAD.unpack_from(data)
                end = 4 + length
                if kind == RESULT and 0 < length <= FRAME_LIMIT_BYTES:
                    if len(data) == end + HEAD.size and data.endswith(READY_FRAME):
                        self._session.finish(data[HEAD.size : end], ready=True)
                        return
                    if len(data) == end:
                        self._session.finish(data[HEAD.size :], ready=False)
                        return
            self._coming = self._frames.feed(data)
            self._take_some(self._coming)
        except (BrokenFrame, InvalidTransition) as error:
            self._violate(error)

    def _take_some(self, coming: Iterator[tuple[int, bytes]]) -> None:
        for _ in range(FRAMES_AT_ONCE):
            frame = next(coming, None)
            if frame is None:
                break
            self._take(*frame)
        else:
            if self._transport is not None:
                self._transport.pause_reading()
            self._pause = self._clock.call_later(PAUSE_S, self._take_more)
            return
        self._coming = None
        self._hand_out()

    def _take_more(self) -> None:
        if self._coming is None:
            return
        try:
            self._take_some(self._coming)
        except (BrokenFrame, InvalidTransition) as error:
            self._violate(error)
        self._go_on()

    def _violate(self, error: Exception) -> None:
        self.close()
        self._session.violate(str(error))

    def _hand_out(self) -> None:
        if self._answered:
            self._answered = False
            self._session.release_answer()

    def _take(self, kind: int, body: bytes) -> None:
        session = self._session
        if kind == RESULT:
            session.answer(body)
            self._answered = True
        elif kind == READY:
            session.start()
        elif kind == ERROR:
            session.fail(body)
            self._answered = True
        elif kind == FATAL:  # it exits now: never ready again
            session.fail(body)
        elif kind == OVERSIZE:
            session.fail(too_large(), TOO_LARGE)
            self._answered = True
        elif kind == STREAM:
            session.begin_stream(body.decode("latin-1"))
        elif kind == CHUNK:
            session.add_chunk(body)
            if session.is_full and self._transport is not None:
                self._transport.pause_reading()  # no more is read than the reader of the answer takes
        elif kind == END:
            session.end_stream()
            self._answered = True
        elif kind == LOADED:
            session.restore_next()
        elif kind == INIT_ERROR:
            session.fail_init(body)
        else:
            raise BrokenFrame(f"a frame of type {kind}")

    def _go_on(self) -> None:
        if self._transport is not None and self._coming is None and not self._session.is_full:
            self._transport.resume_reading()

    def _deliver(self, invocation: Invocation) -> None:
        head, payload = invoke_head(invocation), invocation.payload
        if self._transport is None:
            self._cut = True
            self._session.violate("the runtime has closed its channel")
        elif len(payload) <= JOIN_LIMIT_BYTES:
            self._write(head + payload)
        else:
            self._write(head)
            self._write(payload)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:  # else it has gone, and its exit says why
            self._sent += len(data)
            self._transport.write(data)

    def _undelivered(self, exit: Exit | None) -> bool:
        """Whether the bootstrap has not read all that was sent: by the count of a microVM's agent, else by what the socket still holds.

        A bootstrap begins an invocation when it has read all of it. One that leaves bytes unread on purpose only gets itself restarted.
        """
        transport = self._transport
        if exit is not None and exit.bytes_read is not None:
            return exit.bytes_read < self._sent
        if transport is None:
            return self._cut
        if transport.get_write_buffer_size():
            return True
        left = array.array("i", (0,))
        with suppress(OSError):
            fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, left)
        return left[0] > 0


def _hang_up(opening: "asyncio.Task[tuple[asyncio.Transport, RuntimeChannel]]") -> None:
    """Close a channel whose opener was cancelled."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[1].close()
