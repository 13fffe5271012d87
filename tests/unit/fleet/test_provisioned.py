"""Provisioned concurrency: initialised ahead, kept, replaced, spilled over, given back."""

import asyncio
from typing import Any

import pytest

from hanabi.contracts.functions import Allocation, FunctionVersion
from hanabi.contracts.sandbox import Exit
from hanabi.errors import SandboxError, TooManyRequests
from hanabi.fleet.provisioned import BACKOFF_LIMIT_S, HOST_FULL, INIT_FAILURE
from hanabi.fleet.reaper import MAX_AGE_S
from hanabi.quotas import LONG_INIT_TIMEOUT_S, PROVISIONED_INIT_ATTEMPTS
from hanabi.testing import ManualClock
from hanabi.testing.sandbox import FakeProcess, silent
from tests.unit.fleet.rig import Rig, obedient
from tests.waiting import until

INIT_TYPE = "AWS_LAMBDA_INITIALIZATION_TYPE"


def has(rig: Rig, version: FunctionVersion) -> int:
    return rig.fleet.allocation(version.key).allocated


def types(rig: Rig) -> list[str]:
    return sorted(row["type"] for row in rig.fleet.describe())


async def settle(clock: ManualClock) -> None:
    await clock.advance(0, turns=100)


async def test_initialised_ahead_and_kept_for_good() -> None:
    clock = ManualClock()
    async with Rig(clock=clock, idle_timeout_s=600.0) as rig:
        version = rig.version()
        rig.fleet.provision(version, 3)
        assert rig.fleet.allocation("f") == Allocation(0, False, None)
        await settle(clock)
        assert rig.fleet.allocation("f") == Allocation(3, True, None)
        await clock.advance(3600.0)
        assert types(rig) == ["provisioned"] * 3 and rig.states() == ["frozen"] * 3
        assert all(each.history.count("trim") == 1 for each in rig.driver.sandboxes)
        result = await rig.invoke(version)
        assert len(rig.driver.sandboxes) == 3 and result.record.init_ms is None
        lines = rig.journal.lines
        reports = [line for line in lines if line.startswith("INIT_REPORT Init Duration: ")]
        assert len(reports) == 3 and all(line.endswith(" ms\tPhase: init") for line in reports)
        assert "Init Duration" not in next(line for line in lines if line.startswith("REPORT"))


async def test_a_process_sees_how_it_was_initialised() -> None:
    seen = []

    async def looks(process: FakeProcess) -> int | None:
        body = (await process.read())[1]
        seen.append(b'"AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency"' in body.replace(b'":"', b'": "'))
        await process.write("r")
        while True:
            kind, body = await process.read()
            await process.answer(b"1")

    async with Rig(looks) as rig:
        rig.fleet.provision(rig.version("a"), 1)
        await until(lambda: has(rig, rig.version("a")) == 1)
        await rig.invoke(rig.version("b"))
        assert seen == [True, False]


async def test_the_stock_is_used_and_an_init_may_take_long() -> None:
    async def slow(process: FakeProcess) -> int | None:
        while (await process.read())[0] != "i":
            pass
        await asyncio.Event().wait()
        return None

    clock = ManualClock()
    async with Rig(slow, clock=clock, pool_size=1) as rig:
        rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
        await settle(clock)
        rig.fleet.provision(rig.version(timeout_s=3), 1)
        await clock.advance(LONG_INIT_TIMEOUT_S - 1, turns=50)
        assert "initializing" in rig.states() and "mount /var/task" in rig.driver.sandboxes[0].history
        await clock.advance(1.0, turns=50)
        assert any("Status: timeout" in line for line in rig.journal.lines)


async def test_one_invocation_too_many_spills_over_and_provisioned_ones_come_first() -> None:
    async with Rig(freeze_after_s=0.0) as rig:
        version = rig.version()
        rig.fleet.provision(version, 1)
        await until(lambda: has(rig, version) == 1)
        provisioned = rig.fleet.describe()[0]["id"]
        held = [rig.begin(version, b"hang"), rig.begin(version, b"1")]
        assert (await held[1]).record.init_ms is not None and types(rig) == ["on-demand", "provisioned"]
        held[0].cancel()
        await until(lambda: has(rig, version) == 1 and rig.states() == ["frozen", "frozen"])  # it died of it, and was replaced
        results = [await rig.invoke(version) for _ in range(3)]
        assert {result.record.environment for result in results} & {row["id"] for row in rig.fleet.describe()} != {provisioned}
        kinds = {row["id"]: row["type"] for row in rig.fleet.describe()}
        assert {kinds[result.record.environment] for result in results} == {"provisioned"}


