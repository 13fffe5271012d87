"""After a timeout or a crash the environment stays, without its processes; the next invocation runs the init anew."""

import asyncio
import json

import pytest

from hanabi.contracts.invocation import Result
from hanabi.environment import environment as environment_module
from hanabi.errors import EntrypointError, SandboxError
from hanabi.testing import ManualClock
from hanabi.testing.body import whole
from hanabi.testing.sandbox import FakeProcess, FakeSandbox, silent
from tests.unit.fleet.rig import Rig, obedient
from tests.waiting import until


def error_type(result: Result) -> str:
    return str(json.loads(whole(result.payload))["errorType"])


@pytest.mark.parametrize("runtime", ["python3.11", "provided.al2023"])
@pytest.mark.parametrize("wait_frozen", [False, True])
async def test_after_a_timeout_the_same_environment_goes_on(runtime: str, wait_frozen: bool) -> None:
    clock = ManualClock()
    async with Rig(clock=clock, freeze_after_s=0.5) as rig:
        version = rig.version(runtime=runtime)
        before = await rig.invoke(version)
        task = rig.begin(version, b"hang")
        await until(lambda: rig.states() == ["busy"])
        await clock.advance(3.1)
        await until(task.done)
        assert error_type(await task) == "Sandbox.Timedout"
        assert rig.sandbox.processes_alive == []
        if wait_frozen:
            await clock.advance(1.0)
            assert rig.states() == ["frozen"]
        after = await rig.invoke(version, b'"again"', tail=True)
        assert (after.payload, after.record.environment) == (b'"again"', before.record.environment)
        assert after.record.init_ms is None
        assert [line.split(" ")[0] for line in rig.journal.lines][-4:] == ["INIT_START", "START", "END", "REPORT"]
        assert [each for each in rig.sandbox.history if each in ("reset", "start runtime", "reset_peak")] == [
            "reset_peak",
            "start runtime",
            "reset",
            "reset_peak",
            "start runtime",
        ]
        assert rig.sandbox.history[-1] == f"limit 128 {128 / 1769}"
        for _ in range(3):
            assert (await rig.invoke(version, b'"warm"')).payload == b'"warm"'


async def test_the_init_counts_into_the_invocation() -> None:
    clock = ManualClock()

    async def slow(process: FakeProcess) -> int | None:
        if process.sandbox.history.count("start runtime") > 1:
            process.print("second init")
            await clock.sleep(2.0)
        return await obedient(process)

    async with Rig(slow, clock=clock) as rig:

        async def after_a_crash(payload: bytes) -> Result:
            for sent, seconds in ((b"exit 1", 5.0), (payload, 3.5)):
                task = rig.begin(rig.version(), sent, tail=True)
                await until(lambda: rig.states() != ["idle"])
                await clock.advance(seconds, turns=40)
                await until(task.done)
            return await task

        result = await after_a_crash(b'"x"')
        assert result.record.duration_ms == pytest.approx(2000)
        assert (result.record.billed_ms, result.record.init_ms) == (2000, None)
        assert b"second init" in result.log_tail
        record = (await after_a_crash(b"hang")).record
        assert (record.status, record.duration_ms, record.billed_ms) == ("timeout", 3000.0, 3000)


async def test_what_an_earlier_runtime_left_in_its_channel_is_not_heard() -> None:
    async def babbles(process: FakeProcess) -> int | None:
        await process.write("r")
        while (await process.read())[0] != "n":
            pass
        _, writer = await process.sandbox.channel()
        if process.sandbox.history.count("start runtime") == 1:
            writer.write(b"\xff\0\0\0oHALF")  # a frame that never ends
            await writer.drain()
            await asyncio.Event().wait()
        await process.write("o", b"whole")
        return await silent(process)

    clock = ManualClock()
    async with Rig(babbles, clock=clock) as rig:
        task = rig.begin(rig.version())
        await until(lambda: rig.states() == ["busy"])
        await clock.advance(3.1)
        await until(task.done)
        assert (await rig.invoke(rig.version())).payload == b"whole"
        assert len(rig.driver.sandboxes) == 1


async def test_an_init_that_fails_the_second_time_ends_it() -> None:
    async def fails_later(process: FakeProcess) -> int | None:
        if process.sandbox.history.count("start runtime") == 1:
            return await obedient(process)
        await process.write("e", b'{"errorType":"Runtime.ImportModuleError","errorMessage":"no"}')
        return 1

    async with Rig(fails_later) as rig:
        first = await rig.invoke(rig.version(), b"exit 1")
        second = await rig.invoke(rig.version())
        assert error_type(second) == "Runtime.ImportModuleError"
        assert second.record.environment == first.record.environment and second.record.status == "error"
        assert [line.split(" ")[0] for line in rig.journal.lines][-5:] == ["INIT_START", "INIT_REPORT", "START", "END", "REPORT"]
        assert "Phase: invoke\tStatus: error\tError Type: Runtime.ImportModuleError" in rig.journal.lines[-4]
        await until(lambda: not rig.driver.alive)
        third = await rig.invoke(rig.version())
        assert third.function_error is None and third.record.environment != first.record.environment


