"""A start that stalls does not hold up the next."""

import asyncio

from hanabi.fleet.start_limiter import STALL_S, Gate
from hanabi.testing import ManualClock


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_few_pass_the_gate_at_a_time_but_one_that_stalls_does_not_count() -> None:
    clock, quiet, inside, end = ManualClock(), list[int](), list[int](), asyncio.Event()
    gate = Gate(1, clock, lambda: quiet.append(1))

    async def start(number: int) -> None:
        async with gate.passage():
            inside.append(number)
            await end.wait()

    tasks = [asyncio.create_task(start(number)) for number in range(3)]
    await turns()
    assert inside == [0] and gate.busy
    tasks[1].cancel()
    await clock.advance(STALL_S)
    assert inside == [0, 2] and gate.busy and not quiet
    await clock.advance(STALL_S)
    assert not gate.busy and quiet == [1]
    end.set()
    await asyncio.wait(tasks)
    assert quiet == [1] and clock.next_timer() is None
    async with gate.passage():
        assert gate.busy
    assert quiet == [1, 1]
