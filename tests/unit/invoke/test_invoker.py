"""Every way an invocation may end, with the answer, the record and the log it leaves."""

import asyncio
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from hanabi.contracts.invocation import Result
from hanabi.environment.log import BUFFERED_EVENTS
from hanabi.environment.memory import READ_AFTER_US
from hanabi.errors import AccessDenied, EntrypointError, ServiceError, TooManyRequests
from hanabi.quotas import LOG_TAIL_BYTES
from hanabi.testing import ManualClock
from hanabi.testing.body import whole
from hanabi.testing.sandbox import MIB, FakeProcess, silent
from tests.unit.fleet.rig import Rig, obedient, on_runtime_api, request
from tests.waiting import until


def kinds(lines: list[str]) -> list[str]:
    """The first word of each line."""
    return [line.split(" ")[0] for line in lines]


def error_of(result: Result) -> tuple[str, str]:
    assert result.function_error == "Unhandled"
    payload = json.loads(whole(result.payload))
    assert result.record.request_id in payload["errorMessage"] or result.record.error_type == payload["errorType"]
    return payload["errorType"], re.sub(r"^RequestId: \S+ ", "", payload["errorMessage"])


# --- the good end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["python3.11", "provided.al2023"])
async def test_a_success_and_its_record(runtime: str) -> None:
    async with Rig() as rig:
        version = rig.version(runtime=runtime)
        results = [await rig.invoke(version, b'"x"', source="url", trace="Root=1") for _ in range(3)]
        for result in results:
            assert (result.payload, result.function_error, result.version, result.log_tail) == (b'"x"', None, "$LATEST", b"")
            record = result.record
            assert (record.status, record.error_type, record.source, record.trace) == ("success", None, "url", "Root=1")
            assert record.billed_ms == math.ceil(round(record.duration_ms + (record.init_ms or 0), 3))
        assert results[0].record.init_ms and not any(each.record.init_ms for each in results[1:])
        assert rig.journal.records == [each.record for each in results]
        assert kinds(rig.journal.lines) == ["INIT_START"] + ["START", "END", "REPORT"] * 3
        billed = sum(int(each) for each in re.findall(r"Billed Duration: (\d+) ms", "\n".join(rig.journal.lines)))
        assert billed == sum(each.billed_ms for each in rig.journal.records)


@pytest.mark.parametrize("peak, reported", [(0, 1), (1, 1), (40 * MIB + 1, 41), (128 * MIB, 128), (200 * MIB, 128)])
async def test_memory_used_is_at_least_one_and_at_most_what_there_is(peak: int, reported: int) -> None:
    async def takes_its_time(process: FakeProcess) -> int | None:
        await process.write("r")
        while True:
            kind, body = await process.read()
            if kind == "n":
                await asyncio.sleep(2 * READ_AFTER_US / 1e6)
                await process.answer(process.payload(body))

    async with Rig(takes_its_time) as rig:
        await rig.invoke(rig.version())
        rig.sandbox.peak = peak
        assert (await rig.invoke(rig.version())).record.max_memory_mb == reported


async def test_the_cpu_share_comes_with_the_end_of_the_init() -> None:
    async with Rig() as rig:
        for memory_mb, init, share in ((1769, "1.0", "1.0"), (3538, "2.0", "2.0"), (128, "1.0", str(128 / 1769))):
            await rig.invoke(rig.version(str(memory_mb), memory_mb=memory_mb))
            limits = [each for each in rig.sandbox.history if each.startswith("limit")]
            assert limits == [f"limit {memory_mb} {init}", f"limit {memory_mb} {share}"]
            assert rig.sandbox.history.index("reset_peak") < rig.sandbox.history.index("start runtime")


# --- the bad ends -----------------------------------------------------------------------------------------------------


async def test_a_role_that_is_no_more_runs_nothing() -> None:
    def refuse(arn: str) -> None:
        if gone:
            raise AccessDenied(arn)

    gone = False
    async with Rig() as rig:
        rig.check_role = refuse
        await rig.invoke(rig.version())
        gone, lines = True, list(rig.journal.lines)
        with pytest.raises(AccessDenied, match=rig.version().role):
            await rig.invoke(rig.version())
        assert rig.journal.lines == lines
        gone = False
        await rig.invoke(rig.version())


async def test_an_error_of_the_function_leaves_the_environment() -> None:
    async with Rig() as rig:
        result = await rig.invoke(rig.version(), b"fail")
        assert error_of(result) == ("ValueError", "no") and result.record.status == "error"
        assert (await rig.invoke(rig.version())).record.environment == result.record.environment
        assert "Status: error\tError Type: ValueError" in rig.journal.lines[3]


