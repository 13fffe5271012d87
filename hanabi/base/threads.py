"""Blocking work off the loop, in threads of the drivers' own: whoever unpacks zips elsewhere does not hold up a destroy."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

Made = TypeVar("Made")


class ThreadPool:
    def __init__(self, count: int = 8) -> None:
        self._pool = ThreadPoolExecutor(count, "sandbox")

    async def run(self, work: Callable[[], Made], *, undo: Callable[[Made], object] | None = None) -> Made:
        """Run `work` to its end, even if the caller is cancelled: what a thread half did nobody could clean up.

        A cancelled caller does not get what was made, so `undo` is run on it.
        """
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await _ended(future)
            if undo is not None and future.exception() is None:
                await _ended(asyncio.get_running_loop().run_in_executor(self._pool, undo, future.result()))
            raise

    def close(self) -> None:
        self._pool.shutdown()


async def _ended(future: "asyncio.Future[Made]") -> None:
    """However often the caller is cancelled meanwhile."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    future.exception()  # nobody else looks
