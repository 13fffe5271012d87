"""Places are given in order, never twice, and never lost; a start that stalls does not hold up the next."""

import asyncio

import pytest

from hanabi.errors import TooManyRequests
from hanabi.fleet.gate import STALL_S, Gate
from hanabi.fleet.places import WAIT_LIMIT_S, Places
from hanabi.testing import ManualClock
from tests.fleet.rig import run


def begin(places: Places) -> "asyncio.Task[None]":
    return asyncio.get_running_loop().create_task(places.take())


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_places_are_given_in_the_order_they_were_asked_for() -> None:
    async def story() -> None:
        asked: list[int] = []
        places = Places(1, ManualClock(), lambda: asked.append(1))
        await places.take()
        first, second = begin(places), begin(places)
        await turns()
        assert (places.wanted(), len(asked)) == (2, 2)
        places.give_back()
        await places_done(first)
        assert not second.done()
        places.give_back()
        await places_done(second)
        assert places.free == 0
        places.give_back()
        assert places.free == 1

    async def places_done(task: "asyncio.Task[None]") -> None:
        await task

    run(story)


def test_a_wait_ends_with_a_throttle() -> None:
    async def story() -> None:
        clock = ManualClock()
        places = Places(0, clock, lambda: None)
        waiting = begin(places)
        await clock.advance(WAIT_LIMIT_S - 1)
        assert not waiting.done()
        await clock.advance(1)
        with pytest.raises(TooManyRequests):
            await waiting
        assert places.wanted() == 0 and clock.next_timer() is None
        places.give_back()
        assert places.free == 1

    run(story)


def test_a_place_handed_to_one_who_is_cancelled_is_not_lost() -> None:
    async def story() -> None:
        places = Places(0, ManualClock(), lambda: None)
        for handed_first in (True, False):
            waiting = begin(places)
            await turns()
            if handed_first:
                places.give_back()
                waiting.cancel()
            else:
                waiting.cancel()
                places.give_back()
            await asyncio.wait([waiting])
            assert waiting.cancelled() and places.free == 1 and places.wanted() == 0
            await places.take()

    run(story)


def test_few_pass_the_gate_at_a_time_but_one_that_stalls_does_not_count() -> None:
    async def story() -> None:
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

    run(story)