@pytest.mark.parametrize(
    "order, kind, message",
    [
        (b"exit 3", "Runtime.ExitError", "Error: Runtime exited with error: exit status 3"),
        (b"exit 0", "Runtime.ExitError", "Error: Runtime exited without providing a reason"),
        (b"kill 11", "Runtime.ExitError", "Error: Runtime exited with error: signal: segmentation fault"),
        (b"kill 9", "Runtime.ExitError", "Error: Runtime exited with error: signal: killed"),
    ],
)
async def test_a_crash_is_told_and_the_next_invocation_works(order: bytes, kind: str, message: str) -> None:
    async with Rig() as rig:
        result = await rig.invoke(rig.version(), order)
        assert error_of(result) == (kind, message) and result.record.status == "error"
        after = await rig.invoke(rig.version())
        assert not after.function_error and after.record.environment == result.record.environment
        assert len(rig.driver.alive) == 1 and "reset" in rig.sandbox.history


async def test_a_kill_by_the_memory_cap_is_told_in_the_report() -> None:
    async with Rig() as rig:
        await rig.invoke(rig.version())
        rig.sandbox.ooms = 1
        result = await rig.invoke(rig.version(), b"kill 9")
        assert json.loads(whole(result.payload))["errorType"] == "Runtime.ExitError"
        assert result.record.error_type == "Runtime.OutOfMemory"


async def test_a_sandbox_that_vanishes_in_the_middle() -> None:
    taken = asyncio.Event()  # until then the invocation would run in another one

    async def hang(process: FakeProcess) -> int | None:
        while (await process.read())[0] != "i":
            pass
        await process.write("r")
        while (await process.read())[0] != "n":
            pass
        taken.set()
        await asyncio.Event().wait()
        return None

    async with Rig(hang) as rig:
        task = rig.begin(rig.version(timeout_s=60))
        await taken.wait()
        rig.sandbox.vanish()
        assert error_of(await task)[0] == "Runtime.ExitError"
        await until(lambda: not rig.driver.alive)


async def test_an_answer_counts_though_the_runtime_exits_after_it() -> None:
    async with Rig() as rig:
        for _ in range(2):
            result = await rig.invoke(rig.version(runtime="provided.al2023"), b"answer-and-exit")
            assert (result.payload, result.function_error) == (b"answer-and-exit", None)
        assert len(rig.driver.sandboxes) == 1
        last = await rig.invoke(rig.version("b"), b"last-words")
        assert (last.payload, last.record.error_type) == (b'{"errorType":"Thrown"}', "Thrown")


async def test_a_runtime_that_says_what_it_must_not_is_ended() -> None:
    async with Rig() as rig:
        await rig.invoke(rig.version(), b"babble")  # its first answer counts, if it came before the second
        await until(lambda: not rig.driver.alive)
        assert not (await rig.invoke(rig.version())).function_error


async def test_a_timeout_ends_what_runs() -> None:
    clock = ManualClock()
    async with Rig(clock=clock) as rig:
        version = rig.version(timeout_s=3)
        await rig.invoke(version)
        await clock.advance(1.0)
        task = rig.begin(version, b"hang")
        await clock.advance(2.9)
        assert not task.done()
        await clock.advance(0.2)
        result = await task
        assert error_of(result) == ("Sandbox.Timedout", "Error: Task timed out after 3.00 seconds")
        assert (result.record.status, result.record.duration_ms, result.record.billed_ms) == ("timeout", 3000.0, 3000)
        assert rig.journal.lines[-1].endswith("\tStatus: timeout")
        assert not rig.sandbox.processes_alive


async def test_one_deadline_serves_many_invocations() -> None:
    clock = ManualClock()
    async with Rig(clock=clock, freeze_after_s=100.0) as rig:
        version = rig.version(timeout_s=3)
        for _ in range(10):
            assert not (await rig.invoke(version)).function_error
            await clock.advance(2.0)
        assert rig.states() == ["idle"]


# --- the init ---------------------------------------------------------------------------------------------------------


async def test_an_init_error_is_tried_once_more_within_the_invocation() -> None:
    async def fails(process: FakeProcess) -> int | None:
        process.print("trying")
        await process.write("e", b'{"errorType":"Runtime.ImportModuleError","errorMessage":"no module"}')
        return 1

    async with Rig(fails) as rig:
        result = await rig.invoke(rig.version())
        assert json.loads(whole(result.payload))["errorType"] == "Runtime.ImportModuleError" and result.function_error
        assert result.record.init_ms is None and result.record.duration_ms > 0
        assert len(rig.driver.sandboxes) == 2
        wanted = ["INIT_START", "trying", "INIT_REPORT", "INIT_START", "trying", "INIT_REPORT", "START", "END", "REPORT"]
        assert kinds(rig.journal.lines) == wanted
        assert "Phase: init" in rig.journal.lines[2] and "Phase: invoke" in rig.journal.lines[5]
        await until(lambda: not rig.driver.alive)


