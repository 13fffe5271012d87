"""A streamed response body, written as it is produced, no faster than the client reads."""

import asyncio
from collections.abc import Callable, Sequence

from hanabi.base.tasks import settle
from hanabi.contracts.body import ByteStream
from hanabi.http.response import render_trailers

PIECE_BYTES = 128 * 1024  # written before checking whether the client reads them
JOIN_BYTES = 32 * 1024  # up to here a chunk leaves with its frame in one write


class ResponseStream:
    """Writer of one body: `run` writes its pieces, then closes it. Raises what the body raises; ValueError for a wrong length.

    `length` was declared in the head. `chunked` frames the pieces. With neither, the body ends with the connection, as in HTTP/1.0.
    """

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        body: ByteStream,
        *,
        length: int | None,
        chunked: bool,
        trailers: Callable[[], Sequence[tuple[str, str]]] | None,
    ) -> None:
        self._transport = transport
        self._body = body
        self._length = length
        self._chunked = chunked
        self._trailers = trailers
        self._sent = 0
        self._room: asyncio.Future[None] | None = None
        self._paused = False

    def pause(self) -> None:
        """Stop writing: the transport's buffer is full."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._room is not None:
            settle(self._room)

    async def run(self) -> None:
        try:
            while self._paused:
                await self._wait_for_room()
            async for piece in self._body:
                if not piece:
                    continue
                self._sent += len(piece)
                if self._length is not None and self._sent > self._length:
                    raise ValueError(f"more than the {self._length} bytes that were promised")
                await self._write(piece)
            if self._length is not None and self._sent < self._length:
                raise ValueError(f"{self._sent} of the {self._length} bytes that were promised")
            if self._chunked:
                self._transport.write(b"0\r\n" + render_trailers(self._trailers() if self._trailers is not None else ()) + b"\r\n")
        finally:
            await self._body.aclose()

    async def _write(self, piece: bytes) -> None:
        write, chunked = self._transport.write, self._chunked
        if len(piece) <= JOIN_BYTES:
            write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        else:
            if chunked:
                write(b"%x\r\n" % len(piece))
            view = memoryview(piece)
            while view:
                write(view[:PIECE_BYTES])
                view = view[PIECE_BYTES:]
                while view and self._paused:
                    await self._wait_for_room()
            if chunked:
                write(b"\r\n")
        while self._paused:
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        self._room = asyncio.get_running_loop().create_future()
        try:
            await self._room
        finally:
            self._room = None
