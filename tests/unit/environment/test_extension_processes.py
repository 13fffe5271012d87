"""Extensions in an environment: their start, the phases that wait for them, and what the end of one means."""

import asyncio
import json
import random
import uuid
from contextlib import suppress
from dataclasses import replace
from errno import EACCES
from pathlib import Path
from signal import SIGKILL

import pytest

from hanabi.contracts.invocation import Result
from hanabi.contracts.journal import LogEvent
from hanabi.environment.extension_processes import extension_variables, find_extensions
from hanabi.environment.log import EnvironmentLog
from hanabi.errors import EntrypointError
from hanabi.quotas import EXTENSIONS_MAX
from hanabi.testing import ManualClock
from hanabi.testing.sandbox import FakeProcess, Killed
from tests.unit.environment.extension import Client, Does, Event, Refused, Team, plain
from tests.unit.fleet.rig import Rig, obedient
from tests.unit.fleet.test_hibernation import REST_S, hibernation, snapstart
from tests.waiting import until


def told(result: Result) -> dict[str, str]:
    assert isinstance(result.payload, bytes)
    answer: dict[str, str] = json.loads(result.payload)
    return answer


# --- their start ------------------------------------------------------------------------------------------------------


async def test_the_runtime_starts_when_they_have_registered_and_the_init_ends_when_all_are_ready(tmp_path: Path) -> None:
    registering, getting_ready = asyncio.Event(), asyncio.Event()

    async def slow(client: Client) -> int | None:
        await registering.wait()
        await client.register("INVOKE")
        await getting_ready.wait()
        while True:
            await client.next()

    async with Rig(freeze_after_s=100.0) as rig:
        team = Team(rig, tmp_path, quick=plain, slow=slow)
        invoked = rig.begin(rig.version(opt=team.opt), b'"hello"')
        await until(lambda: team.story == ["quick registered"])
        assert "start runtime" not in rig.sandbox.history and ("mount /opt" in rig.sandbox.history)
        registering.set()
        await until(lambda: "start runtime" in rig.sandbox.history)
        await until(lambda: "slow registered" in team.story)
        assert not invoked.done() and rig.states() == ["initializing"]
        getting_ready.set()
        assert (await invoked).payload == b'"hello"'
        await until(lambda: rig.states() == ["idle"])
        assert team.story[2:] == ["quick INVOKE", "slow INVOKE"]


async def test_what_they_are_told_and_what_they_see(tmp_path: Path) -> None:
    async with Rig() as rig:
        team = Team(rig, tmp_path, tool=plain)
        await rig.invoke(rig.version(opt=team.opt, environment={"KEY": "value", "_OWN": "1"}))
        (client,), (process,) = team.clients, team.processes
        assert client.told == {"functionName": "f", "functionVersion": "$LATEST", "handler": "f.h"}
        assert (process.argv, process.cwd, process.role) == (("/opt/extensions/tool",), "/", "extension/tool")
        assert process.environment["KEY"] == "value" and process.environment["AWS_LAMBDA_FUNCTION_NAME"] == "f"
        assert process.environment["AWS_LAMBDA_RUNTIME_API"] == rig.sandbox.runtime_api_address
        assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "TZ"} <= process.environment.keys()
        unseen = {"_HANDLER", "_OWN", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"}
        assert not unseen & process.environment.keys()


def test_variables_of_the_runtime_alone() -> None:
    assert extension_variables({"PATH": "/bin", "AWS_EXECUTION_ENV": "x", "_HANDLER": "h", "HANABI_RUNTIME_FD": "4"}) == {"PATH": "/bin"}


def test_every_file_is_an_extension_and_links_are_not_followed_here(tmp_path: Path) -> None:
    assert find_extensions(tmp_path) == []
    place = tmp_path / "extensions"
    (place / "libraries").mkdir(parents=True)
    (place / "b").touch()
    (place / "a").symlink_to("/etc/passwd")
    (place / "c").symlink_to(tmp_path)  # as Lambda: what it is shows when it is started
    assert find_extensions(tmp_path) == ["a", "b", "c"]
    for number in range(50):
        (place / f"d{number}").touch()
    assert len(find_extensions(tmp_path)) == EXTENSIONS_MAX + 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "extensions").symlink_to(place)
    (tmp_path / "linked").symlink_to(tmp_path)
    assert find_extensions(tmp_path / "other") == find_extensions(tmp_path / "linked") == []