async def test_what_dies_is_replaced() -> None:
    async with Rig() as rig:
        version = rig.version()
        rig.fleet.provision(version, 2)
        await until(lambda: has(rig, version) == 2 and rig.fleet.allocation("f").complete)
        rig.driver.sandboxes[0].vanish()
        assert has(rig, version) == 1 and rig.fleet.allocation("f").complete
        await until(lambda: has(rig, version) == 2)
        await rig.invoke(version, b"exit 1")  # not reset: its init is to be had ahead, not within the next invocation
        await until(lambda: has(rig, version) == 2 and len(rig.driver.alive) == 2)
        assert len(rig.driver.sandboxes) == 4


async def test_old_ones_are_renewed_one_at_a_time() -> None:
    clock = ManualClock()
    async with Rig(clock=clock) as rig:
        version = rig.version()
        rig.fleet.provision(version, 3)
        await settle(clock)
        first = list(rig.driver.sandboxes)
        await clock.advance(MAX_AGE_S - 1, turns=50)
        assert rig.driver.alive == first
        rig.driver.create_allowed.clear()
        await clock.advance(5.0, turns=50)
        assert len(rig.driver.alive) == 2
        rig.driver.create_allowed.set()
        await clock.advance(5.0, turns=50)
        assert len(rig.driver.alive) == 3 and not set(rig.driver.alive) & set(first)


async def test_an_init_that_fails_is_tried_six_times_then_now_and_then() -> None:
    broken, tries = True, 0

    async def fails(process: FakeProcess) -> int | None:
        nonlocal tries
        while (await process.read())[0] != "i":
            pass
        tries += 1
        if broken:
            return 1
        await process.write("r")
        await asyncio.Event().wait()
        return None

    clock = ManualClock()
    async with Rig(fails, clock=clock) as rig:
        version = rig.version()
        rig.fleet.provision(version, 3)
        await clock.advance(10.0, turns=50)
        assert 2 < tries < PROVISIONED_INIT_ATTEMPTS and rig.fleet.allocation("f") == Allocation(0, False, None)
        await clock.advance(10.0, turns=50)
        assert tries == PROVISIONED_INIT_ATTEMPTS and rig.fleet.allocation("f") == Allocation(0, False, INIT_FAILURE)
        assert sum("Status: error" in line for line in rig.journal.lines) == PROVISIONED_INIT_ATTEMPTS
        await clock.advance(3 * BACKOFF_LIMIT_S, turns=50)
        assert PROVISIONED_INIT_ATTEMPTS + 2 < tries < PROVISIONED_INIT_ATTEMPTS + 9
        broken = False
        await clock.advance(BACKOFF_LIMIT_S, turns=100)
        assert rig.fleet.allocation("f") == Allocation(3, True, None)


async def test_asked_for_anew_it_is_tried_at_once() -> None:
    clock = ManualClock()
    async with Rig(clock=clock) as rig:
        version = rig.version()
        rig.driver.create_errors += [SandboxError("no loop device")]
        rig.fleet.provision(version, 1)
        await settle(clock)
        assert rig.fleet.allocation("f") == Allocation(0, False, "no loop device")
        rig.fleet.provision(version, 2)
        assert rig.fleet.allocation("f") == Allocation(0, False, None)
        await settle(clock)
        assert rig.fleet.allocation("f") == Allocation(2, True, None)


async def test_fewer_are_given_back_the_busy_ones_when_they_are_free() -> None:
    finish = asyncio.Event()

    async def waits(process: FakeProcess) -> int | None:
        await process.write("r")
        while True:
            kind, body = await process.read()
            if kind == "n":
                await finish.wait()
                await process.answer(process.payload(body))

    async with Rig(waits) as rig:
        version = rig.version()
        rig.fleet.provision(version, 3)
        await until(lambda: has(rig, version) == 3)
        busy = [rig.begin(version) for _ in range(2)]
        await until(lambda: rig.states().count("busy") == 2)
        rig.fleet.provision(version, 1)
        assert has(rig, version) == 2 and rig.states() == ["busy", "busy"]
        finish.set()
        await asyncio.gather(*busy)
        await until(lambda: len(rig.driver.alive) == 1)
        assert has(rig, version) == 1 and types(rig) == ["provisioned"]


