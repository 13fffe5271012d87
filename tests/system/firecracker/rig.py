"""A FirecrackerDriver whose jailer and Firecracker are stand-ins, so that anything may go wrong at any moment."""

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Exit, Preload, SandboxSpec
from hanabi.errors import IsolationUnavailable, SandboxError
from hanabi.runtime.frames import LOADED_FRAME
from hanabi.sandbox.firecracker import driver as driver_module
from hanabi.sandbox.firecracker.driver import FirecrackerDriver
from hanabi.sandbox.firecracker.machine import FirecrackerParts, Kernel
from hanabi.sandbox.firecracker.microvm import MicroVm
from hanabi.testing import ManualClock
from hanabi.testing.firecracker import Fault
from hanabi.testing.firecracker.fork_server import ForkServer
from tests import leftovers
from tests.waiting import until

PRELOAD = Preload(argv=("/bin/python", "b.py"), environment={"A": "1"}, announce={"HANABI_ANNOUNCE": "1"}, loaded=LOADED_FRAME)
VERSION = (1, 16, 1)
LEFT_S = 20.0  # for what a busy host could not remove at once and tries again


def unavailable() -> str:
    """Why these tests cannot run here, or an empty string."""
    try:
        driver_module.check_host()
    except IsolationUnavailable as error:
        return f"the firecracker driver on a double: {error}"
    return ""


class PacedClock(ManualClock):
    """Half as fast as real time, so that a slow host is in nobody's way; hundreds of times as fast when all that is left is to give up."""

    def __init__(self) -> None:
        super().__init__()
        self.stop_now = False

    async def run(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.003)
            passed = min(time.monotonic() - before, 0.01)
            await self.advance(0.75 if self.stop_now else passed / 2, turns=1)


class PlainDrives:
    """Drives of which nobody reads a byte."""

    file_system = "erofs"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    async def of_image(self, image: RuntimeImage) -> Path:
        return self._drive(f"{image.runtime}-{image.digest}", 8192)

    async def of_directory(self, directory: Path) -> Path:
        return self._drive(directory.name, 12288)

    async def close(self) -> None:
        pass

    def _drive(self, name: str, size: int) -> Path:
        drive = self.directory / f"{name}.erofs"
        if not drive.exists():
            drive.write_bytes(name.encode().ljust(size, b"."))
            drive.chmod(0o444)
        return drive


def image_of(directory: Path, digest: str = "0") -> RuntimeImage:
    return RuntimeImage(
        runtime="python3.11", digest=digest, root=directory, runtime_dir=None, command=("x",), environment={}, version_arn="", clonable=True
    )


def parts_in(directory: Path) -> FirecrackerParts:
    """Needs `directory`/{firecracker,jailer}; makes the rest."""
    for name in ("kernel", "initrd"):
        (directory / name).write_bytes(bytes(4096))
        (directory / name).chmod(0o444)
    kernel = Kernel(image=directory / "kernel", digest="k", initrd=directory / "initrd", cpu_template={"msr_modifiers": []})
    return FirecrackerParts(firecracker=directory / "firecracker", jailer=directory / "jailer", version=VERSION, kernel=kernel)


