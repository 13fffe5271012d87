"""Nothing is left behind: not by a destroyed sandbox, a closed driver, nor a driver that was killed."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hanabi.base.clock import SystemClock
from hanabi.contracts.sandbox import SandboxSpec
from hanabi.errors import IsolationUnavailable, SandboxError
from hanabi.sandbox.agent import find_agent
from hanabi.sandbox.host import earlier_runs
from hanabi.sandbox.host.cgroup import CgroupTree
from hanabi.sandbox.oci.driver import OciDriver
from tests import leftovers
from tests.system.sandbox.rig import Rig, unavailable


async def test_destroy_leaves_nothing_and_may_be_repeated(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        assert await guest.probe("forks", "50") == "50 ok"  # orphans now
        assert await guest.probe("fill", "/tmp/file", "8") == "8 ok"
        assert leftovers.of_sandbox(rig.run_dir, guest.box.id)
        await asyncio.gather(guest.box.destroy(), guest.box.destroy())
        assert leftovers.of_sandbox(rig.run_dir, guest.box.id) == []
        await guest.box.destroy()
        with pytest.raises(SandboxError):
            guest.box.thaw()


async def test_a_frozen_sandbox_can_be_destroyed(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        await guest.start("spin", "600000")
        guest.box.freeze()
        await guest.box.destroy()
        assert leftovers.of_sandbox(rig.run_dir, guest.box.id) == []


async def test_destroying_costs_little(rig: Rig) -> None:
    used = []
    for _ in range(5):
        async with rig.sandbox() as guest:
            before = time.process_time()
            await guest.box.destroy()
            used.append(time.process_time() - before)
    assert sorted(used)[2] < 0.020


async def test_a_sandbox_that_cannot_start_leaves_nothing(rig: Rig) -> None:
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


async def test_a_closed_driver_leaves_nothing() -> None:
    if reason := unavailable():
        pytest.skip(reason)
    async with Rig() as rig:
        await rig.driver.create(SandboxSpec(id="forgotten", image=rig.image, memory_mb=128, tmp_mb=16))
        assert leftovers.of_run(rig.run_dir)
        await rig.driver.close()
        assert leftovers.of_run(rig.run_dir) == []


async def test_two_drivers_do_not_share_a_directory(rig: Rig) -> None:
    other = OciDriver(rig.run_dir, agent=find_agent(), slots=4, clock=SystemClock())
    with pytest.raises(IsolationUnavailable, match="another Hanabi"):
        await other.open()

    async with rig.sandbox() as guest:
        assert await guest.probe("try", "tcp") == "tcp ok 0"  # unharmed


def start_to_be_killed(scene: Path) -> "subprocess.Popen[str]":
    """A driver with three living sandboxes, one of them frozen, while others are being started."""
    root = Path(__file__).resolve().parents[3]
    driver = subprocess.Popen([sys.executable, "-m", "tests.system.sandbox.crash", scene], cwd=root, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "ready\n"
    return driver


def kill(driver: "subprocess.Popen[str]") -> None:
    assert driver.stdout is not None
    with driver.stdout:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait(10)


def processes(run_dir: Path) -> list[str]:
    return [line for line in leftovers.of_run(run_dir) if line.startswith("process")]


def successor(run_dir: Path) -> OciDriver:
    return OciDriver(run_dir, agent=find_agent(), slots=8, clock=SystemClock())


async def test_what_a_killed_driver_left_is_cleaned_by_the_next(rig: Rig) -> None:
    scene = rig.another_scene()
    run_dir = scene / "run"
    killed = start_to_be_killed(scene)
    with leftovers.no_other_cleans():
        kill(killed)
        assert processes(run_dir)  # the frozen one cannot have gone by itself

    driver = successor(run_dir)
    await driver.open()
    for id in ("box-0", "box-1", "box-2", *(f"late-{n}" for n in range(4))):
        assert leftovers.of_sandbox(run_dir, id) == []
    await driver.close()
    assert leftovers.of_run(run_dir) == []


@pytest.mark.parametrize("how", ["moved", "copied away", "moved twice"])
async def test_it_is_cleaned_though_the_directory_has_another_place_since(rig: Rig, how: str) -> None:
    scene = rig.another_scene(how.replace(" ", "-"))
    run_dir, new = scene / "run", scene / "elsewhere"
    killed = start_to_be_killed(scene)
    with leftovers.no_other_cleans():
        kill(killed)
        assert processes(run_dir)
    if how == "copied away":  # to another file system, say: nothing of it is the same file
        subprocess.run(["cp", "-a", "--sparse=always", run_dir, new], check=True, timeout=60)
        shutil.rmtree(run_dir)
    else:
        run_dir.rename(new)
    if how == "moved twice":  # and the start between could not clean
        earlier_runs.note(new, earlier_runs.places(new))
        new = new.rename(scene / "further")

    driver = successor(new)
    await driver.open()
    assert processes(run_dir) == []
    await driver.close()
    left = leftovers.of_run(run_dir)
    assert left == leftovers.of_run(new) == leftovers.of_run(scene / "elsewhere") == []
    assert earlier_runs.places(new) == []


async def test_a_copy_of_a_directory_in_use_ends_nothing_of_the_other(rig: Rig) -> None:
    """Nor when the other one was renamed while it ran, so that nothing is any more where it began. When that one is killed, both go."""
    scene = rig.another_scene("used")
    run_dir, copy, renamed, again = scene / "run", scene / "copy", scene / "renamed", scene / "again"
    driver = start_to_be_killed(scene)
    try:
        tree = CgroupTree(earlier_runs.tag_of(run_dir))
        groups = ("box-1", "box-2")  # in the others programs end of their own accord
        before = {pid for group in groups for pid in tree.pids(group)}
        subprocess.run(["cp", "-a", "--sparse=always", run_dir, copy], check=False, capture_output=True, timeout=60)

        async def open_and_close(directory: Path) -> None:
            other = successor(directory)
            await other.open()
            await other.close()

        def alive() -> bool:
            return before <= {pid for group in groups for pid in tree.pids(group)}

        assert len(before) >= 2
        assert earlier_runs.places(copy) == [run_dir]
        await open_and_close(copy)
        assert alive()
        run_dir.rename(renamed)
        await open_and_close(copy)
        assert alive()
        subprocess.run(["cp", "-a", "--sparse=always", renamed, again], check=False, capture_output=True, timeout=60)
        await open_and_close(again)
        assert alive()
        run_dir.mkdir()  # nor may anybody begin where it began
        with pytest.raises(IsolationUnavailable, match="still runs"):
            await open_and_close(run_dir)
        assert alive()
    finally:
        kill(driver)
    await open_and_close(renamed)
    assert processes(run_dir) == []