async def test_an_init_that_hangs_the_second_time_ends_with_the_functions_timeout() -> None:
    async def hangs_later(process: FakeProcess) -> int | None:
        return await (obedient if process.sandbox.history.count("start runtime") == 1 else silent)(process)

    clock = ManualClock()
    async with Rig(hangs_later, clock=clock) as rig:
        environment = rig.begin(rig.version(), b"exit 1")
        await clock.advance(0.1, turns=40)
        await until(environment.done)
        task = rig.begin(rig.version())
        await clock.advance(3.1, turns=40)
        await until(task.done)
        result = await task
        assert (error_type(result), result.record.billed_ms) == ("Sandbox.Timedout", 3000)
        await until(lambda: not rig.driver.alive)


async def test_one_that_cannot_be_reset_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(sandbox: FakeSandbox) -> None:
        await asyncio.Event().wait()

    async with Rig() as rig:
        rig.driver.reset_errors.append(SandboxError("the agent did not answer"))
        seen = {(await rig.invoke(rig.version(), b"exit 1")).record.environment}
        monkeypatch.setattr(environment_module, "RESET_LIMIT_S", 0.01)
        with monkeypatch.context() as patch:
            patch.setattr(FakeSandbox, "reset", hangs)
            seen.add((await rig.invoke(rig.version(), b"exit 1")).record.environment)
        seen.add((await rig.invoke(rig.version())).record.environment)
        assert len(seen) == 3
        await until(lambda: len(rig.driver.alive) == 1)


async def test_one_that_dies_before_its_second_init_costs_no_invocation() -> None:
    for problem in (SandboxError("gone"), OSError(5, "Input/output error")):
        async with Rig() as rig:
            first = await rig.invoke(rig.version(), b"exit 1")
            rig.driver.start_errors.append(problem)
            second = await rig.invoke(rig.version(), b'"x"')
            assert second.payload == b'"x"' and second.record.environment != first.record.environment
            await until(lambda: len(rig.driver.alive) == 1)
    async with Rig() as rig:
        await rig.invoke(rig.version(), b"exit 1")
        rig.sandbox.vanish()
        await until(lambda: not rig.driver.alive)
        assert (await rig.invoke(rig.version(), b'"x"')).payload == b'"x"'
        rig.driver.start_errors.append(EntrypointError("exec", 2))
        await rig.invoke(rig.version(), b"exit 1")
        assert error_type(await rig.invoke(rig.version())) == "Runtime.InvalidEntrypoint"


@pytest.mark.parametrize("turns", range(6))
async def test_a_sandbox_that_goes_as_its_second_init_begins_loses_no_invocation(turns: int) -> None:
    async with Rig() as rig:
        await rig.invoke(rig.version(), b"exit 1")
        task = rig.begin(rig.version(), b'"x"')
        for _ in range(turns):
            await asyncio.sleep(0)
        rig.sandbox.vanish()
        await until(task.done)
        assert (await task).payload == b'"x"' or error_type(await task) == "Runtime.ExitError"
        await until(lambda: len(rig.driver.alive) <= 1)


async def test_a_sandbox_that_goes_while_it_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    async def vanishes(sandbox: FakeSandbox) -> None:
        sandbox.vanish()

    async with Rig() as rig:
        with monkeypatch.context() as patch:
            patch.setattr(FakeSandbox, "reset", vanishes)
            first = await rig.invoke(rig.version(), b"exit 1")
        await until(lambda: not rig.driver.alive)
        assert (await rig.invoke(rig.version())).record.environment != first.record.environment


async def test_a_kill_after_one_by_the_memory_cap_is_not_taken_for_another() -> None:
    async with Rig() as rig:
        await rig.invoke(rig.version())
        rig.sandbox.ooms = 1
        first = await rig.invoke(rig.version(), b"kill 9")
        assert (first.record.error_type, first.record.max_memory_mb) == ("Runtime.OutOfMemory", 128)
        second = await rig.invoke(rig.version(), b"kill 9")
        assert (second.record.error_type, second.record.max_memory_mb) == ("Runtime.ExitError", 32)
        rig.sandbox.ooms = 3
        assert (await rig.invoke(rig.version(), b"kill 9")).record.error_type == "Runtime.OutOfMemory"
        assert len(rig.driver.sandboxes) == 1


async def test_a_version_and_a_caller_that_go_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Rig() as rig:
        gate = asyncio.Event()
        reset = FakeSandbox.reset

        async def waits(sandbox: FakeSandbox) -> None:
            await gate.wait()
            await reset(sandbox)

        with monkeypatch.context() as patch:
            patch.setattr(FakeSandbox, "reset", waits)
            task = rig.begin(rig.version(), b"exit 1")
            await until(lambda: rig.states() == ["resetting"])
            rig.fleet.retire("f")
            gate.set()
            await task
            await until(lambda: not rig.driver.alive)
            gate.clear()
            task = rig.begin(rig.version("g"), b"exit 1")
            await until(lambda: rig.states() == ["resetting"])
            task.cancel()
            await asyncio.wait([task])
            await until(lambda: not rig.driver.alive)
