"""What every `Clock` does: the system's, and the one that tests move."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from hanabi.base.clock import Clock, SystemClock
from hanabi.testing import ManualClock
from tests.waiting import until


@contextlib.asynccontextmanager
async def moving(clock: Clock) -> AsyncIterator[None]:
    """Time passes, by itself or by our doing."""

    async def move(clock: ManualClock) -> None:
        while True:
            await clock.advance(0.01)
            await asyncio.sleep(0)

    task = asyncio.create_task(move(clock)) if isinstance(clock, ManualClock) else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture(params=(SystemClock, ManualClock))
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


async def test_time_goes_on(clock: Clock) -> None:
    async with moving(clock):
        began, began_monotonic = clock.time(), clock.monotonic()
        assert began > 1_600_000_000
        await clock.sleep(0.05)
        assert clock.monotonic() - began_monotonic >= 0.049
        assert clock.time() >= began


async def test_timers_fire_once_in_the_order_of_their_times_and_not_before(clock: Clock) -> None:
    fired: list[tuple[str, float]] = []
    began = clock.monotonic()
    async with moving(clock):
        for name, delay_s in (("b", 0.06), ("a", 0.02), ("c", 0.1)):
            clock.call_later(delay_s, lambda name: fired.append((name, clock.monotonic() - began)), name)
        await until(lambda: len(fired) == 3)
    assert [name for name, _ in fired] == ["a", "b", "c"]
    assert all(after >= delay_s - 0.001 for (_, after), delay_s in zip(fired, (0.02, 0.06, 0.1), strict=True))


async def test_a_timer_that_is_cancelled_never_fires(clock: Clock) -> None:
    fired: list[str] = []
    async with moving(clock):
        timer = clock.call_later(0.02, fired.append, "cancelled")
        clock.call_later(0.04, fired.append, "other")
        timer.cancel()
        timer.cancel()
        await until(lambda: fired)
    assert fired == ["other"]


async def test_what_is_due_at_once_does_not_run_within_the_call(clock: Clock) -> None:
    fired: list[str] = []
    async with moving(clock):
        clock.call_later(0.0, fired.append, "now")
        clock.call_later(-1.0, fired.append, "past")
        assert fired == []
        await until(lambda: len(fired) == 2)


async def test_a_sleep_can_be_cancelled(clock: Clock) -> None:
    async with moving(clock):
        sleeping = asyncio.create_task(clock.sleep(3600))
        await clock.sleep(0.01)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
