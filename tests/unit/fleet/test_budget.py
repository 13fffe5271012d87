"""The budget is given in order, never exceeded, never lost, and nobody starves for it."""

import asyncio
import random
from typing import Any

import pytest

from hanabi.errors import SandboxError, TooManyRequests
from hanabi.fleet.budget import OVERDUE_S, WAIT_LIMIT_S, Budget, Reservation
from hanabi.testing import ManualClock


class Purse:
    """A budget, and what is asked of it."""

    def __init__(self, environments: int, memory_mb: int) -> None:
        self.clock = ManualClock()
        self.budget = Budget(environments, memory_mb, self.clock)

    def begin(self, memory_mb: int, **options: Any) -> "asyncio.Task[Reservation | None]":
        async def claim() -> Reservation | None:
            return await self.budget.wait(self.budget.claim(memory_mb, **options))

        return asyncio.get_running_loop().create_task(claim())

    async def take(self, memory_mb: int, *, pinned: bool = False) -> Reservation:
        reservation = await self.begin(memory_mb, pinned=pinned)
        assert reservation is not None
        return reservation


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_given_in_the_order_it_was_asked_for() -> None:
    purse = Purse(1, 1000)
    held = await purse.take(100)
    first, second = purse.begin(100), purse.begin(100)
    await turns()
    assert purse.budget.shortage() == (2, -700) and purse.budget.contended
    purse.budget.give_back(held)
    reservation = await first
    assert reservation is not None and not second.done()
    purse.budget.give_back(reservation)
    purse.budget.give_back(reservation)
    reservation = await second
    assert reservation is not None and purse.budget.used == (1, 100)
    purse.budget.give_back(reservation)
    assert purse.budget.used == (0, 0)


async def test_a_large_one_is_not_passed_by_small_ones() -> None:
    purse = Purse(10, 1000)
    held = [await purse.take(400), await purse.take(400)]
    large, small = purse.begin(900), purse.begin(100)
    await turns()
    assert not small.done()  # though there is room for it
    purse.budget.give_back(held[0])
    await turns()
    assert not large.done() and not purse.budget.fits(1)
    assert not purse.budget.resize(held[1], 300)  # nor by one that is changed
    purse.budget.give_back(held[1])
    assert await large and await small
    assert purse.budget.used == (2, 1000)


async def test_when_the_first_gives_up_the_next_is_served() -> None:
    purse = Purse(10, 1000)
    await purse.take(500)
    large, small = purse.begin(600), purse.begin(500)
    await turns()
    large.cancel()
    assert await small and large.cancelled() and not purse.budget.contended


async def test_a_wait_ends_with_a_throttle() -> None:
    purse = Purse(1, 1000)
    held = await purse.take(1)
    waiting = purse.begin(1)
    await purse.clock.advance(OVERDUE_S - 1)
    assert not purse.budget.overdue
    await purse.clock.advance(1)
    assert purse.budget.overdue
    await purse.clock.advance(WAIT_LIMIT_S - OVERDUE_S - 1)
    assert not waiting.done()
    await purse.clock.advance(1)
    with pytest.raises(TooManyRequests):
        await waiting
    assert not purse.budget.contended and purse.clock.next_timer() is None
    purse.budget.give_back(held)
    assert purse.budget.used == (0, 0)


@pytest.mark.parametrize("handed_first", [True, False])
async def test_what_is_handed_to_one_who_is_cancelled_is_not_lost(handed_first: bool) -> None:
    purse = Purse(1, 1000)
    held = await purse.take(10)
    waiting = purse.begin(10)
    await turns()
    for step in (purse.budget.give_back, lambda _: waiting.cancel())[:: 1 if handed_first else -1]:
        step(held)
    await asyncio.wait([waiting])
    assert waiting.cancelled() and purse.budget.used == (0, 0) and not purse.budget.contended
    await purse.take(10)


