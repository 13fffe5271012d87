"""What an invocation lasts and costs: its timeout at most, whatever else happened on the host."""

from collections.abc import Callable
from typing import Any

from hanabi.ledger.report import billed_ms
from hanabi.testing import ManualClock, ManualTimer
from hanabi.testing.sandbox import FakeProcess, silent
from tests.unit.fleet.rig import Rig, obedient
from tests.waiting import until


class LateClock(ManualClock):
    """Of a busy host: what was to happen after a second or more happens a little later."""

    def call_later(self, seconds: float, callback: Callable[..., None], *args: Any) -> ManualTimer:
        return super().call_later(seconds + 0.0004 if seconds >= 1 else seconds, callback, *args)


async def test_a_timeout_costs_what_it_says_however_late_it_is_noticed() -> None:
    clock = LateClock()

    async def slow_again(process: FakeProcess) -> int | None:
        if process.sandbox.history.count("start runtime") > 1:
            await clock.sleep(4.3)
        return await obedient(process)

    async with Rig(slow_again, clock=clock) as rig:
        version = rig.version(timeout_s=12)
        await rig.invoke(version)
        for _ in range(2):  # the second time with its init
            task = rig.begin(version, b"hang")
            for _ in range(13):
                await clock.advance(1.0, turns=40)
            await until(task.done)
            record = (await task).record
            assert (record.status, record.duration_ms, billed_ms(record.duration_ms)) == ("timeout", 12000.0, 12000)
        assert [line.split("\t")[1:3] for line in rig.journal.lines if line.startswith("REPORT")][1] == [
            "Duration: 12000.00 ms",
            "Billed Duration: 12000 ms",
        ]


async def test_an_init_that_times_out_twice_costs_the_functions_timeout() -> None:
    clock = LateClock()
    async with Rig(silent, clock=clock) as rig:
        task = rig.begin(rig.version(timeout_s=2))
        await clock.advance(13.0, turns=40)
        await until(task.done)
        assert ((await task).record.duration_ms, (await task).record.billed_ms) == (2000.0, 2000)
        reports = [line.split("\t")[0] for line in rig.journal.lines if line.startswith("INIT_REPORT")]
        assert reports == ["INIT_REPORT Init Duration: 10000.00 ms", "INIT_REPORT Init Duration: 2000.00 ms"]


async def test_an_answer_that_comes_with_the_deadline_costs_no_more_than_the_timeout() -> None:
    class Later(ManualClock):
        def call_later(self, seconds: float, callback: Callable[..., None], *args: Any) -> ManualTimer:
            return super().call_later(seconds + 5 if seconds == 3 else seconds, callback, *args)

    clock = Later()

    async def slow(process: FakeProcess) -> int | None:
        while (await process.read())[0] != "i":
            pass
        await process.write("r")
        await process.read()
        await clock.sleep(3.2)
        await process.write("o", b"late")
        return await silent(process)

    async with Rig(slow, clock=clock) as rig:
        task = rig.begin(rig.version(timeout_s=3))
        await until(lambda: rig.states() == ["busy"])
        for _ in range(40):
            await clock.advance(0.1)
        await until(task.done)
        result = await task
        assert (result.payload, result.record.duration_ms) == (b"late", 3000.0)


async def test_a_crash_costs_nothing_after_it_was_seen() -> None:
    """What a runtime sent before its end is waited for; nobody pays for that."""

    clock = ManualClock()
    async with Rig(clock=clock) as rig:
        version = rig.version()
        await rig.invoke(version)
        for payload in (b"exit 3", b"kill 9"):
            (environment,) = rig.fleet._environments
            task = rig.begin(version, payload)
            await until(lambda: not environment.usable)  # noqa: B023
            await clock.advance(1.0)
            await until(task.done)
            assert (await task).record.duration_ms == 0.0
