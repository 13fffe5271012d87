"""Tasks end with their owner, what two ask for is made once, and a future is settled once."""

import asyncio
import logging

import pytest

from hanabi.base.tasks import SingleFlight, Tasks, settle, wait_for_end


async def test_settling_a_future() -> None:
    loop = asyncio.get_running_loop()
    first = loop.create_future()
    settle(first, 7)
    settle(first, 8)
    assert await first == 7
    second = loop.create_future()
    settle(second, OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await second
    third = loop.create_future()
    third.cancel()
    settle(third, 1)
    assert third.cancelled()


async def test_a_failure_that_nobody_awaits_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks("fleet")

    async def fail() -> None:
        raise OSError("no room")

    with caplog.at_level(logging.ERROR):
        task = tasks.spawn(fail(), "refill")
        await tasks.join()
    assert task.done() and len(tasks) == 0
    assert "fleet task failed: refill" in caplog.text and "no room" in caplog.text


async def test_tasks_end_with_their_owner() -> None:
    tasks = Tasks("fleet")
    ended = []

    async def wait(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    for name in ("a", "b"):
        tasks.spawn(wait(name))
    await asyncio.sleep(0)
    await tasks.cancel()
    assert sorted(ended) == ["a", "b"] and len(tasks) == 0


async def test_joining_waits_for_those_that_begin_meanwhile() -> None:
    tasks = Tasks("fleet")
    done = []

    async def last() -> None:
        await asyncio.sleep(0)
        done.append("last")

    async def first() -> None:
        await asyncio.sleep(0)
        tasks.spawn(last())

    tasks.spawn(first())
    await tasks.join()
    assert done == ["last"]


async def test_what_is_to_be_finished_survives_its_caller() -> None:
    tasks = Tasks("functions")
    go, done = asyncio.Event(), []

    async def work() -> int:
        await go.wait()
        done.append(1)
        return 5

    caller = asyncio.create_task(tasks.finish(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go.set()
    await tasks.join()
    assert done == [1]
    assert await tasks.finish(work()) == 5


async def test_callers_at_the_same_time_share_one_work() -> None:
    ended: list[str] = []
    flights: SingleFlight[str, int] = SingleFlight(ended.append)
    go, begun = asyncio.Event(), []

    async def work() -> int:
        begun.append(1)
        await go.wait()
        return len(begun)

    callers = [asyncio.create_task(flights.run("k", work)) for _ in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()  # the work goes on for the others
    await asyncio.sleep(0)
    assert "k" in flights and len(flights) == 1
    go.set()
    assert await asyncio.gather(*callers[1:]) == [1, 1]
    assert ended == ["k"] and "k" not in flights
    assert await flights.run("k", work) == 2


async def test_callers_share_its_exception_too() -> None:
    flights: SingleFlight[str, int] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise OSError("no")

    outcomes = await asyncio.gather(flights.run("k", fail), flights.run("k", fail), return_exceptions=True)
    assert [type(each) for each in outcomes] == [OSError, OSError]


async def test_closing_ends_what_is_under_way() -> None:
    flights: SingleFlight[str, None] = SingleFlight(closed=lambda: ConnectionError("closing"))
    silent: SingleFlight[str, None] = SingleFlight()

    async def hang() -> None:
        await asyncio.Event().wait()

    told = asyncio.create_task(flights.run("k", hang))
    cancelled = asyncio.create_task(silent.run("k", hang))
    caller = asyncio.create_task(flights.run("k", hang))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):  # its own cancellation, not the work's end
        await caller
    await flights.close()
    await silent.close()
    with pytest.raises(ConnectionError):
        await told
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_waiting_for_an_end_through_cancellations() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiter = asyncio.create_task(wait_for_end(future))
    for _ in range(3):
        await asyncio.sleep(0)
        waiter.cancel()
    await asyncio.sleep(0)
    assert not waiter.done()
    future.set_result(1)
    await waiter