async def test_what_can_never_be_had_fails_at_once() -> None:
    purse = Purse(3, 1000)
    with pytest.raises(SandboxError, match=r"1001 MB are more than the 1000 MB .*--max-memory-mb"):
        await purse.take(1001)
    pinned = await purse.take(600, pinned=True)
    with pytest.raises(TooManyRequests):
        await purse.take(401)
    other = await purse.take(400)
    waiting = purse.begin(400)
    await turns()
    purse.budget.give_back(other)
    reservation = await waiting
    assert reservation is not None
    waiting = purse.begin(400)
    await turns()
    assert not purse.budget.resize(reservation, 300, pinned=True) and purse.budget.used == (2, 1000)
    waiting.cancel()
    await turns()
    assert purse.budget.resize(reservation, 300, pinned=True) and purse.budget.used == (2, 900)
    with pytest.raises(TooManyRequests):
        await purse.take(101)
    purse.budget.give_back(pinned)
    assert purse.budget.resize(reservation, 1000) and not purse.budget.resize(reservation, 1001)


async def test_one_who_waits_is_told_when_it_becomes_impossible() -> None:
    purse = Purse(3, 1000)
    held = await purse.take(500)
    for_good, waiting = purse.begin(600, pinned=True), purse.begin(600)
    await turns()
    purse.budget.give_back(held)
    kept = await for_good
    assert kept is not None and kept.pinned
    with pytest.raises(TooManyRequests):
        await waiting


async def test_one_who_is_no_longer_wanted_stands_in_nobodys_way() -> None:
    purse, wanted = Purse(3, 1000), True
    await purse.take(500)
    first = purse.begin(600, wanted=lambda: wanted)
    second = purse.begin(500)
    await turns()
    wanted = False
    purse.budget.review()
    assert await first is None and await second


async def test_what_is_on_its_way_back_is_not_asked_for_twice() -> None:
    purse = Purse(2, 1000)
    held = [await purse.take(500), await purse.take(500)]
    waiting = purse.begin(700)
    await turns()
    assert purse.budget.shortage() == (1, 700)
    purse.budget.release_soon(held[0])
    assert purse.budget.shortage() == (0, 200)
    purse.budget.release_soon(held[1])
    assert purse.budget.shortage() == (-1, -300)
    waiting.cancel()


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_happens_it_is_never_exceeded_and_nothing_is_lost(seed: int) -> None:
    lot = random.Random(seed)
    places, memory_mb = lot.randint(1, 6), lot.randint(300, 3000)
    purse, held, waiting = Purse(places, memory_mb), list[Reservation](), list[asyncio.Task[Reservation | None]]()
    budget = purse.budget

    for _ in range(400):
        draw = lot.randrange(10)
        if draw < 5:
            pinned, wanted = lot.random() < 0.1, lot.random() < 0.9
            waiting.append(purse.begin(lot.randint(1, memory_mb), pinned=pinned, wanted=lambda wanted=wanted: wanted))
        elif draw < 7 and held:
            budget.give_back(held.pop(lot.randrange(len(held))))
        elif draw == 7 and held:
            budget.resize(lot.choice(held), lot.randint(1, memory_mb), pinned=lot.random() < 0.1)
        elif draw == 8 and waiting:
            lot.choice(waiting).cancel()
        else:
            await purse.clock.advance(lot.choice([0, 1, WAIT_LIMIT_S / 3]), turns=lot.randrange(4))
        if lot.random() < 0.5:
            await turns()
        for task in [task for task in waiting if task.done()]:
            waiting.remove(task)
            if not task.cancelled() and not task.exception() and (reservation := task.result()):
                held.append(reservation)
        count, used_mb = budget.used
        assert count <= places and used_mb <= memory_mb
        assert used_mb == sum(reservation.memory_mb for reservation in budget._held)
        assert budget._pinned_mb == sum(reservation.memory_mb for reservation in budget._held if reservation.pinned) <= memory_mb
    while waiting or held:  # it drains
        for reservation in held:
            budget.give_back(reservation)
        held.clear()
        await turns()
        for task in [task for task in waiting if task.done()]:
            waiting.remove(task)
            if not task.cancelled() and not task.exception() and (reservation := task.result()):
                held.append(reservation)
    assert budget.used == (0, 0) and not budget.contended and (budget._pinned, budget._pinned_mb) == (0, 0)
    assert purse.clock.next_timer() is None
