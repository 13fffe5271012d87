"""An answer that is passed on while the function makes it: first as fast as it comes, then at Lambda's bandwidth."""

import asyncio
from typing import Self

from hanabi.base.clock import Clock
from hanabi.base.tasks import Tasks, settle
from hanabi.contracts.body import ByteStream, close
from hanabi.contracts.invocation import Result
from hanabi.errors import BodyError
from hanabi.quotas import STREAMED_BURST_BYTES

PIECE_BYTES = 128 * 1024  # of an answer that came whole
PAUSE_MIN_S = 0.01  # a shorter wait is made with the next one
STREAMED = "application/octet-stream"  # the content type of an answer in pieces whose runtime names none
WHOLE = "application/json"  # that of an answer that the runtime gave whole


class StreamedInvocation:
    """One invocation, a `StreamedResult`. `on_stream` and `on_end` are for its start. `bytes_per_s` 0: no limit of the bandwidth."""

    def __init__(self, clock: Clock, bytes_per_s: float, tasks: Tasks) -> None:
        self.content_type = WHOLE
        self._pace = Pace(clock, bytes_per_s)
        self._tasks = tasks  # close what nobody reads
        loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[Result] = loop.create_future()
        self._stream: ByteStream | None = None
        self._whole = memoryview(b"")
        self._closed = False

    # --- for the invoker ----------------------------------------------------------------------------------------------

    def on_stream(self, stream: ByteStream, content_type: str) -> None:
        if self._closed or self._begun.done():
            self._tasks.spawn(close(stream), "unread answer")
            return
        self._stream, self.content_type = stream, content_type or STREAMED
        settle(self._begun)

    def on_end(self, result: Result | Exception) -> None:
        settle(self._ended, result)
        settle(self._begun)

    async def begin(self) -> None:
        """Wait for the beginning of the answer. Raises what the invocation raised before it. Cancelled, it does not end the invocation."""
        try:
            await self._begun
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if self._stream is None:
            result = self._ended.result()
            if result.function_error is None and isinstance(result.payload, bytes):
                self._whole = memoryview(result.payload)

    # --- for the reader -----------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await self._pace.wait()
        piece = await self._next()
        self._pace.count(len(piece))
        return piece

    async def _next(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        if self._stream is not None:
            try:
                return await anext(self._stream)
            except BodyError:  # `end` says what happened
                raise StopAsyncIteration from None
        if not self._whole:
            raise StopAsyncIteration
        piece, self._whole = self._whole[:PIECE_BYTES], self._whole[PIECE_BYTES:]
        return bytes(piece)

    async def aclose(self) -> None:
        self._closed = True
        if self._stream is not None:
            await self._stream.aclose()

    async def end(self) -> Result:
        return await asyncio.shield(self._ended)


class Pace:
    """The bandwidth of one answer: `wait`, pass on a piece, `count` it."""

    def __init__(self, clock: Clock, bytes_per_s: float) -> None:
        self._clock = clock
        self._bytes_per_s = bytes_per_s
        self._burst_left = STREAMED_BURST_BYTES
        self._due = 0.0  # monotonic: when the next piece may go

    async def wait(self) -> None:
        pause_s = self._due - self._clock.monotonic()
        if pause_s > PAUSE_MIN_S:
            await self._clock.sleep(pause_s)

    def count(self, size: int) -> None:
        if not self._bytes_per_s:
            return
        free = min(size, self._burst_left)
        self._burst_left -= free
        if size > free:  # time in which the function was silent is not made up for
            self._due = max(self._due, self._clock.monotonic()) + (size - free) / self._bytes_per_s
