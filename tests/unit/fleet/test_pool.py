"""The stock of environments that belong to nobody yet, and room on a host that is full."""

import asyncio

import pytest

from hanabi.contracts.sandbox import Exit
from hanabi.errors import ServiceError, TooManyRequests
from hanabi.fleet.budget import OVERDUE_S, WAIT_LIMIT_S
from hanabi.fleet.refill import RETRY_S
from hanabi.testing import ManualClock
from hanabi.testing.sandbox import FakeProcess, silent
from tests.unit.fleet.rig import Rig, obedient
from tests.waiting import until

# --- stock ------------------------------------------------------------------------------------------------------------


def pooled(rig: Rig) -> int:
    return rig.states().count("pooled")


@pytest.mark.parametrize("runtime", ["python3.11", "provided.al2023"])
async def test_the_stock_is_taken_from_and_refilled(runtime: str) -> None:
    async with Rig(pool_size=2) as rig:
        rig.fleet.keep_pool_for(await rig.ensure_image(runtime))
        loaded = [["start runtime"] if runtime == "python3.11" else []] * 2
        await until(lambda: [each.history for each in rig.driver.sandboxes] == loaded)
        version = rig.version(runtime=runtime, memory_mb=256)
        task = rig.begin(version, b"hang")
        await until(lambda: rig.states() == ["busy", "pooled", "pooled"])
        taken = next(each for each in rig.driver.sandboxes if "mount /var/task" in each.history)
        assert taken in rig.driver.sandboxes[:2] and taken.spec.memory_mb == 1024 and taken.memory_mb == 256
        task.cancel()


async def test_the_stock_is_passed_by_where_it_will_not_do() -> None:
    async with Rig(pool_size=1) as rig:
        rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
        await until(lambda: pooled(rig) == 1)
        waiting = rig.driver.sandboxes[0]
        await rig.invoke(rig.version("tmp", tmp_mb=1024))
        await rig.invoke(rig.version("flags", environment={"PYTHONUTF8": "1"}))
        assert waiting.history == ["start runtime"] and rig.sandbox.processes["runtime"].environment["PYTHONUTF8"] == "1"


async def test_one_that_died_in_stock_is_not_handed_out_and_not_replaced_in_a_hurry() -> None:
    clock = ManualClock()
    async with Rig(clock=clock, pool_size=1) as rig:
        rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
        await clock.advance(0, turns=50)
        assert pooled(rig) == 1
        dead = rig.sandbox
        dead.on_exit(Exit("runtime", 1, None))
        result = await rig.invoke(rig.version())
        assert not result.function_error and rig.sandbox is not dead
        await clock.advance(1.0, turns=50)
        made = len(rig.driver.sandboxes)
        await clock.advance(RETRY_S - 2, turns=50)
        assert len(rig.driver.sandboxes) == made
        await clock.advance(3, turns=50)
        assert pooled(rig) == 1 and dead.destroyed


async def test_a_bootstrap_that_exits_at_once_does_not_spin_and_starves_nobody() -> None:
    async def exits(process: FakeProcess) -> int | None:
        return 1 if process.sandbox.spec.image.command else await obedient(process)

    clock = ManualClock()
    async with Rig(exits, clock=clock, pool_size=1) as rig:
        rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
        rig.fleet.keep_pool_for(await rig.ensure_image("provided.al2023"))
        await clock.advance(10 * RETRY_S, turns=50)
        assert "provided.al2023" in [row["runtime"] for row in rig.fleet.describe()]
        assert 2 <= len(rig.driver.sandboxes) <= 12
        assert len(rig.driver.alive) <= 2


async def test_slow_inits_do_not_keep_the_stock_empty() -> None:
    clock = ManualClock()
    async with Rig(silent, clock=clock, pool_size=1) as rig:
        task = rig.begin(rig.version())
        await clock.advance(0.5, turns=50)
        assert rig.states() == ["initializing"]
        await clock.advance(1.0, turns=50)
        assert rig.states() == ["initializing", "pooled"]
        task.cancel()


# --- room on the host -------------------------------------------------------------------------------------------------


async def test_the_stock_makes_room_first_then_the_longest_idle() -> None:
    async with Rig(max_environments=3, pool_size=1) as rig:
        await rig.invoke(rig.version("a"))
        await rig.invoke(rig.version("b"))
        await until(lambda: len(rig.environments.pool) == 1)
        await rig.invoke(rig.version("c", tmp_mb=1024))
        assert functions(rig) == {"a", "b", "c"}
        await rig.invoke(rig.version("b"))
        await rig.invoke(rig.version("d", tmp_mb=1024))
        assert functions(rig) == {"b", "c", "d"}
        assert len(rig.driver.alive) <= 3


async def test_memory_makes_room_too_and_the_costliest_goes_first() -> None:
    clock = ManualClock()
    async with Rig(clock=clock, max_memory_mb=2048) as rig:
        await rig.invoke(rig.version("small", memory_mb=128))
        await clock.advance(10.0)
        await rig.invoke(rig.version("large", memory_mb=1536))
        await clock.advance(1.0)
        await rig.invoke(rig.version("other", memory_mb=512))
        assert functions(rig) == {"small", "other"}
        await rig.invoke(rig.version("whole", memory_mb=2048))
        assert functions(rig) == {"whole"}
        assert rig.fleet.describe_budget()["memory_mb"] == 2048


async def test_more_than_all_the_memory_is_refused_at_once_and_says_why() -> None:
    async with Rig(clock=ManualClock(), max_memory_mb=1024) as rig:
        with pytest.raises(ServiceError, match=r"1025 MB are more than the 1024 MB .*--max-memory-mb"):
            await rig.invoke(rig.version(memory_mb=1025))


