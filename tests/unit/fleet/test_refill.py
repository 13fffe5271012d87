"""The pool is filled when nobody is kept waiting by it: one at a time, in a quiet moment, on CPU time that nobody else wants."""

import asyncio

from hanabi.fleet.refill import QUIET_S
from hanabi.testing import ManualClock
from tests.unit.fleet.rig import IMAGE, Rig
from tests.waiting import until


def pooled(rig: Rig) -> int:
    return rig.states().count("pooled")


async def test_a_refill_waits_until_no_start_was_under_way_for_a_while() -> None:
    clock = ManualClock()
    async with Rig(clock=clock, pool_size=1) as rig:
        for number in range(3):  # one start soon after the other
            await rig.invoke(rig.version(f"f{number}", tmp_mb=1024))
            rig.fleet.keep_pool_for(IMAGE)
            await clock.advance(QUIET_S * 0.9, turns=50)
            assert pooled(rig) == 0
        await clock.advance(QUIET_S * 0.2, turns=50)
        assert pooled(rig) == 1


async def test_one_at_a_time_and_none_while_somebody_waits_for_a_start() -> None:
    clock = ManualClock()
    async with Rig(clock=clock, pool_size=3) as rig:
        rig.driver.create_allowed.clear()
        rig.fleet.keep_pool_for(IMAGE)
        await clock.advance(1.0, turns=50)
        assert rig.fleet.describe_budget()["environments"] == 1
        waiting = rig.begin(rig.version(tmp_mb=1024))
        await clock.advance(0, turns=50)
        assert rig.fleet.describe_budget()["environments"] == 2
        rig.driver.create_allowed.set()
        await waiting
        assert pooled(rig) == 1
        await clock.advance(QUIET_S + 0.1, turns=50)
        await until(lambda: pooled(rig) == 3)


async def test_only_what_nobody_waits_for_is_made_in_the_background() -> None:
    async with Rig(pool_size=1) as rig:
        rig.fleet.keep_pool_for(IMAGE)
        await until(lambda: pooled(rig) == 1)
        await rig.invoke(rig.version(tmp_mb=1024))
        assert [each.spec.background for each in rig.driver.sandboxes] == [True, False]


async def test_the_oldest_of_the_pool_is_taken_first() -> None:
    async with Rig(pool_size=2) as rig:
        rig.fleet.keep_pool_for(IMAGE)
        await until(lambda: pooled(rig) == 2)
        oldest = rig.driver.sandboxes[0]
        held = rig.begin(rig.version(), b"hang")
        await until(lambda: "busy" in rig.states())
        assert "mount /var/task" in oldest.history
        held.cancel()
        await asyncio.wait([held])
