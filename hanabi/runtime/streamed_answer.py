"""A streamed answer of a runtime: handed on as it arrives, or collected for a caller that takes it whole."""

from collections.abc import Callable

from hanabi.base.stream_buffer import StreamBuffer
from hanabi.contracts.invocation import OnStream
from hanabi.errors import BodyIncomplete
from hanabi.quotas import RESPONSE_PAYLOAD_BYTES, STREAMED_RESPONSE_BYTES


class StreamedAnswer:
    """The streamed answers of a runtime, one at a time. Bytes over the limit are counted and discarded."""

    def __init__(self) -> None:
        self.limit_bytes = RESPONSE_PAYLOAD_BYTES
        self._stream: StreamBuffer | None = None
        self._collected = bytearray()
        self._size = 0

    @property
    def is_full(self) -> bool:
        return self._stream is not None and self._stream.is_full

    @property
    def is_too_large(self) -> bool:
        return self._size > self.limit_bytes

    def begin(self, on_begin: OnStream | None, content_type: str, on_room: Callable[[], None]) -> None:
        """Begin an answer. `on_begin` gets it as a stream, of which each read calls `on_room`; without it, `end` returns all of it."""
        self._size = 0
        self._collected.clear()
        self.limit_bytes = RESPONSE_PAYLOAD_BYTES if on_begin is None else STREAMED_RESPONSE_BYTES
        if on_begin is not None:
            self._stream = StreamBuffer(on_room)
            on_begin(self._stream, content_type)

    def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self.is_too_large:
            self.break_off(f"more than {self.limit_bytes} bytes")
            self._collected.clear()
        elif self._stream is not None:
            self._stream.add(chunk)
        else:
            self._collected += chunk

    def end(self) -> bytes:
        """End the answer; returns all that was not handed on."""
        if self._stream is not None:
            self._stream.end()
            self._stream = None
        collected = bytes(self._collected)
        self._collected.clear()
        return collected

    def break_off(self, why: str) -> None:
        """Break the answer off: the rest will not come."""
        if self._stream is not None:
            self._stream.fail(BodyIncomplete(why))
            self._stream = None
