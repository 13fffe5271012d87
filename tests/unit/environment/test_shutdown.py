"""The shutdown of an environment with extensions: who is told what, in which order, and how long it lasts."""

import asyncio
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from hanabi.environment.shutdown import RUNTIME_SHARE
from hanabi.quotas import SHUTDOWN_EXTERNAL_S, SHUTDOWN_INTERNAL_S
from hanabi.testing import ManualClock
from hanabi.testing.sandbox import FakeProcess
from tests.unit.environment.extension import Client, Team, plain
from tests.unit.fleet.rig import Rig, obedient
from tests.waiting import until


def ending(story: list[str], *, obeys: bool = True) -> object:
    """A runtime that notes SIGTERM."""

    async def runtime(process: FakeProcess) -> int | None:
        try:
            return await obedient(process)
        except asyncio.CancelledError:
            story.append("runtime SIGTERM" if SIGTERM in process.signals and SIGKILL not in process.signals else "runtime killed")
            if not obeys and SIGKILL not in process.signals:
                try:
                    await asyncio.Event().wait()
                finally:
                    story.append("runtime killed")
            raise

    return runtime


async def warm(rig: Rig, team: Team | None = None) -> None:
    version = rig.version() if team is None else rig.version(opt=team.opt)
    assert not (await rig.invoke(version)).function_error
    await until(lambda: rig.states() in (["idle"], ["frozen"]))


async def test_the_runtime_is_ended_first_then_the_extensions_are_told(tmp_path: Path) -> None:
    story: list[str] = []
    clock = ManualClock()
    async with Rig(ending(story), clock=clock) as rig:
        team = Team(rig, tmp_path, one=plain, two=plain)
        team.story = story
        await warm(rig, team)
        del story[:]
        rig.fleet.retire("f")
        await until(lambda: rig.sandbox.destroyed)
        assert story == ["runtime SIGTERM", "one SHUTDOWN spindown", "two SHUTDOWN spindown"]
        for client in team.clients:
            event = client.events[-1]
            assert event["deadlineMs"] == pytest.approx((clock.time() + SHUTDOWN_EXTERNAL_S) * 1000, abs=2)
        assert f"signal runtime {SIGKILL}" not in rig.sandbox.history


async def test_who_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    story: list[str] = []

    async def stays(client: Client) -> int | None:
        await client.register("INVOKE", "SHUTDOWN")
        while (await client.next())["eventType"] != "SHUTDOWN":
            pass
        await asyncio.Event().wait()
        return None

    clock = ManualClock()
    async with Rig(ending(story, obeys=False), clock=clock) as rig:
        team = Team(rig, tmp_path, tool=stays)
        team.story = story
        await warm(rig, team)
        del story[:]
        rig.fleet.retire("f")
        await until(lambda: story == ["runtime SIGTERM"])
        await clock.advance(SHUTDOWN_EXTERNAL_S * RUNTIME_SHARE - 0.01)
        assert story == ["runtime SIGTERM"]
        await clock.advance(0.02)
        await until(lambda: story == ["runtime SIGTERM", "runtime killed", "tool SHUTDOWN spindown"])
        assert not rig.sandbox.destroyed
        await clock.advance(SHUTDOWN_EXTERNAL_S * (1 - RUNTIME_SHARE) - 0.02)
        assert not rig.sandbox.destroyed
        await clock.advance(0.03)
        await until(lambda: rig.sandbox.destroyed)


async def test_one_that_did_not_ask_for_it_is_killed_at_once(tmp_path: Path) -> None:
    async def invocations_only(client: Client) -> int | None:
        await client.register("INVOKE")
        while True:
            await client.next()

    async with Rig() as rig:
        team = Team(rig, tmp_path, tool=invocations_only)
        await warm(rig, team)
        rig.fleet.retire("f")
        await until(lambda: rig.sandbox.destroyed)
        assert f"signal extension/tool {SIGKILL}" in rig.sandbox.history


@pytest.mark.parametrize("how, reason", [(b"hang", "timeout"), (b"exit 1", "failure")])
async def test_a_reset_tells_them_why_and_starts_them_anew(tmp_path: Path, how: bytes, reason: str) -> None:
    clock = ManualClock()
    async with Rig(clock=clock) as rig:
        team = Team(rig, tmp_path, tool=plain)
        version = rig.version(opt=team.opt)
        invoked = rig.begin(version, how)
        await until(invoked.done, clock=clock, step_s=0.1)
        assert (await invoked).function_error
        assert team.story == ["tool registered", "tool INVOKE", f"tool SHUTDOWN {reason}"]
        assert not (await rig.invoke(version)).function_error
        assert len(rig.driver.sandboxes) == 1 and len(team.clients) == 2
        rig.fleet.retire("f")
        await until(lambda: rig.sandbox.destroyed)
        assert team.story[-1] == "tool SHUTDOWN spindown"


async def test_one_at_work_hears_of_the_end_when_it_asks(tmp_path: Path) -> None:
    async def works(client: Client) -> int | None:
        await client.register("INVOKE", "SHUTDOWN")
        await client.next()
        await until(lambda: rig.sandbox.history.count(f"signal runtime {SIGTERM}") == 1)
        await client.next()
        return 0

    clock = ManualClock()
    async with Rig(clock=clock) as rig:
        team = Team(rig, tmp_path, tool=works)
        await rig.invoke(rig.version(opt=team.opt))
        await until(lambda: "tool SHUTDOWN timeout" in team.story, clock=clock)


async def test_with_internal_ones_alone_the_runtime_has_the_whole_shorter_phase() -> None:
    story: list[str] = []

    async def with_internal(process: FakeProcess) -> int | None:
        client = Client(process, "inner", [])
        await client.register("INVOKE")

        async def serve() -> None:
            while True:
                await client.next()

        serving = asyncio.ensure_future(serve())
        try:
            return await ending(story, obeys=False)(process)  # type: ignore[operator, no-any-return]
        finally:
            serving.cancel()

    clock = ManualClock()
    async with Rig(with_internal, clock=clock) as rig:
        await warm(rig)
        rig.fleet.retire("f")
        await until(lambda: story == ["runtime SIGTERM"])
        await clock.advance(SHUTDOWN_INTERNAL_S - 0.01)
        assert not rig.sandbox.destroyed
        await clock.advance(0.02)
        await until(lambda: rig.sandbox.destroyed)


async def test_a_frozen_one_is_thawed_for_it(tmp_path: Path) -> None:
    async with Rig(freeze_after_s=0.0) as rig:
        team = Team(rig, tmp_path, tool=plain)
        await warm(rig, team)
        assert rig.states() == ["frozen"]
        rig.fleet.retire("f")
        await until(lambda: rig.sandbox.destroyed)
        history = rig.sandbox.history
        assert len(history) - history[::-1].index("thaw") < len(history) - history[::-1].index(f"signal runtime {SIGTERM}")
        assert team.story[-1] == "tool SHUTDOWN spindown"


async def test_nobody_waits_for_a_sandbox_that_is_lost(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Rig(clock=clock) as rig:
        team = Team(rig, tmp_path, tool=plain)
        await warm(rig, team)
        rig.sandbox.vanish()
        await until(lambda: rig.sandbox.destroyed)  # no time passes
        assert not any(each.startswith("signal") for each in rig.sandbox.history)


async def test_without_extensions_nobody_is_told() -> None:
    async with Rig() as rig:
        await warm(rig)
        rig.fleet.retire("f")
        await until(lambda: rig.sandbox.destroyed)
        assert not any(each.startswith("signal") for each in rig.sandbox.history)
