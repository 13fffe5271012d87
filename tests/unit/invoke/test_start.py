"""An invocation begun with a callback: told once, whatever comes of it, and never after it was cancelled."""

import asyncio

import pytest

from hanabi.contracts.invocation import Result
from hanabi.errors import ShuttingDown, TooManyRequests
from tests.unit.fleet.rig import Rig
from tests.waiting import until


async def test_the_result_is_told_once() -> None:
    async with Rig() as rig:
        told: list[Result | Exception] = []
        for payload in (b'"cold"', b'"warm"', b"exit 1", b'"again"', b"fail"):
            rig.invoker.start(rig.invocation(rig.version(), payload), told.append)
            await until(lambda: told)
            (result,) = told
            assert isinstance(result, Result) and rig.invoker.in_flight == 0
            assert bool(result.function_error) is (payload in (b"exit 1", b"fail"))
            assert result.function_error or result.payload == payload
            told.clear()
        await asyncio.sleep(0.01)
        assert told == [] and len(rig.journal.records) == 5


@pytest.mark.parametrize("warm", [False, True])
async def test_an_error_is_told_as_the_result(warm: bool) -> None:
    async with Rig(unreserved=1) as rig:
        if warm:
            await rig.invoke(rig.version())
        told: list[Result | Exception] = []
        running = rig.invoker.start(rig.invocation(rig.version(), b"hang"), told.append)
        rig.invoker.start(rig.invocation(rig.version()), told.append)
        await until(lambda: told)
        assert isinstance(told[0], TooManyRequests) and len(told) == 1
        running.cancel()
        await until(lambda: rig.invoker.in_flight == 0)
        assert len(told) == 1
        assert not (await rig.invoke(rig.version())).function_error


@pytest.mark.parametrize("warm", [False, True])
async def test_what_is_cancelled_is_told_no_more(warm: bool) -> None:
    async with Rig() as rig:
        if warm:
            await rig.invoke(rig.version())
        told: list[Result | Exception] = []
        running = rig.invoker.start(rig.invocation(rig.version(), b"hang"), told.append)
        await until(lambda: rig.states() == ["busy"])
        running.cancel()
        running.cancel()
        await until(lambda: rig.invoker.in_flight == 0 and not rig.driver.alive)
        assert told == []


async def test_closing_tells_those_who_wait_for_an_environment() -> None:
    async with Rig() as rig:
        rig.driver.create_allowed.clear()
        told: list[Result | Exception] = []
        rig.invoker.start(rig.invocation(rig.version()), told.append)
        await asyncio.sleep(0)
        await rig.invoker.close()
        assert rig.invoker.in_flight == 0 and isinstance(told[0], ShuttingDown) and len(told) == 1
        rig.driver.create_allowed.set()