class Rig:
    """One driver for many tests, on one event loop. What it makes lies in `directory`."""

    def __init__(self, fork_server: ForkServer, **places: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="hanabi-test-", dir="/var/tmp"))
        self.directory.chmod(0o755)
        self.run_dir = self.directory / "run"
        self.snapshots = places.get("snapshots", self.directory / "snapshots")
        self.drives = PlainDrives(places.get("drives", self.directory / "drives"))
        self.script = self.directory / "script.json"
        self.requests_file = self.directory / "requests"
        self.play()
        for name in ("firecracker", "jailer"):
            fork_server.make_client(self.directory / name, self.script)
        self.parts = parts_in(self.directory)
        self.image = image_of(self.directory)
        self.clock = PacedClock()
        self._count = 0
        self._pace: asyncio.Task[None]
        self.driver = self.another_driver(self.run_dir)

    def another_driver(self, run_dir: Path, snapshots: Path | None = None) -> FirecrackerDriver:
        return FirecrackerDriver(
            run_dir,
            parts=self.parts,
            drives=self.drives,
            snapshots=snapshots or self.snapshots,
            slots=48,
            clock=self.clock,
            resolvers=(),
        )

    async def __aenter__(self) -> Self:
        self._pace = asyncio.create_task(self.clock.run())
        await self.driver.open()
        self.stop_watch()
        await self.begin_test()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.driver.close()
        self._pace.cancel()
        left = leftovers.of_run(self.run_dir)
        shutil.rmtree(self.directory)
        assert left == []

    async def begin_test(self) -> None:
        """What is here already is not of the test that begins."""
        await self._settled()
        self._descriptors = len(os.listdir("/proc/self/fd"))
        self._zombies = set(_zombies())
        self._machines = set(leftovers.of_machines(self.run_dir))

    # --- the script

    def play(self, *faults: Fault, guest: str = "echo") -> None:
        """What stand-ins that start from now on are to do."""
        self.requests_file.write_bytes(b"")
        self.requests_file.chmod(0o666)
        ledger = Path(f"{self.script}.ledger")
        ledger.write_bytes(b"")
        script = {
            "version": ".".join(map(str, VERSION)),
            "guest": guest,
            "record": str(self.requests_file),
            "faults": [asdict(each) for each in faults],
        }
        draft = self.script.with_suffix(".draft")
        draft.write_text(json.dumps(script))
        draft.rename(self.script)

    def struck(self, fault: int = 0) -> bool:
        """Whether what a fault is about has happened."""
        counts = Path(f"{self.script}.ledger").read_bytes()
        return any(counts[4 * fault : 4 * fault + 4])

    def struck_in_haste(self) -> bool:
        """As `struck`, and until then time flies."""
        self.clock.stop_now = not self.struck()
        return not self.clock.stop_now

    def requests(self, id: str = "") -> list[dict[str, Any]]:
        """What stand-ins were asked since `play`, and their agents told."""
        said = [json.loads(line) for line in self.requests_file.read_text().splitlines()]
        return [each for each in said if not id or each["id"] == id]

    def asked(self, id: str = "") -> list[str]:
        return [f"{each['method']} {each['path']}" for each in self.requests(id)]

    # --- sandboxes

    def spec(self, digest: str = "0", **fields: Any) -> SandboxSpec:
        """Of another image for each digest: it has a template of its own."""
        self._count += 1
        given: dict[str, Any] = {"memory_mb": 256, "tmp_mb": 16, "preload": PRELOAD, **fields}
        return SandboxSpec(id=f"env-{self._count}", image=replace(self.image, digest=digest), **given)

    async def create(self, digest: str = "0", **fields: Any) -> MicroVm:
        return await self.driver.create(self.spec(digest, **fields))

    async def fails(self, work: Coroutine[Any, Any, Any], *, fault: int | None = None) -> str:
        """What it fails with; time flies once the fault has happened."""
        task = asyncio.create_task(work)
        try:
            if fault is not None:
                await until(lambda: self.struck(fault) or task.done())
                self.clock.stop_now = True
            await asyncio.wait([task])
        finally:
            self.clock.stop_now = False
        error = task.exception()
        assert isinstance(error, SandboxError), error
        return str(error)

    async def nothing_left(self, *, snapshots: int | None = None) -> None:
        """Of sandboxes that have been destroyed or could not be made."""
        give_up = time.monotonic() + LEFT_S
        while (left := set(leftovers.of_machines(self.run_dir)) - self._machines) and time.monotonic() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert not left, left
        zombies = set(_zombies()) - self._zombies
        assert not zombies, zombies
        await self._settled()
        while len(os.listdir("/proc/self/fd")) > self._descriptors and time.monotonic() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # a thread may be at its last one
        assert len(os.listdir("/proc/self/fd")) <= self._descriptors, (self._descriptors, descriptors())
        found = [each.name for each in self.snapshots.iterdir() if not each.name.endswith(".lock")] if self.snapshots.is_dir() else []
        assert not any(name.startswith("draft") for name in found)
        if snapshots is not None:
            assert len(found) == snapshots

    async def destroy_all(self) -> None:
        host = self.driver._host
        if host is not None:
            await asyncio.gather(*(each.destroy() for each in host.microvms))

    def stop_watch(self) -> None:
        """While time flies nobody answers in time."""
        assert self.driver._watch is not None
        self.driver._watch.cancel()

    async def _settled(self) -> None:
        """Network slots are made ahead in the background."""
        host = self.driver._host
        assert host is not None
        while host.slots._refill is not None and not host.slots._refill.done():
            await asyncio.wait([host.slots._refill])


class Owner:
    """What a sandbox tells whoever has it."""

    def __init__(self, box: MicroVm) -> None:
        self.exits: asyncio.Queue[Exit] = asyncio.Queue()
        box.on_exit = self.exits.put_nowait


def _zombies() -> list[int]:
    return leftovers.zombies(os.getpid(), "python", "firecracker", "jailer", "sh")


def descriptors() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return sorted(found)


async def frame(box: MicroVm) -> bytes:
    """The next frame of the runtime channel."""
    loop = asyncio.get_running_loop()
    said = b""
    while len(said) < 4 or len(said) < 4 + int.from_bytes(said[:4], "little"):
        part = await loop.sock_recv(box.runtime, 65536)
        assert part, "the runtime hung up"
        said += part
    return said[4:]


async def send(box: MicroVm, kind: bytes, body: bytes = b"") -> None:
    await asyncio.get_running_loop().sock_sendall(box.runtime, (len(body) + 1).to_bytes(4, "little") + kind + body)


async def outcomes(works: Sequence[Coroutine[Any, Any, MicroVm]]) -> tuple[list[MicroVm], list[BaseException]]:
    """All at the same time: (those that came about, what the others failed with)."""
    results = await asyncio.gather(*works, return_exceptions=True)
    return [each for each in results if isinstance(each, MicroVm)], [each for each in results if isinstance(each, BaseException)]
