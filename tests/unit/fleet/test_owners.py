"""Nothing that the fleet has begun is left without an owner, whatever fails: an end, a look at the idle, the pool."""

import asyncio
import shutil
from pathlib import Path

import pytest

from hanabi.base.health import Health
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.environment.environment import Environment
from hanabi.errors import ImageError
from hanabi.fleet.reaper import Reaper
from hanabi.testing import ManualClock
from hanabi.testing.sandbox import echo
from tests.unit.fleet.rig import IMAGE, Rig
from tests.waiting import until


async def test_a_step_of_the_end_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Rig() as rig:
        await rig.invoke(rig.version())
        (environment,) = rig.environments

        def fail() -> None:
            raise OSError("the record cannot be written")

        monkeypatch.setattr(environment.log, "close", fail)
        rig.fleet.retire("f")
        await until(lambda: rig.sandbox.destroyed and not rig.keys.issued)
        await until(lambda: not rig.environments._reservations)
        assert rig.fleet.describe_budget()["environments"] == 0


async def test_the_idle_are_looked_after_whatever_became_of_the_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    health = Health(clock)
    async with Rig(clock=clock, health=health, idle_timeout_s=600) as rig:
        await rig.invoke(rig.version())

        def fail(self: Reaper, now: float) -> bool:
            raise OSError("no /proc/meminfo")

        with monkeypatch.context() as faults:
            faults.setattr(Reaper, "_sample", fail)
            await clock.advance(3)
            assert [problem.key for problem in health.problems] == ["fleet.reaper"]
        await clock.advance(700)
        assert health.problems == []
        await until(lambda: rig.fleet.describe() == [])


async def test_a_pool_that_cannot_be_filled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    health = Health(clock)
    async with Rig(clock=clock, health=health, pool_size=1) as rig:
        real = Environment.load

        async def fail(self: Environment) -> None:
            raise OSError("no room")

        with monkeypatch.context() as faults:
            faults.setattr(Environment, "load", fail)
            rig.fleet.keep_pool_for(IMAGE)
            await clock.advance(6)
            assert "for the pool: no room" in [problem.text for problem in health.problems][0]
        assert Environment.load is real
        async with asyncio.timeout(20):
            while health.problems:
                await clock.advance(1)
                await asyncio.sleep(0.01)


async def test_the_files_of_what_was_at_rest_go_sooner_or_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    health = Health(clock)
    rig = Rig(echo, clock=clock, health=health, hibernate_to=tmp_path / "hibernated", hibernate_after_s=10.0, idle_timeout_s=1000.0)
    async with rig:
        await rig.invoke(rig.version())
        await clock.advance(12)
        await until(lambda: rig.states() == ["hibernated"])
        real, wrong = shutil.rmtree, ["is not there"]
        monkeypatch.setattr(shutil, "rmtree", lambda path: real(Path(path, *wrong)))
        rig.fleet.retire("f")
        await until(lambda: [problem.key.partition(".")[0] for problem in health.problems] == ["hibernation"])
        assert list((tmp_path / "hibernated").iterdir())
        wrong.clear()
        await clock.advance(2)
        await until(lambda: not health.problems)
        assert not list((tmp_path / "hibernated").iterdir())


async def test_provisioned_concurrency_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health()
    async with Rig(health=health) as rig:

        async def fail(version: FunctionVersion) -> RuntimeImage:
            raise ImageError("no such root")

        with monkeypatch.context() as faults:
            faults.setattr(rig.starter, "_ensure_image", fail)
            rig.fleet.provision(rig.version(), 1)
            await until(lambda: health.problems)
            assert "Provisioned concurrency of f:$LATEST is not there" in health.problems[0].text
        await until(lambda: rig.fleet.allocation("f").allocated == 1 and not health.problems)