async def test_an_extension_that_cannot_be_started_fails_the_init(tmp_path: Path) -> None:
    async with Rig() as rig:
        team = Team(rig, tmp_path, tool=plain)
        rig.driver.start_errors += [EntrypointError("no", EACCES)] * 2
        result = await rig.invoke(rig.version(opt=team.opt))
        assert (result.function_error, result.record.error_type) == ("Unhandled", "Extension.LaunchError")
        assert told(result)["errorMessage"].endswith("Error: fork/exec /opt/extensions/tool: permission denied")
        assert any(
            line == "EXTENSION\tName: tool\tState: LaunchError\tEvents: []\tError Type: PermissionDenied" for line in rig.journal.lines
        )


async def test_more_than_the_limit_fail_the_init(tmp_path: Path) -> None:
    async with Rig() as rig:
        team = Team(rig, tmp_path, **{f"tool-{number}": plain for number in range(EXTENSIONS_MAX + 1)})
        result = await rig.invoke(rig.version(opt=team.opt))
        assert result.record.error_type == "Extension.LaunchError" and told(result)["errorMessage"].endswith("ErrTooManyExtensions")


async def test_the_limit_is_served(tmp_path: Path) -> None:
    async with Rig() as rig:
        team = Team(rig, tmp_path, **{f"tool-{number}": plain for number in range(EXTENSIONS_MAX)})
        for _ in range(2):
            assert not (await rig.invoke(rig.version(opt=team.opt))).function_error
        await until(lambda: sum(each.endswith("INVOKE") for each in team.story) == 2 * EXTENSIONS_MAX)


async def test_one_that_does_not_register_makes_the_init_time_out(tmp_path: Path) -> None:
    async def silent(client: Client) -> int | None:
        await asyncio.Event().wait()
        return None

    clock = ManualClock()
    async with Rig(clock=clock) as rig:
        team = Team(rig, tmp_path, tool=silent)
        invoked = rig.begin(rig.version(opt=team.opt))
        await until(lambda: invoked.done(), clock=clock)
        assert (await invoked).record.status == "timeout"
        assert "start runtime" not in rig.sandbox.history


async def test_one_that_ends_before_it_registers_fails_the_init(tmp_path: Path) -> None:
    async def ends(client: Client) -> int | None:
        return 3

    async with Rig() as rig:
        team = Team(rig, tmp_path, tool=ends, other=plain)
        result = await rig.invoke(rig.version(opt=team.opt))
        assert result.record.error_type == "Extension.Crash" and told(result)["errorMessage"].endswith("Error: exit status 3")
        assert "start runtime" not in rig.sandbox.history


async def test_one_that_says_that_its_init_failed(tmp_path: Path) -> None:
    async def fails(client: Client) -> int | None:
        await client.register("INVOKE")
        await client.fail("init", "Tool.NoKey")
        return 1

    async with Rig() as rig:
        team = Team(rig, tmp_path, tool=fails)
        result = await rig.invoke(rig.version(opt=team.opt))
        assert (result.record.error_type, told(result)["errorType"]) == ("Extension.InitError", "Extension.InitError")
        assert any("State: Exited\tEvents: [INVOKE]\tError Type: Tool.NoKey" in line for line in rig.journal.lines)


async def test_the_log_says_what_became_of_each(tmp_path: Path) -> None:
    async with Rig() as rig:
        team = Team(rig, tmp_path, tool=plain)
        await rig.invoke(rig.version(opt=team.opt))
        await until(lambda: "EXTENSION\tName: tool\tState: Ready\tEvents: [INVOKE,SHUTDOWN]" in rig.journal.lines)


async def test_what_they_print_is_in_the_log_under_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[tuple[str, str]] = []
    take = EnvironmentLog._add_extension_output

    def note(log: EnvironmentLog, name: str, events: list[LogEvent]) -> None:
        named.extend((name, text) for _, text in events)
        take(log, name, events)

    async def prints(client: Client) -> int | None:
        client.process.print(f"I am {client.name}")
        return await plain(client)

    monkeypatch.setattr(EnvironmentLog, "_add_extension_output", note)
    async with Rig() as rig:
        team = Team(rig, tmp_path, one=prints, two=prints)
        await rig.invoke(rig.version(opt=team.opt), tail=True)
        assert sorted(named) == [("one", "I am one"), ("two", "I am two")]
        assert {"I am one", "I am two"} <= set(rig.journal.lines)