@pytest.mark.parametrize("how", ["none", "retired"])
async def test_none_any_more(how: str) -> None:
    async with Rig() as rig:
        told: list[tuple[str, int | None]] = []
        rig.fleet.on_allocated(lambda version, count: told.append((version.name, count)))
        version = rig.version()
        rig.fleet.provision(version, 2)
        await until(lambda: has(rig, version) == 2)
        busy = rig.begin(version, b"hang")
        await until(lambda: rig.states().count("busy") == 1)
        rig.driver.create_allowed.clear()
        rig.fleet.provision(version, 3)
        await asyncio.sleep(0.01)  # the third is being made
        if how == "none":
            rig.fleet.provision(version, 0)
        else:
            rig.fleet.retire(version.key)
        assert rig.fleet.allocation("f") == Allocation() and rig.states() == ["busy"]
        busy.cancel()
        await until(lambda: not rig.fleet.describe() and rig.fleet.describe_budget()["environments"] == 0)
        assert told == [("f", 0), ("f", 1), ("f", 2), ("f", None)]
        rig.driver.create_allowed.set()
        if how == "none":
            assert (await rig.invoke(version)).record.init_ms is not None


async def test_never_given_up_for_others() -> None:
    clock = ManualClock()
    async with Rig(clock=clock, max_memory_mb=1024, read_memory=None) as rig:
        version = rig.version("kept", memory_mb=512)
        rig.fleet.provision(version, 1)
        await settle(clock)
        await rig.invoke(rig.version("a", memory_mb=512))
        await rig.invoke(rig.version("b", memory_mb=512))
        assert has(rig, version) == 1 and {row["function"] for row in rig.fleet.describe()} == {"kept", "b"}
        with pytest.raises(TooManyRequests):  # at once: it could wait for ever
            await rig.invoke(rig.version("c", memory_mb=513))
        rig.fleet.provision(version, 3)
        await settle(clock)
        assert rig.fleet.allocation("kept") == Allocation(2, False, HOST_FULL)
        with pytest.raises(TooManyRequests):
            await rig.invoke(rig.version("b", memory_mb=128, key="new"))
        rig.fleet.provision(version, 1)
        assert not (await rig.invoke(rig.version("b", memory_mb=128, key="new"))).function_error


async def test_closed_in_the_middle_of_it_nothing_is_left() -> None:
    rig = Rig(silent)
    async with rig:
        for number in range(5):
            rig.fleet.provision(rig.version(f"f{number}"), 3)
        await until(lambda: "initializing" in rig.states())
    rig.fleet.provision(rig.version("late"), 1)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()} and rig.fleet.describe_budget()["memory_mb"] == 0


async def test_many_versions_do_not_hold_up_a_cold_start() -> None:
    order: list[str] = []

    async def notes(process: FakeProcess) -> int | None:
        order.append(process.sandbox.id)
        return await obedient(process)

    async with Rig(notes, max_environments=100) as rig:
        for number in range(40):
            rig.fleet.provision(rig.version(f"f{number}"), 1)
        result = await rig.invoke(rig.version("urgent"))
        assert order.index(result.record.environment) < 10
        await until(lambda: len(rig.fleet.describe()) == 41)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_dies_and_is_asked_for_in_the_end_there_is_what_was_asked_for(seed: int) -> None:
    import random

    lot = random.Random(seed)
    wanted: dict[str, int] = {}
    async with Rig(max_environments=12, pool_size=1) as rig:
        running: list[asyncio.Task[Any]] = []
        for _ in range(120):
            name = f"f{lot.randrange(3)}"
            match lot.randrange(6):
                case 0:
                    wanted[name] = lot.randrange(4)
                    rig.fleet.provision(rig.version(name), wanted[name])
                case 1 if rig.driver.alive:
                    lot.choice(rig.driver.alive).vanish()
                case 2 if rig.driver.alive:
                    lot.choice(rig.driver.alive).on_exit(Exit("runtime", 1, None))
                case _:
                    running.append(rig.begin(rig.version(name), lot.choice([b"{}", b"exit 1", b"fail"])))
            for _ in range(lot.randrange(6)):
                await asyncio.sleep(0)
        await asyncio.gather(*running, return_exceptions=True)
        for name, count in wanted.items():
            rig.fleet.provision(rig.version(name), count)
        await until(lambda: all(has(rig, rig.version(name)) == count for name, count in wanted.items()))
        kept = [row["function"] for row in rig.fleet.describe() if row["type"] == "provisioned"]
        assert {name: kept.count(name) for name in wanted} == wanted
        assert all(rig.admission.running(name) == 0 for name in wanted)
