"""Between an answer and the next invocation: who is ready, who dies, and what was never delivered. And what leads a function to Hanabi."""

import asyncio
import json

import pytest

from hanabi.contracts.sandbox import Exit
from hanabi.edge.protocols.model import endpoint_variable
from hanabi.errors import SandboxError
from hanabi.testing import ManualClock
from hanabi.testing.body import whole
from hanabi.testing.sandbox import FakeProcess
from tests.unit.fleet.rig import Rig
from tests.waiting import until

# --- ready ------------------------------------------------------------------------------------------------------------


async def test_an_answer_does_not_wait_for_the_runtime_and_a_runtime_that_is_not_ready_gets_nothing() -> None:
    go_on = asyncio.Event()

    async def slow(process: FakeProcess) -> int | None:
        await process.write("r")
        while True:
            kind, body = await process.read()
            if kind == "n":
                await process.write("o", process.payload(body))
                await go_on.wait()
                await process.write("r")

    async with Rig(slow, freeze_after_s=100.0) as rig:
        version = rig.version()
        first = await rig.invoke(version, b"1")
        assert first.payload == b"1" and rig.states() == ["busy"] and rig.admission.running("f") == 0
        second = await rig.invoke(version, b"2")  # its patience over, another one is started
        assert second.payload == b"2" and second.record.environment != first.record.environment
        go_on.set()
        await until(lambda: rig.states() == ["idle", "idle"])
        third = await rig.invoke(version, b"3")
        assert third.payload == b"3" and len(rig.driver.sandboxes) == 2


async def test_one_that_is_ready_soon_is_waited_for() -> None:
    async def soon(process: FakeProcess) -> int | None:
        await process.write("r")
        while True:
            kind, body = await process.read()
            if kind == "n":
                await process.write("o", process.payload(body))
                for _ in range(5):
                    await asyncio.sleep(0)
                await process.write("r")

    async with Rig(soon, clock=ManualClock(), freeze_after_s=100.0) as rig:  # the patience of who waits does not end on a slow machine
        version = rig.version()
        for number in range(50):
            assert (await rig.invoke(version, b"%d" % number)).payload == b"%d" % number
        assert len(rig.driver.sandboxes) == 1


async def test_one_that_dies_after_its_answer_fails_nobody() -> None:
    async def dies(process: FakeProcess) -> int | None:
        await process.write("r")
        while (await process.read())[0] != "n":
            pass
        await process.write("o", b"last words")
        return 7

    async with Rig(dies, freeze_after_s=100.0) as rig:
        for _ in range(20):
            result = await rig.invoke(rig.version())
            assert result.payload == b"last words" and result.function_error is None
        await until(lambda: rig.states() == ["idle"])  # without its processes


@pytest.mark.parametrize("ready", [False, True], ids=["before it asked for the next", "after that"])
async def test_one_that_dies_after_its_answer_is_reset_and_keeps_its_sandbox(ready: bool) -> None:
    answered = asyncio.Event()

    async def dies(process: FakeProcess) -> int | None:
        await process.write("r")
        while (await process.read())[0] != "n":
            pass
        if ready:
            await process.answer(b"last words")
        else:
            await process.write("o", b"last words")
        await answered.wait()
        return 7

    async with Rig(dies, freeze_after_s=100.0) as rig:
        seen = set()
        for _ in range(3):
            answered.clear()
            result = await rig.invoke(rig.version())
            assert result.payload == b"last words" and result.function_error is None
            seen.add(result.record.environment)
            await until(lambda: rig.states() == ["idle" if ready else "busy"])
            resets = rig.sandbox.history.count("reset")
            answered.set()
            await until(lambda: rig.states() == ["idle"] and rig.sandbox.history.count("reset") == resets + 1)  # noqa: B023
            assert rig.sandbox.processes_alive == []
        assert len(seen) == len(rig.driver.sandboxes) == 1


async def test_one_that_cannot_be_reset_after_its_answer_is_replaced() -> None:
    async def dies(process: FakeProcess) -> int | None:
        await process.write("r")
        while (await process.read())[0] != "n":
            pass
        await process.write("o", b"last words")
        return 7

    async with Rig(dies, freeze_after_s=100.0) as rig:
        rig.driver.reset_errors.append(SandboxError("the agent did not answer"))
        first = await rig.invoke(rig.version())
        await until(lambda: not rig.driver.alive)
        second = await rig.invoke(rig.version())
        assert second.payload == b"last words" and second.record.environment != first.record.environment


async def test_one_that_never_gets_ready_ends_with_its_time() -> None:
    async def never(process: FakeProcess) -> int | None:
        await process.write("r")
        while (await process.read())[0] != "n":
            pass
        await process.write("o", b"1")
        await asyncio.Event().wait()
        return None

    clock = ManualClock()
    async with Rig(never, clock=clock, freeze_after_s=100.0) as rig:
        assert (await rig.invoke(rig.version())).payload == b"1"
        assert rig.states() == ["busy"]
        await clock.advance(rig.version().timeout_s + 1)
        await until(lambda: not rig.driver.alive)


async def test_an_invocation_that_was_not_delivered_runs_elsewhere_and_one_that_never_is_fails() -> None:
    bad = 0

    async def gets_nothing(process: FakeProcess) -> int | None:
        """The first `bad` of them end with the invocation unread, as the agent of a microVM tells."""
        nonlocal bad
        await process.write("r")
        while (await process.read())[0] != "n":
            pass
        if not bad:
            await process.answer(b"done")
            await asyncio.Event().wait()
        bad -= 1
        process.sandbox.on_exit(Exit("runtime", 1, None, bytes_read=0))
        await asyncio.Event().wait()
        return None

    async with Rig(gets_nothing, freeze_after_s=100.0) as rig:
        for bad in (1, 2, 3):
            result = await rig.invoke(rig.version(f"f{bad}"))
            assert result.payload == b"done" and result.function_error is None, bad
        assert len([line for line in rig.journal.lines if line.startswith("START")]) == 3
        bad = 100
        result = await rig.invoke(rig.version("hopeless"))
        assert result.function_error and b"Runtime.ExitError" in whole(result.payload) and bad == 96


# --- variables ----------------------------------------------------------------------------------------------------------


async def test_only_calls_of_what_is_served_here_are_led_here() -> None:
    seen: dict[str, str] = {}

    async def told(process: FakeProcess) -> int | None:
        kind, body = await process.read()
        if kind == "i":
            seen.update(json.loads(body)["environment"])
        await process.write("r")
        while True:
            kind, body = await process.read()
            if kind == "n":
                await process.answer(process.payload(body))

    async with Rig(told) as rig:
        rig.host.endpoint_variables.extend(["AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS"])
        await rig.invoke(rig.version(environment={"AWS_ENDPOINT_URL_S3": "http://own"}))
        edge = f"http://{rig.sandbox.edge_address}"
        urls = {name: value for name, value in seen.items() if name.startswith("AWS_ENDPOINT")}
        own = {"AWS_ENDPOINT_URL_S3": "http://own"}
        assert urls == {"AWS_ENDPOINT_URL_LAMBDA": edge, "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": edge, **own}


def test_the_services_have_the_names_that_the_sdks_look_for() -> None:
    names = [endpoint_variable(name) for name in ("lambda", "logs", "iam", "sts")]
    assert names == ["LAMBDA", "CLOUDWATCH_LOGS", "IAM", "STS"]
