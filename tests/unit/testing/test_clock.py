"""The manual clock moves only when told to, and then in order."""

import asyncio

from hanabi.testing import ManualClock


async def test_timers_fire_in_order_and_can_be_cancelled() -> None:
    clock = ManualClock(1000.0)
    fired: list[tuple[str, float]] = []
    for name, delay in (("c", 3), ("a", 1), ("b", 1), ("gone", 2)):
        timer = clock.call_later(delay, lambda name=name: fired.append((name, clock.time())))
        if name == "gone":
            timer.cancel()
    await clock.advance(0.5)
    assert fired == [] and clock.next_timer() == 0.5
    await clock.advance(2)
    assert fired == [("a", 1001.0), ("b", 1001.0)]
    await clock.advance(10)
    assert fired[-1] == ("c", 1003.0)
    assert (clock.time(), clock.monotonic(), clock.next_timer()) == (1012.5, 12.5, None)


async def test_sleepers_sleep_again_within_one_advance() -> None:
    clock = ManualClock(0.0)
    woken: list[float] = []

    async def sleeper() -> None:
        while True:
            await clock.sleep(60)
            woken.append(clock.time())

    task = asyncio.create_task(sleeper())
    await clock.advance(6 * 3600)
    assert woken == [60.0 * i for i in range(1, 361)]
    task.cancel()
    await asyncio.wait([task])
    assert clock.next_timer() is None
