"""Work in a thread is done to its end, and undone when nobody waits for it any more."""

import asyncio
import threading

import pytest

from hanabi.base.threads import ThreadPool, in_new_thread


async def test_what_was_made_for_nobody_is_undone() -> None:
    pool = ThreadPool(2)
    go, begun = threading.Event(), threading.Event()
    undone: list[str] = []

    def work() -> str:
        begun.set()
        go.wait(60)
        return "made"

    running = asyncio.create_task(pool.run(work, undo=undone.append))
    await asyncio.to_thread(begun.wait, 60)
    for _ in range(2):  # however often
        running.cancel()
        await asyncio.sleep(0)
    assert not running.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert undone == ["made"]
    assert await pool.run(lambda: 5) == 5
    pool.close()


def test_a_thread_of_its_own() -> None:
    assert in_new_thread(threading.get_ident) != threading.get_ident()

    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        in_new_thread(fail)
