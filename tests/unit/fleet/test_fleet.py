"""How environments live: reuse, freeze, death, stock, room on the host, and the end of it all."""

import asyncio
import logging
import re

import pytest

from hanabi.contracts.invocation import Outcome
from hanabi.contracts.sandbox import Exit
from hanabi.errors import SandboxError, ServiceError, ShuttingDown
from hanabi.fleet import handover as module
from hanabi.fleet.reaper import WORN_AGE_S
from hanabi.quotas import ENVIRONMENT_CREDENTIALS_S
from hanabi.testing import ManualClock
from hanabi.testing.body import whole
from hanabi.testing.sandbox import FakeProcess, Killed
from tests.unit.fleet.rig import Rig, obedient
from tests.waiting import until

HOUR_S = 3600.0


async def test_each_start_is_in_the_log_with_its_time_and_whether_the_pool_had_one(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hanabi.fleet.start_log"):
        async with Rig(pool_size=1) as rig:
            version, other = rig.version("a"), rig.version("b", environment={"PYTHONPATH": "/opt"})
            rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
            await until(lambda: len(rig.environments.pool) == 1)
            for each in (version, version, other):
                await rig.invoke(each)
    said = [re.sub(r"\d+ ms", "N ms", record.getMessage()) for record in caplog.records if record.name == "hanabi.fleet.start_log"]
    assert said == ["cold start of a:$LATEST: N ms, pool hit", "cold start of b:$LATEST: N ms, pool miss"]


# --- reuse ------------------------------------------------------------------------------------------------------------


async def test_the_most_recently_used_is_taken() -> None:
    async with Rig() as rig:
        version = rig.version()
        first, second = rig.begin(version, b"hang"), rig.begin(version)
        used = (await second).record.environment
        for _ in range(3):
            assert (await rig.invoke(version)).record.environment == used
        first.cancel()


async def test_environments_belong_to_one_version() -> None:
    async with Rig() as rig:
        used = [(await rig.invoke(rig.version(name))).record.environment for name in ("a", "b", "a")]
        assert used[0] == used[2] != used[1]


async def test_a_waiter_is_served_by_what_comes_free_first() -> None:
    async with Rig() as rig:
        version = rig.version()
        await rig.invoke(version)
        rig.driver.create_allowed.clear()  # no sandbox will be made
        results = await asyncio.gather(*(rig.invoke(version, str(number).encode()) for number in range(20)))
        assert [result.payload for result in results] == [str(number).encode() for number in range(20)]
        assert len({result.record.environment for result in results}) == 1
        rig.driver.create_allowed.set()


async def test_concurrent_cold_invocations_start_no_more_environments_than_they_are() -> None:
    async with Rig() as rig:
        version = rig.version()
        await asyncio.gather(*(rig.invoke(version) for _ in range(12)))
        assert len(rig.driver.sandboxes) <= 12
        assert all(row["invocations"] for row in rig.fleet.describe()[:1])
        held = [rig.begin(version, b"hang") for _ in range(12)]
        await until(lambda: rig.states() == ["busy"] * 12)
        assert len(rig.driver.sandboxes) == 12
        for task in held:
            task.cancel()


# --- freeze -----------------------------------------------------------------------------------------------------------


async def test_frozen_after_a_while_and_thawed_for_work() -> None:
    clock = ManualClock()
    async with Rig(clock=clock, freeze_after_s=5.0) as rig:
        version = rig.version()
        await rig.invoke(version)
        await clock.advance(4.9)
        assert rig.states() == ["idle"]
        await rig.invoke(version)
        await clock.advance(4.9)
        assert rig.states() == ["idle"] and "freeze" not in rig.sandbox.history
        await clock.advance(0.2)
        assert rig.states() == ["frozen"] and rig.sandbox.frozen
        await rig.invoke(version)
        assert rig.states() == ["idle"] and not rig.sandbox.frozen
        assert rig.sandbox.history.count("freeze") == rig.sandbox.history.count("thaw") == 1


async def test_frozen_at_once_when_so_asked() -> None:
    async with Rig(freeze_after_s=0.0) as rig:
        for _ in range(3):
            await rig.invoke(rig.version())
            assert rig.states() == ["frozen"]


async def test_what_cannot_be_frozen_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Rig(freeze_after_s=0.0) as rig:
        from hanabi.testing.sandbox import FakeSandbox

        def fails(sandbox: FakeSandbox) -> None:
            raise OSError(19, "No such device")

        monkeypatch.setattr(FakeSandbox, "freeze", fails)
        await rig.invoke(rig.version())
        await until(lambda: not rig.fleet.describe())
        monkeypatch.undo()
        first = await rig.invoke(rig.version())
        monkeypatch.setattr(FakeSandbox, "thaw", fails)
        second = await rig.invoke(rig.version())  # another one serves it
        assert not second.function_error and second.record.environment != first.record.environment
        await until(lambda: first.record.environment not in [each["id"] for each in rig.fleet.describe()])


# --- death ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [False, True])
async def test_one_that_dies_idle_is_forgotten(frozen: bool) -> None:
    async with Rig(freeze_after_s=0.0 if frozen else 100.0) as rig:
        version = rig.version()
        first = await rig.invoke(version)
        assert rig.states() == ["frozen" if frozen else "idle"]
        rig.sandbox.vanish()
        assert not rig.fleet.describe()
        second = await rig.invoke(version)
        assert not second.function_error and second.record.environment != first.record.environment
        await until(lambda: len(rig.driver.alive) == 1)


async def test_one_that_has_just_exited_is_not_taken() -> None:
    async with Rig(freeze_after_s=100.0) as rig:
        version = rig.version()
        await rig.invoke(version)
        rig.sandbox.on_exit(Exit("runtime", 1, None))  # its last words may be on their way still
        result = await rig.invoke(version)
        assert not result.function_error and len(rig.driver.sandboxes) == 2
        await until(lambda: len(rig.fleet.describe()) == 1)


async def test_one_that_dies_on_its_way_to_a_waiter() -> None:
    async with Rig(freeze_after_s=100.0) as rig:
        version = rig.version()
        await rig.invoke(version)
        environment = rig.fleet.take_idle(version.key)
        assert environment is not None
        rig.sandbox.vanish()
        ended: list[Outcome] = []
        environment.invoke(rig.invocation(version), ended.append)
        assert ended[0].undelivered and ended[0].error_type == "Runtime.ExitError" and len(ended) == 1
        rig.fleet.release(environment, reusable=False)
        rig.fleet.release(environment, reusable=True)  # whatever was said: it has gone
        await until(lambda: not rig.driver.alive)


async def test_one_whose_channel_has_ended_is_not_handed_out() -> None:
    closed = asyncio.Event()

    async def hangs_up(process: FakeProcess) -> int | None:
        await process.write("r")
        await process.read()
        await process.read()
        await process.answer(b"1")
        (await process.sandbox.channel())[1].close()
        closed.set()
        await asyncio.Event().wait()
        return None

    async with Rig(hangs_up, freeze_after_s=100.0) as rig:
        await rig.invoke(rig.version())
        await closed.wait()
        await asyncio.sleep(0.01)
        first = rig.sandbox.id
        again = await rig.invoke(rig.version())
        assert again.payload == b"1" and again.record.environment != first


async def test_retired_ones_go_when_they_are_free() -> None:
    async with Rig() as rig:
        idle, busy, starting = rig.version("idle"), rig.version("busy"), rig.version("starting")
        await rig.invoke(idle)
        running = rig.begin(busy, b"hang")
        await until(lambda: rig.states().count("busy") == 1)
        rig.driver.create_allowed.clear()
        waiting = rig.begin(starting)
        await asyncio.sleep(0)
        for version in (idle, busy, starting):
            rig.fleet.retire(version.key)
        await until(lambda: rig.states() == ["busy"])
        rig.driver.create_allowed.set()
        assert not (await waiting).function_error
        running.cancel()
        await until(lambda: not rig.driver.alive)


async def test_only_so_many_retired_keys_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETIRED_KEPT", 10)
    async with Rig() as rig:
        for number in range(100):
            rig.fleet.retire(str(number))
        assert len(rig.fleet._handover._retired) == 10 and "99" in rig.fleet._handover._retired


async def test_nothing_is_remembered_of_functions_that_are_gone() -> None:
    async with Rig(max_environments=4) as rig:
        for number in range(20):
            await rig.invoke(rig.version(f"f{number}"))
        rig.driver.create_errors.append(SandboxError("no"))
        with pytest.raises(ServiceError):
            await rig.invoke(rig.version("broken"))
        await until(lambda: len(rig.driver.alive) <= 4)
        assert len(rig.environments.idle._queues) <= 4 and not rig.fleet._waiting


# --- scale to zero ----------------------------------------------------------------------------------------------------


async def test_idle_ones_are_reaped_and_old_ones() -> None:
    clock = ManualClock()
    async with Rig(clock=clock, idle_timeout_s=600.0) as rig:
        often, once = rig.version("often"), rig.version("once")
        await rig.invoke(once)
        first = (await rig.invoke(often)).record.environment
        await clock.advance(400.0)
        await rig.invoke(often)
        await clock.advance(300.0)
        await until(lambda: len(rig.driver.alive) == 1)
        assert (await rig.invoke(often)).record.environment == first
        for _ in range(40):  # in use all the time, and still not kept for ever
            await clock.advance(0.15 * HOUR_S)
            last = (await rig.invoke(often)).record.environment
        assert last != first
        await clock.advance(601.0)
        await until(lambda: not rig.driver.alive)


async def test_one_that_is_always_busy_ends_before_its_credentials_do() -> None:
    assert WORN_AGE_S < ENVIRONMENT_CREDENTIALS_S
    clock = ManualClock()
    async with Rig(clock=clock) as rig:
        version = rig.version()
        running = rig.begin(version, b"hang")
        await until(lambda: rig.states() == ["busy"])
        (environment,) = rig.environments
        environment.created -= WORN_AGE_S
        await clock.advance(1.5)
        assert rig.states() == ["busy"]  # its work goes on
        rig.driver.create_allowed.clear()
        waiting = rig.begin(version)
        await clock.advance(0.0, turns=50)
        environment.on_released(environment, reusable=True)  # as when its work is done
        await until(lambda: environment not in rig.environments)
        assert not waiting.done()  # it is not handed on
        rig.driver.create_allowed.set()
        assert not (await waiting).function_error
        running.cancel()


# --- faults of starting, and the end ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [SandboxError("no loop device"), OSError(28, "No space left"), RuntimeError("a defect")])
async def test_every_fault_of_a_start_is_told_and_leaves_nothing(error: Exception) -> None:
    async with Rig(max_environments=1) as rig:
        rig.driver.create_errors.append(error)
        with pytest.raises((ServiceError, RuntimeError), match=str(error.args[-1])):
            await rig.invoke(rig.version())
        assert not (await rig.invoke(rig.version())).function_error


@pytest.mark.parametrize("step", ["mount", "limit", "reset_peak"])
async def test_a_fault_in_the_middle_of_an_init_leaves_nothing(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hanabi.testing.sandbox import FakeSandbox

    def fails(*_: object, **__: object) -> None:
        raise SandboxError(f"{step} failed")

    async with Rig(max_environments=1) as rig:
        with monkeypatch.context() as broken:
            broken.setattr(FakeSandbox, step, fails)
            with pytest.raises(ServiceError, match=f"{step} failed"):
                await rig.invoke(rig.version())
        await until(lambda: not rig.driver.alive and not rig.keys.issued)
        assert not (await rig.invoke(rig.version())).function_error


async def test_a_death_in_the_middle_of_an_init_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from hanabi.testing.sandbox import FakeSandbox

    async def dies(sandbox: FakeSandbox, *_: object) -> None:
        sandbox.vanish()

    clock = ManualClock()  # no time passes
    async with Rig(clock=clock, pool_size=1) as rig:
        rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
        await until(lambda: [each.history for each in rig.driver.sandboxes] == [["start runtime"]])
        with monkeypatch.context() as broken:
            broken.setattr(FakeSandbox, "mount", dies)
            result = await rig.invoke(rig.version())
        assert b"Runtime.ExitError" in whole(result.payload)
        await until(lambda: not [row for row in rig.fleet.describe() if row["function"]])


async def test_a_close_in_the_middle_of_everything_leaves_nothing() -> None:
    async def kills_slowly(process: FakeProcess) -> int | None:
        try:
            return await obedient(process)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            raise Killed(9) from None

    rig = Rig(kills_slowly, max_environments=6, pool_size=2)
    async with rig:
        await rig.invoke(rig.version("idle"))
        await rig.invoke(rig.version("dying"), b"exit 1")  # being destroyed as the close begins
        busy = rig.begin(rig.version("busy"), b"hang")
        await until(lambda: "busy" in rig.states())
        rig.driver.create_allowed.clear()
        starting = [rig.begin(rig.version(f"starting{number}", tmp_mb=1024)) for number in range(6)]
        await asyncio.sleep(0.01)
    for task in (busy, *starting):
        with pytest.raises(ShuttingDown, match="shutting down"):
            await task
    assert [record.error_type for record in rig.journal.records if record.function == "busy"] == ["Sandbox.Failure"]
    with pytest.raises(ServiceError, match="shutting down"):
        await rig.invoke(rig.version())
    assert not rig.fleet.describe() and not rig.driver.alive
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_no_timer_outlives_the_environments() -> None:
    clock = ManualClock()
    async with Rig(clock=clock, freeze_after_s=HOUR_S, pool_size=1) as rig:
        await rig.invoke(rig.version(timeout_s=900), b"print x")
    await clock.advance(0)
    assert clock.next_timer() is None
