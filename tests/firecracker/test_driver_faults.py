"""The driver on stand-ins for the jailer and Firecracker, with real processes and jails: whatever goes wrong at whichever step, it says
so, leaves nothing behind, and makes the next sandbox."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hanabi.clock import SystemClock
from hanabi.contracts import Exit, Preload, RuntimeImage, SandboxSpec
from hanabi.errors import IsolationUnavailable, SandboxError
from hanabi.sandbox import mounts
from hanabi.sandbox.cgroup import Tree
from hanabi.sandbox.firecracker.driver import FirecrackerDriver, check_host
from hanabi.sandbox.firecracker.machine import Kernel, Parts
from hanabi.sandbox.firecracker.microvm import MicroVm
from hanabi.sandbox.firecracker.testing import make_stand_ins
from hanabi.sandbox.ground import tag_of
from tests import leftovers


def unavailable() -> str:
    try:
        check_host()
    except IsolationUnavailable as error:
        return str(error)
    return ""


MISSING = unavailable()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
PRELOAD = Preload(argv=("/x",), environment={})


class Drives:
    """Files of one block."""

    file_system = "erofs"

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()

    async def of_image(self, image: RuntimeImage) -> Path:
        return self._file(image.digest)

    async def of_directory(self, directory: Path) -> Path:
        return self._file(directory.name)

    def _file(self, name: str) -> Path:
        path = self.place / name
        path.write_bytes(bytes(4096))
        path.chmod(0o444)
        return path


class Rig:
    """One driver for all tests of this file."""

    def __init__(self) -> None:
        mounts.enter_private_mounts()
        self.directory = Path(tempfile.mkdtemp(prefix="hanabi-test-", dir="/var/tmp"))
        self.directory.chmod(0o755)
        self.script = self.directory / "script.json"
        self.record = self.directory / "requests"
        self.say()
        (self.directory / "kernel").write_bytes(b"kernel")
        firecracker, jailer = make_stand_ins(self.directory, self.script)
        kernel = Kernel(image=self.directory / "kernel", digest="k")
        self.run_dir = self.directory / "run"
        self.snapshots = self.directory / "snapshots"
        self.runner = asyncio.Runner()
        self.driver = FirecrackerDriver(
            self.run_dir,
            parts=Parts(firecracker=firecracker, jailer=jailer, version=(1, 16, 1), kernel=kernel),
            drives=Drives(self.directory / "drives"),
            snapshots=self.snapshots,
            slots=8,
            clock=SystemClock(),
            network=False,
        )
        self.count = 0
        try:
            self.run(self.driver.open())
        except IsolationUnavailable as error:
            self.runner.close()
            shutil.rmtree(self.directory)
            pytest.skip(f"the firecracker driver is not available: {error}")

    def say(self, *faults: dict[str, Any]) -> None:
        """What goes wrong from now on."""
        self.script.write_text(json.dumps({"record": str(self.record), "faults": faults}))
        Path(f"{self.script}.ledger").unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)

    def run(self, work: Any) -> Any:
        return self.runner.run(asyncio.wait_for(work, 120))

    def requests(self) -> list[str]:
        """But those of the watchdog, which come at any time."""
        asked = map(json.loads, self.record.read_text().splitlines())
        return [f"{each['method']} {each['path']}" for each in asked if each["method"] != "GET"]

    def spec(self) -> SandboxSpec:
        self.count += 1
        nowhere = Path("/nowhere")
        image = RuntimeImage(runtime="x", digest="i", root=nowhere, runtime_dir=nowhere, command=("/x",), environment={}, version_arn="")
        return SandboxSpec(
            id=f"env-{self.count}", image=image, memory_mb=128, tmp_mb=16, mounts=((Path("/code/task"), "/var/task"),), preload=PRELOAD
        )

    async def create(self) -> MicroVm:
        return await self.driver.create(self.spec())

    def forget_snapshots(self) -> None:
        """The next sandbox begins with a boot."""
        shutil.rmtree(self.snapshots, ignore_errors=True)
        self.driver._templates._ready.clear()

    def nothing_is_left(self) -> None:
        tree = Tree(tag_of(self.run_dir))
        assert list(tree.groups()) == []
        assert list((self.run_dir / "jails").glob("*/*")) == []
        assert list(self.snapshots.glob("draft-*")) == []
        assert [line for line in leftovers._mounts() if str(self.run_dir / "jails") in line] == []

    def close(self) -> None:
        self.run(self.driver.close())
        self.runner.close()
        left = leftovers.of_run(self.run_dir)
        shutil.rmtree(self.directory)
        assert left == []


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


async def frame(sandbox: MicroVm) -> bytes:
    loop = asyncio.get_running_loop()
    said = b""
    while len(said) < 4 or len(said) < 4 + int.from_bytes(said[:4], "little"):
        said += await loop.sock_recv(sandbox.runtime, 65536)
    return said[4:]


async def invoke(sandbox: MicroVm, payload: bytes) -> bytes:
    await asyncio.get_running_loop().sock_sendall(sandbox.runtime, (len(payload) + 5).to_bytes(4, "little") + b"n\2\0r\n" + payload)
    return await frame(sandbox)


async def live(sandbox: MicroVm) -> None:
    """A function's life: init, invoke, freeze, thaw, invoke."""
    assert sandbox.preloaded
    await asyncio.get_running_loop().sock_sendall(sandbox.runtime, b"\3\0\0\0i{}")
    assert await frame(sandbox) == b"r"
    assert await invoke(sandbox, b"one") == b"oone"
    sandbox.freeze()
    sandbox.thaw()
    assert await invoke(sandbox, b"two") == b"otwo"