async def test_a_large_one_does_not_wait_for_ever_behind_small_ones_that_are_never_idle() -> None:
    clock = ManualClock()

    async def takes_a_second(process: FakeProcess) -> int | None:
        await process.write("r")
        while True:
            kind, body = await process.read()
            if kind == "n":
                await clock.sleep(1.0)
                await process.answer(process.payload(body))

    async with Rig(takes_a_second, clock=clock, max_memory_mb=1024) as rig:

        async def keep_busy() -> None:
            while True:
                await rig.invoke(rig.version("small", memory_mb=512))

        busy = [asyncio.create_task(keep_busy()) for _ in range(3)]  # one of them always waits
        await clock.advance(2.0, turns=50)
        large = rig.begin(rig.version("large", memory_mb=1024))
        await clock.advance(OVERDUE_S - 1, turns=50)
        assert not large.done() and len(rig.driver.sandboxes) == 2
        await clock.advance(10.0, turns=50)
        assert large.done() and not large.result().function_error
        for task in busy:
            task.cancel()


async def test_a_stocked_environment_takes_from_the_budget_what_its_function_needs() -> None:
    async with Rig(max_memory_mb=3000, pool_size=2) as rig:
        rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
        await until(lambda: pooled(rig) == 2)
        held = [rig.begin(rig.version("small", memory_mb=128), b"hang")]
        await until(lambda: rig.states() == ["busy", "pooled", "pooled"])
        assert rig.fleet.describe_budget()["memory_mb"] == 128 + 2 * 1024
        held.append(rig.begin(rig.version("large", memory_mb=1848), b"hang"))  # there is just room to grow
        await until(lambda: rig.states() == ["busy", "busy", "pooled"])
        assert len(rig.driver.sandboxes) == 3 and rig.fleet.describe_budget()["memory_mb"] == 3000
        for task in held:
            task.cancel()


async def test_the_stock_makes_room_for_what_it_cannot_become() -> None:
    async with Rig(max_memory_mb=2048, pool_size=2) as rig:
        rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
        await until(lambda: pooled(rig) == 2)
        held = rig.begin(rig.version(memory_mb=1025), b"hang")
        await until(lambda: rig.states() == ["busy"])
        assert len(rig.driver.sandboxes) == 3 and rig.fleet.describe_budget()["memory_mb"] == 1025
        held.cancel()


async def test_a_stocked_environment_that_cannot_grow_is_left_to_smaller_functions() -> None:
    rig = Rig(pool_size=1)
    rig.driver.memory_limit_mb = 512
    async with rig:
        rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
        await until(lambda: pooled(rig) == 1)
        first = rig.driver.sandboxes[0]
        await rig.invoke(rig.version("large", memory_mb=513))
        assert first.history == ["start runtime"]
        await rig.invoke(rig.version("small", memory_mb=512))
        assert "mount /var/task" in first.history


async def test_one_that_was_being_stocked_makes_room_when_it_is_ready() -> None:
    async with Rig(max_environments=1, pool_size=1) as rig:
        rig.driver.create_allowed.clear()
        rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
        await until(lambda: rig.fleet.describe_budget()["environments"] == 1)
        waiting = rig.begin(rig.version())
        await asyncio.sleep(0.01)
        rig.driver.create_allowed.set()
        assert not (await waiting).function_error


async def test_a_host_too_small_for_stock_keeps_none() -> None:
    async with Rig(max_memory_mb=1000, pool_size=2) as rig:
        rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
        assert not (await rig.invoke(rig.version())).function_error
        assert len(rig.driver.sandboxes) == 1


def functions(rig: Rig) -> set[str]:
    return {row["function"] for row in rig.fleet.describe() if row["function"]}


async def test_an_environment_that_comes_free_makes_room_for_another_function() -> None:
    finish = asyncio.Event()

    async def waits(process: FakeProcess) -> int | None:
        await process.write("r")
        while True:
            kind, body = await process.read()
            if kind == "n":
                await finish.wait()
                await process.answer(process.payload(body))

    async with Rig(waits, max_environments=1) as rig:
        first = rig.begin(rig.version("a"))
        await until(lambda: rig.states() == ["busy"])
        second = rig.begin(rig.version("b"))
        await asyncio.sleep(0)
        finish.set()
        await first
        await second
        await until(lambda: functions(rig) == {"b"})


async def test_waiting_for_room_ends_with_a_throttle() -> None:
    clock = ManualClock()
    async with Rig(clock=clock, max_environments=1) as rig:
        first = rig.begin(rig.version("a", timeout_s=900), b"hang")
        await clock.advance(1.0)
        second = rig.begin(rig.version("b"))
        await clock.advance(WAIT_LIMIT_S + 1)
        with pytest.raises(TooManyRequests):
            await second
        first.cancel()
        await until(lambda: not rig.driver.alive)
        assert not (await rig.invoke(rig.version("b"))).function_error


async def test_a_start_nobody_waits_for_any_more_is_not_made() -> None:
    async with Rig(max_environments=1) as rig:
        first = rig.begin(rig.version("a"), b"hang")
        await until(lambda: rig.states() == ["busy"])
        second = rig.begin(rig.version("b"))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.wait([second])
        first.cancel()
        await until(lambda: not rig.fleet.describe() and not rig.driver.alive)
        assert len(rig.driver.sandboxes) == 1
        assert not (await rig.invoke(rig.version("c"))).function_error