async def test_an_init_that_takes_too_long_is_tried_again_under_the_functions_timeout() -> None:
    async def slow_at_first(process: FakeProcess) -> int | None:
        if len(sandboxes(process)) == 1:
            return await silent(process)
        await delay()
        return await obedient(process)

    def sandboxes(process: FakeProcess) -> list[Any]:
        return process.sandbox._driver.sandboxes

    clock = ManualClock()

    async def delay() -> None:
        await clock.sleep(4.0)

    async with Rig(slow_at_first, clock=clock) as rig:
        task = rig.begin(rig.version(timeout_s=30), b'"late"')
        await clock.advance(9.9, turns=40)
        assert len(rig.driver.sandboxes) == 1
        await clock.advance(4.5, turns=40)
        await until(task.done)
        result = await task
        assert (result.payload, result.record.init_ms) == (b'"late"', None)
        assert result.record.duration_ms == pytest.approx(4000)
        assert any("Init Duration: 10000.00 ms\tPhase: init\tStatus: timeout" in line for line in rig.journal.lines)


async def test_the_second_init_times_out_with_the_function() -> None:
    clock = ManualClock()
    async with Rig(silent, clock=clock) as rig:
        task = rig.begin(rig.version(timeout_s=2))
        await clock.advance(13.0, turns=40)
        await until(task.done)
        result = await task
        assert error_of(result) == ("Sandbox.Timedout", "Error: Task timed out after 2.00 seconds")
        assert (result.record.status, result.record.billed_ms) == ("timeout", 2000)


async def test_what_the_second_init_took_is_missing_to_the_invocation() -> None:
    clock = ManualClock()

    async def slow(process: FakeProcess) -> int | None:
        if len(process.sandbox._driver.sandboxes) == 1:
            return 1
        await clock.sleep(2.0)
        return await obedient(process)

    async with Rig(slow, clock=clock) as rig:
        task = rig.begin(rig.version(timeout_s=3), b"hang")
        await clock.advance(2.9, turns=40)
        assert not task.done()
        await clock.advance(0.3, turns=40)
        await until(task.done)
        result = await task
        assert error_of(result)[1].endswith("timed out after 3.00 seconds")
        assert result.record.duration_ms == pytest.approx(3000)


async def test_an_exit_in_the_init_and_right_after_it() -> None:
    async def exits(process: FakeProcess) -> int | None:
        return 7

    async def gets_ready_and_exits(process: FakeProcess) -> int | None:
        asking = asyncio.create_task(request(process, "GET", "invocation/next"))
        await until(lambda: "initializing" not in [each.state.value for each in environments])
        asking.cancel()
        return 7

    environments: list[Any] = []

    for bootstrap in (exits, gets_ready_and_exits):
        async with Rig(bootstrap) as rig:
            environments[:] = []
            result = await rig.invoke(rig.version(runtime="provided.al2023"))
            assert error_of(result)[1].endswith("exit status 7")


