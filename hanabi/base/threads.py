"""Blocking work off the loop, in threads of the drivers' own: whoever unpacks zips elsewhere does not hold up a destroy."""

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
        """Run `work` to its end, even if the caller is cancelled: what a thread half did nobody could clean up.

        A cancelled caller does not get what was made, so `undo` is run on it.
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
    """Run something that changes its thread's namespaces in a thread that ends with it."""
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
