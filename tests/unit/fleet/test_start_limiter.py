"""A start that stalls does not hold up the next."""

import asyncio

from hanabi.fleet.start_limiter import STALL_S, StartLimiter
from hanabi.testing import ManualClock


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_few_pass_the_gate_at_a_time_but_one_that_stalls_does_not_count() -> None:
    clock, quiet, inside, end = ManualClock(), asyncio.Event(), list[int](), asyncio.Event()
    start_limiter = StartLimiter(1, clock, quiet)

    async def start(number: int) -> None:
        async with start_limiter.slot():
            inside.append(number)
            await end.wait()

    tasks = [asyncio.create_task(start(number)) for number in range(3)]
    await turns()
    assert inside == [0] and start_limiter.busy
    tasks[1].cancel()
    await clock.advance(STALL_S)
    assert inside == [0, 2] and start_limiter.busy and not quiet.is_set()
    await clock.advance(STALL_S)
    assert not start_limiter.busy and quiet.is_set()
    quiet.clear()
    await clock.advance(3.0)
    assert start_limiter.quiet_s == 3.0
    end.set()
    await asyncio.wait(tasks)
    assert not quiet.is_set() and clock.next_timer() is None
    async with start_limiter.slot():
        assert start_limiter.busy and start_limiter.quiet_s == 0.0
    assert quiet.is_set() and start_limiter.quiet_s == 0.0
