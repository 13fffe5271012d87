"""A fleet that is told to stop at once: everybody is told, and what began is in the record."""

import asyncio

import pytest

from hanabi.errors import ShuttingDown
from tests.unit.fleet.rig import Rig
from tests.waiting import until


async def test_what_runs_is_recorded_and_told_and_what_waits_is_told() -> None:
    async with Rig(max_environments=2) as rig:
        busy = rig.begin(rig.version("busy"), b"hang", source="event", attempt=2)
        await until(lambda: rig.states() == ["busy"])
        rig.driver.create_allowed.clear()
        starting = rig.begin(rig.version("starting"))
        waiting = rig.begin(rig.version("waiting"))
        await asyncio.sleep(0.01)
        assert rig.invoker.in_flight == 3
        rig.fleet.abort()
        rig.fleet.abort()
        for task in (busy, starting, waiting):
            with pytest.raises(ShuttingDown):
                await task
        with pytest.raises(ShuttingDown):
            await rig.invoke(rig.version("late"))
        assert rig.invoker.in_flight == 0
        (record,) = rig.journal.records
        assert (record.function, record.status, record.error_type, record.source, record.attempt) == (
            "busy",
            "error",
            "Sandbox.Failure",
            "event",
            2,
        )
        assert any(line.startswith("END ") for line in rig.journal.lines)
        assert "Status: error\tError Type: Sandbox.Failure" in rig.journal.lines[-1]
        rig.driver.create_allowed.set()


async def test_an_idle_environment_serves_nobody_any_more() -> None:
    async with Rig() as rig:
        await rig.invoke(rig.version())
        rig.fleet.abort()
        with pytest.raises(ShuttingDown):
            await rig.invoke(rig.version())