def test_a_sandbox_without_faults(rig: Rig) -> None:
    async def main() -> None:
        sandbox = await rig.create()
        await live(sandbox)
        await sandbox.destroy()

    rig.run(main())
    rig.nothing_is_left()


def whole_life(rig: Rig) -> list[str]:
    """The requests of a boot, a snapshot and a restore."""
    rig.say()
    rig.forget_snapshots()

    async def main() -> None:
        await (await rig.create()).destroy()

    rig.run(main())
    return rig.requests()


@pytest.mark.parametrize("do", ["crash-before", "crash-after"])
def test_a_fault_at_every_step(rig: Rig, do: str) -> None:
    steps = whole_life(rig)
    assert len(steps) > 15
    for step, request in enumerate(steps):
        rig.say({"on": "P* /*", "do": do, "after": step})
        rig.forget_snapshots()
        with pytest.raises(SandboxError):
            rig.run(rig.create())
        assert rig.requests() == steps[: step + 1], request
        rig.nothing_is_left()
    assert whole_life(rig) == steps


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "jailer", "do": "crash-before", "message": "no more ids"},
        {"on": "start", "do": "crash-before", "message": "no KVM today"},
        {"on": "PUT /snapshot/create", "do": "half-state"},
        {"on": "PUT /snapshot/create", "do": "half-memory"},
        {"on": "PUT /snapshot/load", "do": "refuse", "message": "of another CPU"},
        {"on": "PUT /snapshot/load", "do": "half-answer"},
        {"on": "PUT /snapshot/load", "do": "close"},
        {"on": "PATCH /drives/tmp", "do": "garbage"},
        {"on": "agent V", "do": "refuse", "message": "5"},
        {"on": "agent V", "do": "close"},
        {"on": "agent D", "do": "refuse", "message": "22"},
        {"on": "agent N", "do": "close"},
        {"on": "agent S", "do": "refuse"},
        {"on": "CONNECT 5001", "do": "crash-before"},
    ],
    ids=lambda fault: f"{fault['on']} {fault['do']}",
)
def test_other_faults(rig: Rig, fault: dict[str, Any]) -> None:
    rig.say(fault)
    rig.forget_snapshots()
    with pytest.raises(SandboxError) as failed:
        rig.run(rig.create())
    if fault["on"] not in ("agent S",) and not fault.get("message", "").isdigit():
        assert fault.get("message", "") in str(failed.value)
    rig.nothing_is_left()
    whole_life(rig)


def test_lost_greetings_are_repeated(rig: Rig) -> None:
    rig.say({"on": "CONNECT *", "do": "hang", "times": 2}, {"on": "CONNECT *", "do": "close", "after": 3})
    rig.forget_snapshots()

    async def main() -> None:
        sandbox = await rig.create()
        await live(sandbox)
        await sandbox.destroy()

    rig.run(main())
    rig.nothing_is_left()


def test_a_snapshot_that_was_damaged_afterwards(rig: Rig) -> None:
    whole_life(rig)
    (state,) = rig.snapshots.glob("*/state")
    os.chmod(state, 0o644)
    os.truncate(state, 10)
    with pytest.raises(SandboxError, match="snapshot"):
        rig.run(rig.create())
    rig.nothing_is_left()


@pytest.mark.parametrize("do", ["crash-before", "hang", "refuse"])
def test_a_vmm_that_fails_at_a_pause(rig: Rig, do: str) -> None:
    """The owner is told that the sandbox has gone."""
    whole_life(rig)
    rig.say({"on": "PATCH /vm", "do": do, "after": 1})  # the first one resumes the clone

    async def main() -> None:
        sandbox = await rig.create()
        gone: asyncio.Queue[Exit] = asyncio.Queue()
        sandbox.on_exit = gone.put_nowait
        sandbox.freeze()
        assert (await gone.get()).role == "sandbox"
        await sandbox.destroy()

    rig.run(main())
    rig.nothing_is_left()
