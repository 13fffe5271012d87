"""The common part of the drivers: an id belongs to one sandbox, and a slot taken for nobody goes back."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from hanabi.errors import SandboxError
from hanabi.sandbox.host.hosted import HostedDriver, HostedSandbox, SandboxResources
from hanabi.sandbox.host.network import NetworkSlot
from hanabi.testing import ManualClock


class Slots:
    """Stand-ins for slots; `taking`, while cleared, holds up who takes one."""

    def __init__(self) -> None:
        self.out = 0
        self.taking = asyncio.Event()
        self.taking.set()
        self.error: OSError | None = None

    async def take(self) -> NetworkSlot:
        await self.taking.wait()
        if self.error is not None:
            raise self.error
        self.out += 1
        return cast(NetworkSlot, object())

    async def give_back(self, slot: NetworkSlot) -> None:
        self.out -= 1


class Resources(SandboxResources):
    def __init__(self) -> None:
        self.slots = cast(Any, Slots())
        self.sandboxes = set()


class Named(HostedSandbox):
    link = None

    def __init__(self, host: Resources, id: str) -> None:
        self.id = id
        host.sandboxes.add(self)

    def _detach(self) -> None: ...

    async def _release(self) -> None: ...


class Driver(HostedDriver[Resources]):
    name = "test"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, slots=4, clock=ManualClock(), allow_net=(), network=False, resolvers=(), why="", health=None)

    def begin(self) -> Resources:
        self._host = Resources()
        return self._host

    def end(self) -> None:
        self._host = None

    async def create(self, id: str) -> Named:
        await self._take_slot(id)
        return Named(self.host, id)


async def test_one_that_is_not_open(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="the driver is not open"):
        await Driver(tmp_path).create("a")


@pytest.mark.parametrize("id", ["", "A", "a/b", "a" * 41])
async def test_what_is_no_id(tmp_path: Path, id: str) -> None:
    driver = Driver(tmp_path)
    host = driver.begin()
    with pytest.raises(SandboxError, match="is no sandbox id"):
        await driver.create(id)
    assert cast(Slots, host.slots).out == 0


async def test_an_id_is_one_sandbox_s_even_when_two_ask_at_once(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    host = driver.begin()
    slots = cast(Slots, host.slots)
    slots.taking.clear()
    both = [asyncio.create_task(driver.create("a")) for _ in range(2)]
    await asyncio.sleep(0)
    slots.taking.set()
    ends = await asyncio.gather(*both, return_exceptions=True)
    assert {type(each) for each in ends} == {Named, SandboxError}
    assert slots.out == 1


async def test_one_that_is_closed_meanwhile(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    slots = cast(Slots, driver.begin().slots)
    slots.taking.clear()
    creating = asyncio.create_task(driver.create("a"))
    await asyncio.sleep(0)
    driver.end()
    slots.taking.set()
    with pytest.raises(SandboxError, match="the driver is not open"):
        await creating
    assert slots.out == 0


async def test_a_slot_that_cannot_be_made(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    cast(Slots, driver.begin().slots).error = OSError("no namespace")
    with pytest.raises(SandboxError, match="cannot make a network slot: no namespace"):
        await driver.create("a")
