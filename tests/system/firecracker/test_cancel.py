"""A caller that goes away, at whatever moment, and a server that is killed: nothing of it stays."""

import asyncio
import os
import signal
import subprocess
import sys
import types
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest

from hanabi.errors import SandboxError
from tests import leftovers
from tests.system.firecracker.rig import Rig
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]


@types.coroutine
def cancelled_at(work: Coroutine[Any, Any, Any], turn: int) -> Generator[Any, Any, bool]:
    """Await `work`, cancelled at its n-th wait: False when it did not come to that."""
    task = asyncio.current_task()
    assert task is not None
    waits, sent, thrown = 0, None, None
    while True:
        try:
            waited = work.throw(thrown) if thrown is not None else work.send(sent)
        except StopIteration:
            return waits > turn
        except asyncio.CancelledError:
            task.uncancel()
            return True
        sent = thrown = None
        if waits == turn:
            asyncio.get_running_loop().call_soon(task.cancel)
        waits += 1
        try:
            sent = yield waited
        except BaseException as error:
            thrown = error


async def test_cancelled_at_every_wait_of_a_restore(rig: Rig, tmp_path: Path) -> None:
    await rig.driver.prepare(rig.image, None)

    async def stop_at(turn: int) -> bool:
        spec = rig.spec(preload=None, mounts=((tmp_path / "code", "/var/task"),))
        return await cancelled_at(rig.driver._create(spec), turn)

    turn = 0
    while all(await asyncio.gather(*(stop_at(turn + n) for n in range(4)))):
        turn += 4
    assert turn >= 12
    await rig.destroy_all()
    await rig.nothing_left()
    box = await rig.create(preload=None)
    await box.destroy()


async def test_cancelled_at_every_wait_of_a_boot(rig: Rig) -> None:
    before = len(list(rig.snapshots.glob("*/state")))
    templates = rig.driver._templates

    async def stop_at(turn: int) -> bool:
        spec = rig.spec(f"stop-{turn}")
        size = (await rig.driver.template(rig.image, 128, None)).size
        key = templates._key(spec.image, size, spec.preload)

        return await cancelled_at(templates._find_or_build(key, spec.image, size, spec.preload), turn)

    turn = 0
    while all(await asyncio.gather(*(stop_at(turn + n) for n in range(4)))):
        turn += 4
    assert turn > 20
    await rig.nothing_left()
    assert len(list(rig.snapshots.glob("*/state"))) >= before
    box = await rig.create("stop-0")
    await box.destroy()


async def test_cancelled_from_outside_at_any_time(rig: Rig) -> None:
    """`create` as its callers have it, a template of its own or not."""

    await rig.create()
    loop = asyncio.get_running_loop()
    began = loop.time()
    box = await rig.create()
    took = loop.time() - began
    await rig.destroy_all()

    async def one(n: int) -> None:
        task = asyncio.create_task(rig.create("0" if n % 3 else f"outside-{n}"))
        await asyncio.wait([task], timeout=took * n / 16)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await task.result().destroy()

    for n in range(0, 24, 4):
        await asyncio.gather(*(one(n + each) for each in range(4)))
    await rig.driver._templates._making.join()  # a template is for all: it goes on
    await rig.nothing_left()
    assert box not in rig.driver.host.microvms


async def test_a_caller_that_goes_just_as_it_is_done(rig: Rig) -> None:
    task = asyncio.create_task(rig.create())
    while not (creating := list(rig.driver._creating)):  # noqa: ASYNC110
        await asyncio.sleep(0)
    creating[0].add_done_callback(lambda done: task.cancel())
    await asyncio.wait([task])
    await rig.destroy_all() if not task.cancelled() else None
    await rig.nothing_left()


# --- a server that is killed

MOMENTS = ["jailer", "PUT /drives/tmp", "PUT /snapshot/create", "ready"]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_what_a_killed_driver_left_is_cleaned_by_the_next(rig: Rig, moment: str) -> None:
    scene = rig.directory / f"scene-{MOMENTS.index(moment)}"
    scene.mkdir()
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.system.firecracker.crash", scene, moment], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    with driver.stdout:
        assert driver.stdout.readline() == "ready\n"
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait(10)
    run_dir = scene / "run"
    assert any(line.startswith("process") for line in leftovers.of_machines(run_dir))

    successor = rig.another_driver(run_dir, snapshots=scene / "snapshots")
    await successor.open()
    assert leftovers.of_machines(run_dir) == []
    await until(lambda: reap(run_dir))
    box = await successor.create(rig.spec())
    await box.destroy()
    await successor.close()
    assert leftovers.of_run(run_dir) == []
    (made,) = (each for each in (scene / "snapshots").iterdir() if each.is_dir())  # and no draft
    assert sorted(os.listdir(made)) == ["about.json", "memory", "state"]


def reap(run_dir: Path) -> bool:
    """Orphans of the killed one are this process's: whether none of them is left."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        if ended is None:
            return not leftovers.of_machines(run_dir)
        os.waitpid(ended.si_pid, 0)


async def test_a_driver_that_is_closed_twice_or_fails_to_open(rig: Rig) -> None:
    driver = rig.another_driver(rig.directory / "run-twice")
    with pytest.raises(SandboxError, match="not open"):
        await driver.create(rig.spec())
    await driver.open()
    await driver.close()
    await driver.close()
    assert leftovers.of_run(rig.directory / "run-twice") == []
