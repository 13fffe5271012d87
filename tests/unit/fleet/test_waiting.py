"""Callers are served in their turn, and no more environments are started than are waited for."""

import asyncio

import pytest

from hanabi.errors import ShuttingDown
from hanabi.fleet.waiting import WaitingCallers


async def test_the_first_to_wait_is_served_first_and_who_has_gone_is_passed_over() -> None:
    waiting = WaitingCallers()
    first, second, other = waiting.add("f"), waiting.add("f"), waiting.add("g")
    first.cancel()
    assert waiting.pop("f") is second and waiting.pop("f") is None
    assert waiting.pop("g") is other and waiting.pop("never") is None


async def test_a_start_is_wanted_as_long_as_as_many_wait_as_are_started() -> None:
    waiting = WaitingCallers()
    first, _ = waiting.add("f"), waiting.add("f")
    assert waiting.starts == 2 and waiting.is_awaited("f")
    waiting.remove("f", first)
    assert not waiting.is_awaited("f")  # one start is enough for the other
    waiting.start_ended("f")
    assert waiting.starts == 1 and waiting.is_awaited("f")


async def test_nothing_is_remembered_of_who_waits_no_longer() -> None:
    waiting = WaitingCallers()
    waiter = waiting.add("f")
    waiting.remove("f", waiter)
    waiting.remove("f", waiter)
    waiting.start_ended("f")
    assert len(waiting) == 0 == waiting.starts and not waiting._queues and not waiting._starting


async def test_everybody_is_told_that_there_will_be_none() -> None:
    waiting = WaitingCallers()
    waiters = [waiting.add(key) for key in "ffg"]
    waiters[0].cancel()
    waiting.refuse_all(ShuttingDown)
    for waiter in waiters[1:]:
        with pytest.raises(ShuttingDown):
            await waiter
    assert all(isinstance(each, asyncio.CancelledError | ShuttingDown) for each in await asyncio.gather(*waiters, return_exceptions=True))
