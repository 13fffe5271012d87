"""Template snapshots: one machine without a function for each runtime image and size, made at first use, then cloned.

`<directory>/<key>/` holds `state` and `memory`; the key is a digest of all inputs, so a template is never out of date.
"""

import asyncio
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from hanabi.base import locks
from hanabi.base.clock import Clock
from hanabi.base.tasks import SingleFlight
from hanabi.base.threads import ThreadPool
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Preload, SandboxSpec
from hanabi.errors import SandboxError
from hanabi.sandbox.firecracker import snapshot_files
from hanabi.sandbox.firecracker.machine import FirecrackerParts, MachineSize
from hanabi.sandbox.firecracker.microvm import Drives, MicroVm
from hanabi.sandbox.firecracker.snapshot_files import Snapshot

REVISION = 1  # raise it when a snapshot of the same parts would be another one
LOAD_S = 300.0  # for a bootstrap to load in a machine that has just booted
LOCK_PAUSE_S = 0.05
TMP_MB = 512

MakeMachine = Callable[[SandboxSpec, MachineSize], Awaitable[MicroVm]]


class Templates:
    """The templates of one driver. `make` makes a machine that is neither booted nor restored yet."""

    def __init__(
        self, directory: Path, parts: FirecrackerParts, drives: Drives, threads: ThreadPool, make: MakeMachine, clock: Clock
    ) -> None:
        self._directory = directory
        self._parts = parts
        self._drives = drives
        self._threads = threads
        self._make = make
        self._clock = clock
        self._ready: dict[str, Snapshot] = {}
        self._making: SingleFlight[str, Snapshot] = SingleFlight(closed=lambda: SandboxError("the driver is being closed"))
        self._discarded: set[Path] = set()

    async def discard(self, snapshot: Snapshot) -> None:
        """Discard a snapshot that Firecracker refuses, so that it is made anew; only once, for a second refusal has another cause."""
        if snapshot.directory not in self._discarded:
            self._discarded.add(snapshot.directory)
            await self._threads.run(lambda: shutil.rmtree(snapshot.directory, ignore_errors=True))

    async def ensure(self, image: RuntimeImage, size: MachineSize, preload: Preload | None) -> Snapshot:
        """Return the snapshot to clone, made if absent. Raises `SandboxError`, `ImageError`."""
        key = self._key(image, size, preload)
        if (snapshot := self._ready.get(key)) is not None and os.access(snapshot.state, os.F_OK):
            return snapshot
        return await self._making.run(key, lambda: self._find_or_build(key, image, size, preload), f"snapshot {key}")

    async def close(self) -> None:
        """Stop making templates."""
        await self._making.close()

    def _key(self, image: RuntimeImage, size: MachineSize, preload: Preload | None) -> str:
        content = {
            "revision": REVISION,
            "image": image.digest,
            "size": [size.machine_mb, size.vcpus],
            "preload": None if preload is None else [preload.argv, sorted(preload.environment.items()), preload.cwd],
            "host": snapshot_files.identity(self._parts),
            "environment": sorted(self._parts.kernel.environment.items()),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]

    async def _find_or_build(self, key: str, image: RuntimeImage, size: MachineSize, preload: Preload | None) -> Snapshot:
        root = await self._drives.of_image(image)
        key = hashlib.sha256(f"{key}/{root.name}".encode()).hexdigest()[:24]  # the drive's name says what agent is on it
        place = self._directory / key
        snapshot = Snapshot(directory=place, size=size, root=root, preloaded=preload is not None)
        if not await self._threads.run(lambda: snapshot_files.is_whole(snapshot)):
            async with self._lock(key):
                if not await self._threads.run(lambda: snapshot_files.is_whole(snapshot)):
                    await self._build(snapshot, image, preload)
        self._ready[self._key(image, size, preload)] = snapshot
        return snapshot

    @asynccontextmanager
    async def _lock(self, key: str) -> AsyncIterator[None]:
        """Lock a snapshot while it is made, across all Hanabi processes; waiting may take minutes."""
        lock = await self._threads.run(lambda: _open_lock(self._directory, key), undo=os.close)
        try:
            while not locks.try_acquire(lock):
                await self._clock.sleep(LOCK_PAUSE_S)
            yield
        finally:
            os.close(lock)

    async def _build(self, snapshot: Snapshot, image: RuntimeImage, preload: Preload | None) -> None:
        spec = SandboxSpec(id=f"t{uuid.uuid4().hex[:20]}", image=image, memory_mb=snapshot.size.memory_mb, tmp_mb=TMP_MB)
        microvm = await self._make(spec, snapshot.size)
        try:
            await microvm.boot(snapshot.root)
            microvm.limit(memory_mb=snapshot.size.memory_mb, vcpus=None)
            if preload is not None:
                await microvm.start("runtime", preload.argv, {**preload.environment, **preload.announce}, preload.cwd)
                await self._loaded(microvm, preload.loaded)
            async with self._draft(snapshot.directory) as draft:
                await microvm.snapshot(draft)
                about = {"runtime": image.runtime, "memory_mb": snapshot.size.memory_mb}  # for `hanabi images`
                (draft / snapshot_files.ABOUT).write_text(json.dumps(about))
        except (SandboxError, OSError) as error:
            known = error if isinstance(error, SandboxError) else SandboxError(str(error))
            raise SandboxError(f"no snapshot of {image.runtime} could be made: {microvm.vmm.explain(known)}") from error
        finally:
            await microvm.destroy()

    async def _loaded(self, microvm: MicroVm, expected: bytes) -> None:
        """Wait until the bootstrap reports that it is loaded."""
        saying = asyncio.ensure_future(_first_bytes(microvm.runtime, len(expected)))
        timer = self._clock.call_later(LOAD_S * microvm.timeout_factor, lambda: _give_up(saying))
        try:
            await asyncio.wait([saying])
        finally:
            timer.cancel()
            saying.cancel()
        if saying.cancelled() or saying.result() != expected:
            raise SandboxError(f"the bootstrap did not load in a new microVM: {_printed(microvm)!r}")

    @asynccontextmanager
    async def _draft(self, place: Path) -> AsyncIterator[Path]:
        """A directory that becomes `place` when the block succeeds. The lock is held, so leftovers of an earlier one can go."""
        draft = place.with_name(f"draft-{place.name}")

        def begin() -> None:
            for left in (draft, place):  # what is in the place is not whole
                shutil.rmtree(left, ignore_errors=True)
            draft.mkdir(mode=0o711)

        try:
            await self._threads.run(begin)
            yield draft
            draft.rename(place)
        except BaseException:
            await self._threads.run(lambda: shutil.rmtree(draft, ignore_errors=True))
            raise


def _give_up(task: "asyncio.Future[bytes]") -> None:
    task.cancel()


async def _first_bytes(sock: socket.socket, count: int) -> bytes:
    """Read this many bytes, or fewer when the connection ends first."""
    said = b""
    with suppress(OSError):
        while len(said) < count and (part := await asyncio.get_running_loop().sock_recv(sock, count - len(said))):
            said += part
    return said


def _printed(microvm: MicroVm) -> str:
    with socket.socket(fileno=os.dup(microvm.logs)) as logs:
        try:
            return logs.recv(4096).decode("utf-8", "replace")
        except OSError:
            return ""


def _open_lock(directory: Path, key: str) -> int:
    directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    return locks.open_lock(directory / f"{key}.lock")
