"""The drivers' own threads for blocking work, so that other blocking work, such as unpacking zips, never delays a destroy."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from hanabi.base.tasks import wait_for_end

Made = TypeVar("Made")


class ThreadPool:
    def __init__(self, count: int = 8) -> None:
        self._pool = ThreadPoolExecutor(count, "sandbox")

    async def run(self, work: Callable[[], Made], *, undo: Callable[[Made], object] | None = None) -> Made:
        """Run `work` to its end, even if the caller is cancelled: half-done work could not be cleaned up.

        A cancelled caller never gets the result, so `undo` is run on it.
        """
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await wait_for_end(future)
            if undo is not None and future.exception() is None:
                await wait_for_end(asyncio.get_running_loop().run_in_executor(self._pool, undo, future.result()))
            raise

    def close(self) -> None:
        self._pool.shutdown()


def in_new_thread(work: Callable[[], Made]) -> Made:
    """Run a function that changes its thread's namespaces in a thread of its own."""
    future: Future[Made] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    return future.result()