# --- invocations ------------------------------------------------------------------------------------------------------


def working(released: asyncio.Event) -> "object":
    async def works(client: Client) -> int | None:
        await client.register("INVOKE", "SHUTDOWN")
        while (await client.next())["eventType"] != "SHUTDOWN":
            await released.wait()
        return 0

    return works


async def test_the_answer_goes_out_at_once_and_the_invocation_ends_when_all_are_done(tmp_path: Path) -> None:
    clock, released = ManualClock(), asyncio.Event()
    async with Rig(clock=clock) as rig:
        team = Team(rig, tmp_path, tool=working(released))  # type: ignore[arg-type]
        version = rig.version(opt=team.opt)
        result = await rig.invoke(version, b'"first"')
        assert result.payload == b'"first"' and rig.states() == ["busy"] and not rig.journal.records
        assert rig.invoker.in_flight == 1  # it holds its concurrency
        await clock.advance(1.5)
        released.set()
        await until(lambda: rig.journal.records)
        await until(lambda: rig.states() == ["idle"])
        (record,) = rig.journal.records
        assert record.extensions_ms == pytest.approx(1500, abs=1) and record.duration_ms >= 1500 and record.billed_ms >= 1500
        assert record.status == "success" and rig.invoker.in_flight == 0
        second = await rig.invoke(version, b'"second"')
        assert second.record.environment == record.environment


async def test_who_asks_for_the_log_waits_for_its_end(tmp_path: Path) -> None:
    released = asyncio.Event()
    async with Rig() as rig:
        team = Team(rig, tmp_path, tool=working(released))  # type: ignore[arg-type]
        invoked = rig.begin(rig.version(opt=team.opt), tail=True)
        await until(lambda: "tool INVOKE" in team.story)
        await until(lambda: rig.environments and next(iter(rig.environments))._execution._held is not None)
        assert not invoked.done()
        released.set()
        assert b"REPORT" in (await invoked).log_tail


