"""Processes beside the runtime, each with a session of its own: what the end of one means, and who is told of the end when."""

import asyncio
from collections.abc import Callable
from signal import SIGTERM

import pytest

from hanabi.contracts.sandbox import Exit
from hanabi.environment.environment import Environment
from hanabi.environment.shutdown import LIMIT_S, RUNTIME_SHARE
from hanabi.testing import ManualClock
from hanabi.testing.sandbox import FakeProcess
from tests.unit.fleet.rig import Rig, obedient
from tests.waiting import until


class Extension:
    """Its session, and its process; `on_shutdown` is what that does when it is told."""

    def __init__(self, story: list[str], on_shutdown: Callable[[], None] = lambda: None) -> None:
        self.told: list[tuple[str, int]] = []
        self._story = story
        self._on_shutdown = on_shutdown

    def shut_down(self, reason: str, deadline_ms: int) -> None:
        self.told.append((reason, deadline_ms))
        self._story.append("extension told")
        self._on_shutdown()


async def warm(rig: Rig) -> Environment:
    assert not (await rig.invoke(rig.version())).function_error
    (environment,) = rig.fleet._environments
    return environment


async def test_the_runtime_is_told_first_then_the_extensions() -> None:
    story: list[str] = []

    async def says_goodbye(process: FakeProcess) -> int | None:
        try:
            return await obedient(process)
        finally:
            story.append("runtime ended")

    clock = ManualClock()
    async with Rig(says_goodbye, clock=clock) as rig:
        environment = await warm(rig)
        extension = Extension(story, lambda: rig.sandbox.on_exit(Exit("extension", 0, None)))
        environment.add_extension("extension", extension)
        rig.fleet.retire("f")
        await until(lambda: rig.sandbox.destroyed)
        assert story == ["runtime ended", "extension told"]
        ((reason, deadline_ms),) = extension.told
        assert reason == "spindown" and deadline_ms == pytest.approx((clock.time() + LIMIT_S) * 1000, abs=2)
        assert rig.sandbox.history.count(f"signal runtime {SIGTERM}") == 1


async def test_who_does_not_end_in_time_is_killed() -> None:
    story: list[str] = []

    async def ignores(process: FakeProcess) -> int | None:
        while True:
            try:
                return await obedient(process)
            except asyncio.CancelledError:
                story.append("SIGTERM")
                await asyncio.Event().wait()

    clock = ManualClock()
    async with Rig(ignores, clock=clock) as rig:
        environment = await warm(rig)
        extension = Extension(story)
        environment.add_extension("extension", extension)
        rig.fleet.retire("f")
        await clock.advance(LIMIT_S * RUNTIME_SHARE - 0.01)
        assert story == ["SIGTERM"] and not rig.sandbox.destroyed
        await clock.advance(0.02)
        assert story == ["SIGTERM", "extension told"] and not rig.sandbox.destroyed
        await clock.advance(LIMIT_S * (1 - RUNTIME_SHARE))
        await until(lambda: rig.sandbox.destroyed)


async def test_a_frozen_one_is_thawed_for_it() -> None:
    async with Rig(freeze_after_s=0.0) as rig:
        environment = await warm(rig)
        assert environment.state.frozen
        environment.add_extension("extension", Extension([], lambda: rig.sandbox.on_exit(Exit("extension", 0, None))))
        rig.fleet.retire("f")
        await until(lambda: rig.sandbox.destroyed)
        assert rig.sandbox.history.index("thaw") < rig.sandbox.history.index(f"signal runtime {SIGTERM}")


async def test_without_extensions_nobody_is_told() -> None:
    async with Rig() as rig:
        await warm(rig)
        rig.fleet.retire("f")
        await until(lambda: rig.sandbox.destroyed)
        assert not any(each.startswith("signal") for each in rig.sandbox.history)


async def test_the_end_of_an_extension_leaves_the_runtime_and_the_environment() -> None:
    story: list[str] = []
    async with Rig(freeze_after_s=100.0) as rig:
        environment = await warm(rig)
        environment.add_extension("extension", Extension(story))
        rig.sandbox.on_exit(Exit("extension", 1, None))
        assert environment.usable and environment.state.living() == ["runtime"]
        again = await rig.invoke(rig.version(), b'"again"')
        assert again.payload == b'"again"' and again.record.environment == environment.id
        rig.fleet.retire("f")
        await until(lambda: rig.sandbox.destroyed)
        assert story == []
