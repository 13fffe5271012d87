"""A buffer between the sender and the one reader of a byte stream."""

import asyncio
from collections.abc import Callable
from typing import Self

from hanabi.base.tasks import settle
from hanabi.errors import BodyError

HIGH_BYTES = 128 * 1024  # so much waits for the reader: then the sender is made to wait (what one read of a socket gives may come on top)


PIECE_BYTES = 256 * 1024  # a reader gets no more at once


class StreamBuffer:
    """A `ByteStream` with one reader. The sender pauses while it `is_full`; `on_taken` is called when bytes were read."""

    __slots__ = ("size", "_buffer", "_ended", "_error", "_closed", "_reader", "_on_taken")

    def __init__(self, on_taken: Callable[[], None]) -> None:
        self.size = 0  # received so far
        self._buffer = bytearray()
        self._ended = False
        self._error: BodyError | None = None
        self._closed = False  # the reader has stopped
        self._reader: asyncio.Future[None] | None = None
        self._on_taken = on_taken

    @property
    def held_bytes(self) -> int:
        return len(self._buffer)

    @property
    def is_full(self) -> bool:
        return len(self._buffer) >= HIGH_BYTES

    @property
    def is_broken(self) -> bool:
        return self._error is not None

    # --- for the sender -----------------------------------------------------------------------------------------------

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if not self._closed:
            self._buffer += chunk
            self._wake()

    def end(self) -> None:
        """End the stream: all bytes have arrived."""
        self._ended = True
        self._wake()

    def fail(self, error: BodyError) -> None:
        """Break the stream off: the reader gets what is buffered, then the error."""
        if not self._ended and self._error is None:
            self._error = error
            self._wake()

    # --- for the reader -----------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._buffer:
            if self._closed or self._ended:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        piece = bytes(self._buffer[:PIECE_BYTES]) if len(self._buffer) > PIECE_BYTES else bytes(self._buffer)
        del self._buffer[: len(piece)]
        self._on_taken()
        return piece

    async def aclose(self) -> None:
        self.drop()

    def drop(self) -> None:
        """Discard what is buffered and what still arrives: the reader has stopped."""
        self._closed = True
        self._buffer.clear()
        self._on_taken()

    def _wake(self) -> None:
        if self._reader is not None:
            settle(self._reader)