async def test_an_extension_that_takes_too_long_is_a_timeout_after_the_answer(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Rig(clock=clock) as rig:
        team = Team(rig, tmp_path, tool=working(asyncio.Event()))  # type: ignore[arg-type]
        version = rig.version(opt=team.opt)
        assert (await rig.invoke(version, b'"answer"')).payload == b'"answer"'
        await until(lambda: rig.journal.records, clock=clock)
        (record,) = rig.journal.records
        assert (record.status, record.duration_ms) == ("timeout", 3000)
        await until(lambda: rig.states() == ["idle"], clock=clock)  # it was reset
        assert "reset" in rig.sandbox.history


async def test_a_caller_that_hangs_up_after_the_answer_ends_nothing(tmp_path: Path) -> None:
    released = asyncio.Event()
    async with Rig() as rig:
        team = Team(rig, tmp_path, tool=working(released))  # type: ignore[arg-type]
        ended: list[object] = []
        run = rig.invoker.start(rig.invocation(rig.version(opt=team.opt)), ended.append)
        await until(lambda: ended)
        run.cancel()
        assert rig.states() == ["busy"]
        released.set()
        await until(lambda: rig.journal.records)
        assert len(ended) == 1


async def test_one_that_asked_only_for_the_end_is_not_waited_for(tmp_path: Path) -> None:
    async def end_only(client: Client) -> int | None:
        await client.register("SHUTDOWN")
        await client.next()
        return 0

    async with Rig() as rig:
        team = Team(rig, tmp_path, tool=end_only)
        for _ in range(2):
            result = await rig.invoke(rig.version(opt=team.opt))
            assert result.record.extensions_ms is None
        assert team.story == ["tool registered"]


async def test_without_extensions_the_record_has_no_time_of_theirs() -> None:
    async with Rig() as rig:
        assert (await rig.invoke(rig.version())).record.extensions_ms is None


async def test_an_internal_extension(tmp_path: Path) -> None:
    story: list[str] = []

    async def with_internal(process: FakeProcess) -> int | None:
        client = Client(process, "inner", story)
        await client.register("INVOKE")
        with pytest.raises(Refused) as refused:
            await Client(process, "late", story).register("SHUTDOWN")
        assert refused.value.args == (403, "Extension.InvalidEventType")

        async def serve() -> None:
            while True:
                await client.next()

        serving = asyncio.ensure_future(serve())
        try:
            return await obedient(process)
        finally:
            serving.cancel()

    async with Rig(with_internal) as rig:
        for _ in range(2):
            assert not (await rig.invoke(rig.version())).function_error
        assert story[0] == "inner registered"
        await until(lambda: story.count("inner INVOKE") == 2)


# --- the end of one ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how, message", [(0, "exit code 0"), (2, "exit status 2"), (SIGKILL, "signal: killed")])
async def test_one_that_ends_during_an_invocation_fails_it(tmp_path: Path, how: int, message: str) -> None:
    async def ends(client: Client) -> int | None:
        await client.register("INVOKE")
        await client.next()
        if how == SIGKILL:
            raise Killed(SIGKILL)
        return how

    async with Rig() as rig:
        team = Team(rig, tmp_path, tool=ends)
        version = rig.version(opt=team.opt)
        result = await rig.invoke(version, b"hang")
        assert (result.function_error, result.record.error_type, result.record.status) == ("Unhandled", "Extension.Crash", "error")
        answer = told(result)
        assert answer["errorType"] == "Extension.Crash"
        assert answer["errorMessage"] == f"RequestId: {result.record.request_id} Error: {message}"
        team.does["tool"] = plain
        assert not (await rig.invoke(version)).function_error  # in the same environment, after its reset
        assert len(rig.driver.sandboxes) == 1 and rig.sandbox.history.count("reset") == 1


async def test_one_that_says_that_it_cannot_go_on(tmp_path: Path) -> None:
    async def fails(client: Client) -> int | None:
        await client.register("INVOKE")
        await client.next()
        await client.fail("exit", "Tool.Gone")
        return 1

    async with Rig() as rig:
        team = Team(rig, tmp_path, tool=fails)
        result = await rig.invoke(rig.version(opt=team.opt), b"hang")
        assert result.record.error_type == "Extension.ExitError" and told(result)["errorMessage"].endswith("Error: exit status 1")


async def test_one_that_ends_after_the_answer_leaves_the_caller_its_answer(tmp_path: Path) -> None:
    released = asyncio.Event()

    async def ends(client: Client) -> int | None:
        await client.register("INVOKE")
        await client.next()
        await released.wait()
        return 1

    async with Rig() as rig:
        team = Team(rig, tmp_path, tool=ends)
        assert (await rig.invoke(rig.version(opt=team.opt), b'"answer"')).payload == b'"answer"'
        released.set()
        await until(lambda: rig.journal.records)
        assert rig.journal.records[0].error_type == "Extension.Crash"


async def test_one_that_ends_while_idle_makes_the_next_invocation_run_the_init(tmp_path: Path) -> None:
    ending = asyncio.Event()

    async def ends(client: Client) -> int | None:
        await client.register("SHUTDOWN")
        await ending.wait()
        return 1

    async def waits(client: Client) -> int | None:
        await client.register("SHUTDOWN")
        waiting = asyncio.ensure_future(client.next())
        await asyncio.wait([waiting, asyncio.ensure_future(ending.wait())], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return 1

    async with Rig(freeze_after_s=100.0) as rig:
        team = Team(rig, tmp_path, tool=waits)
        version = rig.version(opt=team.opt)
        await rig.invoke(version)
        ending.set()
        await until(lambda: "reset" in rig.sandbox.history)
        team.does["tool"] = plain
        assert not (await rig.invoke(version)).function_error
        assert len(rig.driver.sandboxes) == 1


async def test_the_pool_starts_them_when_the_function_comes(tmp_path: Path) -> None:
    async with Rig(pool_size=1) as rig:
        team = Team(rig, tmp_path, tool=plain)
        rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
        await until(lambda: len(rig.environments.pool) == 1)
        assert "start extension/tool" not in rig.sandbox.history
        sandbox = rig.sandbox
        assert not (await rig.invoke(rig.version(opt=team.opt))).function_error
        assert "start extension/tool" in sandbox.history


# --- snapshots --------------------------------------------------------------------------------------------------------


async def test_a_snapshot_has_none_and_its_clones_start_their_own(tmp_path: Path) -> None:
    rig, snapshots = snapstart(tmp_path)
    async with rig:
        team = Team(rig, tmp_path, tool=plain)
        version = rig.version(version="1", opt=team.opt)
        name = await snapshots.take(version)
        history = rig.sandbox.history
        assert history.index(f"signal extension/tool {SIGKILL}") < history.index("snapshot")
        assert team.story == ["tool registered"]  # it was told nothing
        result = await rig.invoke(replace(version, snapshot=tmp_path / "snapshots" / name))
        assert result.function_error is None
        await until(lambda: rig.journal.records)
        assert rig.journal.records[0].restore is not None
        assert team.story == ["tool registered", "tool registered", "tool INVOKE"]
        assert len({client.identifier for client in team.clients}) == 2


async def test_an_environment_with_extensions_is_not_hibernated_but_ends(tmp_path: Path) -> None:
    rig, clock = hibernation(tmp_path)
    async with rig:
        team = Team(rig, tmp_path, tool=plain)
        await rig.invoke(rig.version(opt=team.opt))
        await until(lambda: rig.states() in (["idle"], ["frozen"]), clock=clock, step_s=0.1)
        await clock.advance(REST_S + 1)
        assert rig.states() in (["idle"], ["frozen"])
        await clock.advance(1000)
        await until(lambda: team.story[-1] == "tool SHUTDOWN spindown")


# --- hostile ones -----------------------------------------------------------------------------------------------------


def hostile(lot: random.Random) -> Does:
    """Does what comes to its mind, with several connections at once."""

    async def does(client: Client) -> int | None:
        asking: list[asyncio.Task[Event]] = []
        try:
            for _ in range(lot.randrange(1, 12)):
                name = lot.choice([client.name, "runtime", "sandbox", "x" * 3000, "e\u00e9"])
                identifier = lot.choice([client.identifier, str(uuid.uuid4()), "x"])
                headers = {"Lambda_Extension_Identifier": identifier, "Lambda_Extension_Function_Error_Type": lot.choice(["T.E", ""])}
                with suppress(Refused):
                    match lot.randrange(9):
                        case 0 | 1 | 2:
                            await client.register(*lot.choice([["INVOKE"], ["INVOKE", "SHUTDOWN"], ["SHUTDOWN"], ["START"], []]))
                        case 3 | 4:
                            asking.append(asyncio.ensure_future(client.next()))
                        case 5:
                            await client.ask("POST", "register", lot.randbytes(200), Lambda_Extension_Name=name.encode().hex())
                        case 6:
                            await client.ask("POST", lot.choice(["init/error", "exit/error"]), b"[" * 9000, **headers)
                        case 7:
                            _, writer = await asyncio.open_connection(*client.process.sandbox.runtime_api_address.split(":"))
                            writer.write(lot.randbytes(300))
                            writer.close()
                        case 8:
                            client.process.print("noise" * 10)
                await asyncio.sleep(0)
            if lot.random() < 0.5:
                await asyncio.Event().wait()
            return lot.randrange(3)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    return does


@pytest.mark.parametrize("seed", range(8))
async def test_hostile_ones_hold_up_nobody_for_longer_than_the_timeout(tmp_path: Path, seed: int) -> None:
    lot, clock = random.Random(seed), ManualClock()
    rig = Rig(clock=clock, unreserved=8)
    await rig.__aenter__()
    try:
        team = Team(rig, tmp_path, good=plain, bad=hostile(lot), worse=hostile(lot))
        version = rig.version(opt=team.opt)
        running = [rig.begin(version, lot.choice([b"{}", b"hang", b"exit 1", b"fail"]), tail=lot.random() < 0.5) for _ in range(6)]
        await until(lambda: all(task.done() for task in running), clock=clock, step_s=0.25)
        assert all(isinstance(task.result(), Result) for task in running)  # each has an answer
        await until(lambda: rig.invoker.in_flight == 0, clock=clock, step_s=0.25)
        assert len(rig.journal.records) == len(running)
        team.does["bad"] = team.does["worse"] = plain
        rig.fleet.retire(version.key)
        again = rig.begin(rig.version("g", opt=team.opt), b'"again"')
        await until(again.done, clock=clock, step_s=0.25)
        assert again.result().function_error is None
    finally:
        closing = asyncio.ensure_future(rig.__aexit__())
        await until(closing.done, clock=clock, step_s=0.25)
        await closing