@pytest.mark.parametrize(
    "errors, present, kind, message",
    [
        ([2, 2], False, "Runtime.InvalidEntrypoint", "Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        ([13], True, "Runtime.InvalidEntrypoint", "Error: fork/exec /var/task/bootstrap: permission denied"),
        ([8], True, "Runtime.InvalidEntrypoint", "Error: fork/exec /var/task/bootstrap: exec format error"),
        ([2], True, "Runtime.InvalidEntrypoint", "Error: fork/exec /var/task/bootstrap: no such file or directory"),
    ],
)
async def test_an_entrypoint_that_cannot_be_executed(errors: list[int], present: bool, kind: str, message: str, tmp_path: Any) -> None:
    if present:
        (tmp_path / "bootstrap").write_text("")

    async with Rig() as rig:
        rig.driver.start_errors += [EntrypointError("/var/task/bootstrap", number) for number in errors * 2]
        result = await rig.invoke(rig.version(runtime="provided.al2023", code=tmp_path))
        assert error_of(result) == (kind, message)
        assert not rig.driver.start_errors


async def test_a_bootstrap_in_a_layer_will_do(tmp_path: Any) -> None:
    async with Rig() as rig:
        rig.driver.start_errors.append(EntrypointError("/var/task/bootstrap", 2))
        result = await rig.invoke(rig.version(runtime="provided.al2023", code=tmp_path))
        assert not result.function_error and rig.sandbox.processes["runtime"].argv == ("/opt/bootstrap",)


# --- the log ----------------------------------------------------------------------------------------------------------


async def test_what_is_printed_stands_between_start_and_end() -> None:
    async with Rig() as rig:
        await rig.invoke(rig.version(), b"print hello")
        await rig.invoke(rig.version(), b"write two\nunfinished")
        await rig.invoke(rig.version(), b"print again")
        wanted = ["INIT_START", "START", "hello", "END", "REPORT", "START", "two", "unfinished", "END", "REPORT"]
        assert kinds(rig.journal.lines) == [*wanted, "START", "again", "END", "REPORT"]
        times_ms = [when for when, line in rig.journal.events if line.startswith(("START ", "END "))]
        assert times_ms == sorted(times_ms)


async def test_a_long_invocation_can_be_followed() -> None:
    async def prints_and_hangs(process: FakeProcess) -> int | None:
        await process.write("r")
        await process.read()
        await process.read()
        process.print("working")
        return await silent(process)

    async with Rig(prints_and_hangs) as rig:
        task = rig.begin(rig.version())
        await until(lambda: kinds(rig.journal.lines) == ["INIT_START", "START", "working"])
        task.cancel()


async def test_the_tail_is_the_last_of_this_invocation() -> None:
    async with Rig() as rig:
        version = rig.version()
        await rig.invoke(version, b"print before")
        short = (await rig.invoke(version, b"print hello", tail=True)).log_tail.decode()
        assert kinds(short.splitlines()) == ["START", "hello", "END", "REPORT"] and short.endswith("\n")
        lines = "\n".join(f"line {number}" for number in range(50 * BUFFERED_EVENTS))
        long = (await rig.invoke(version, b"write " + lines.encode(), tail=True)).log_tail
        assert len(long) == LOG_TAIL_BYTES and f"line {50 * BUFFERED_EVENTS - 1}\nEND ".encode() in long
        wide = (await rig.invoke(version, b"write " + b"x" * 30_000, tail=True)).log_tail
        assert len(wide) == LOG_TAIL_BYTES and wide.startswith(b"xxx")
        assert (await rig.invoke(version)).log_tail == b""


# --- counting, whatever happens ---------------------------------------------------------------------------------------


async def cold(rig: Rig) -> None:
    rig.driver.create_allowed.clear()


async def busy(rig: Rig) -> None:
    await rig.invoke(rig.version())


@pytest.mark.parametrize("prepare", [cold, busy])
async def test_a_cancelled_invocation_leaves_no_trace(prepare: Callable[[Rig], Any]) -> None:
    async with Rig() as rig:
        await prepare(rig)
        task = rig.begin(rig.version(), b"hang", reserved=1)
        await asyncio.sleep(0.01)
        assert rig.admission.running("f") == 1
        with pytest.raises(TooManyRequests):
            await rig.invoke(rig.version(), reserved=1)
        task.cancel()
        await asyncio.wait([task])
        rig.driver.create_allowed.set()
        assert task.cancelled() and rig.admission.running("f") == 0
        assert not (await rig.invoke(rig.version(), reserved=1)).function_error
        await until(lambda: set(rig.states()) == {"frozen"})


async def test_everything_that_enters_leaves() -> None:
    async with Rig(unreserved=1) as rig:
        for payload in (b"{}", b"fail", b"exit 1", b"kill 9", b"babble", b"last-words"):
            await rig.invoke(rig.version(), payload)
            await rig.invoke(rig.version("own"), payload, reserved=1)
        rig.driver.create_errors.append(OSError(28, "No space left on device"))
        with pytest.raises(ServiceError, match="No space left"):
            await rig.invoke(rig.version("new"))
        assert not (await rig.invoke(rig.version())).function_error


async def test_a_record_that_cannot_be_written_does_not_keep_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Rig() as rig:

        def fails(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr(rig.journal, "finish", fails)
            with pytest.raises(OSError):
                await rig.invoke(rig.version())
        await until(lambda: "busy" not in rig.states())
        assert not (await rig.invoke(rig.version())).function_error and len(rig.driver.sandboxes) == 1


async def test_a_runtime_interface_client_may_fail_too() -> None:
    async def fails(process: FakeProcess) -> int | None:
        if len(process.sandbox._driver.sandboxes) > 2:
            return await on_runtime_api(process)
        await request(process, "POST", "init/error", b'{"errorType":"Runtime.Broken","errorMessage":"no"}')
        return 1

    async with Rig(fails) as rig:
        version = rig.version(runtime="provided.al2023")
        result = await rig.invoke(version)
        assert result.record.error_type == "Runtime.Broken" and result.function_error
        assert not (await rig.invoke(version)).function_error
