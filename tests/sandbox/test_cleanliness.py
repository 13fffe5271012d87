"""Nothing is left behind: not by a destroyed sandbox, a closed driver, nor a driver that was killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hanabi.clock import SystemClock
from hanabi.contracts import SandboxSpec
from hanabi.errors import IsolationUnavailable, SandboxError
from hanabi.sandbox.agent import find_agent
from hanabi.sandbox.oci import OciDriver
from tests import leftovers
from tests.sandbox.rig import Rig, unavailable


def test_destroy_leaves_nothing_and_may_be_repeated(rig: Rig) -> None:
    async def work() -> None:
        async with rig.sandbox() as guest:
            assert await guest.probe("forks", "50") == "50 ok"  # orphans now
            assert await guest.probe("fill", "/tmp/file", "8") == "8 ok"
            assert leftovers.of_sandbox(rig.run_dir, guest.box.id)
            await asyncio.gather(guest.box.destroy(), guest.box.destroy())
            assert leftovers.of_sandbox(rig.run_dir, guest.box.id) == []
            await guest.box.destroy()
            with pytest.raises(SandboxError):
                guest.box.thaw()

    rig.run(work())


def test_a_frozen_sandbox_can_be_destroyed(rig: Rig) -> None:
    async def work() -> None:
        async with rig.sandbox() as guest:
            await guest.start("spin", "600000")
            guest.box.freeze()
            await guest.box.destroy()
            assert leftovers.of_sandbox(rig.run_dir, guest.box.id) == []

    rig.run(work())


def test_destroying_costs_little(rig: Rig) -> None:
    async def work() -> float:
        used = []
        for _ in range(5):
            async with rig.sandbox() as guest:
                before = time.process_time()
                await guest.box.destroy()
                used.append(time.process_time() - before)
        return sorted(used)[2]

    assert rig.run(work()) < 0.020


def test_a_sandbox_that_cannot_start_leaves_nothing(rig: Rig) -> None:
    async def work() -> None:
        broken = SandboxSpec(id="broken", image=rig.broken_image(), memory_mb=128, tmp_mb=16)
        with pytest.raises(SandboxError, match="runc|crun"):
            await rig.driver.create(broken)
        creation = asyncio.create_task(rig.driver.create(SandboxSpec(id="abandoned", image=rig.image, memory_mb=128, tmp_mb=16)))
        await asyncio.sleep(0.01)
        creation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await creation
        for id in ("broken", "abandoned"):
            assert leftovers.of_sandbox(rig.run_dir, id) == []
        assert leftovers.zombies(os.getpid(), "crun", "runc") == []

    rig.run(work())


def test_a_closed_driver_leaves_nothing() -> None:
    if reason := unavailable():
        pytest.skip(reason)
    rig = Rig()

    async def work() -> None:
        await rig.driver.create(SandboxSpec(id="forgotten", image=rig.image, memory_mb=128, tmp_mb=16))
        assert leftovers.of_run(rig.run_dir)
        await rig.driver.close()
        assert leftovers.of_run(rig.run_dir) == []

    rig.run(work())
    rig.close()


def test_two_drivers_do_not_share_a_directory(rig: Rig) -> None:
    other = OciDriver(rig.run_dir, agent=find_agent(), slots=4, clock=SystemClock())
    with pytest.raises(IsolationUnavailable, match="another Hanabi"):
        rig.run(other.open())

    async def work() -> str:
        async with rig.sandbox() as guest:
            return await guest.probe("try", "tcp")

    assert rig.run(work()) == "tcp ok 0"  # unharmed


def test_what_a_killed_driver_left_is_cleaned_by_the_next(rig: Rig) -> None:
    scene = rig.another_scene()
    root = Path(__file__).resolve().parents[2]
    driver = subprocess.Popen([sys.executable, "-m", "tests.sandbox.crash", scene], cwd=root, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    with driver.stdout:
        assert driver.stdout.readline() == "ready\n"
        os.kill(driver.pid, signal.SIGKILL)  # three sandboxes live, one of them frozen, others are being started
        driver.wait(10)
    run_dir = scene / "run"
    assert any(line.startswith("process") for line in leftovers.of_run(run_dir))  # the frozen one cannot have gone by itself

    async def work() -> None:
        successor = OciDriver(run_dir, agent=find_agent(), slots=8, clock=SystemClock())
        await successor.open()
        for id in ("box-0", "box-1", "box-2", *(f"late-{n}" for n in range(4))):
            assert leftovers.of_sandbox(run_dir, id) == []
        await successor.close()
        assert leftovers.of_run(run_dir) == []

    rig.run(work())
