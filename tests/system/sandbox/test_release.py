"""A sandbox of which something cannot be removed: the rest goes, the driver keeps what is left, says so, and removes it when it can."""

import asyncio
import errno

import pytest

from hanabi.base.health import Health
from hanabi.sandbox.host import network
from hanabi.sandbox.host.cgroup import Cgroup
from hanabi.sandbox.host.volume import Volume
from hanabi.testing import ManualClock
from tests import leftovers
from tests.system.sandbox.rig import Rig, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())

FAULTS = {"cgroup": (Cgroup, "remove"), "volume": (Volume, "await_end"), "slot": (network, "remove_slot")}


@pytest.mark.parametrize("what", FAULTS)
async def test_what_cannot_be_removed_now_is_removed_later(rig: Rig, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    health, clock = Health(), ManualClock()

    host = rig.driver._host
    assert host is not None
    monkeypatch.setattr(host.releases, "_health", health)
    monkeypatch.setattr(host.releases, "_clock", clock)
    async with rig.sandbox() as guest:
        box = guest.box

        def fail(*_: object) -> None:
            raise OSError(errno.EBUSY, "injected")

        with monkeypatch.context() as faults:
            faults.setattr(*FAULTS[what], fail)
            await box.destroy()
            await box.destroy()
            await clock.advance(5)
            assert box in host.sandboxes
            assert [problem.key for problem in health.problems] == [f"sandbox.{box.id}"]
            left = leftovers.of_sandbox(rig.run_dir, box.id)
            assert not any("process" in each or "mount" in each for each in left), left
        async with asyncio.timeout(30):
            while health.problems:
                await clock.advance(1)
                await asyncio.sleep(0.01)
        assert box not in host.sandboxes
        assert leftovers.of_sandbox(rig.run_dir, box.id) == []
    async with rig.sandbox() as guest:
        assert await guest.probe("forks", "5") == "5 ok"
