"""What takes the place of sandboxes, images and time while the path of an invocation is measured."""

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hanabi.base.clock import SystemClock, Timer
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import SandboxSpec
from hanabi.images.runtimes.sources import RuntimeSources
from hanabi.sandbox.host.controllers import Cache
from hanabi.sandbox.host.memory_use import PeakMemory
from hanabi.testing.sandbox import FakeDriver, FakeSandbox

READING_S = 0.0001  # that passes with each look at a clock that steps
RUNTIME = "python3.11"


class StepClock:
    """The system's time; once `step` was called, each reading is a little later than the one before, and nothing that waits is ever woken.

    So every invocation does the same, and no background work is counted with it.
    """

    def __init__(self) -> None:
        self._system = SystemClock()
        self._stepping = False
        self.time: Callable[[], float] = self._system.time
        self.monotonic: Callable[[], float] = self._system.monotonic

    def step(self) -> None:
        self._stepping = True
        self.time = itertools.count(self._system.time(), READING_S).__next__
        self.monotonic = itertools.count(self._system.monotonic(), READING_S).__next__

    async def sleep(self, seconds: float) -> None:
        if self._stepping:
            await asyncio.get_running_loop().create_future()
        await self._system.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[..., None], *args: Any) -> Timer:
        return _Never() if self._stepping else self._system.call_later(seconds, callback, *args)


class _Never:
    def cancel(self) -> None: ...


class PeakFile:
    """The peak of a cgroup's memory, in a file that stands still."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("peak")
        os.write(self._fd, b"39000000\n")

    def peak(self) -> int:
        return int(os.pread(self._fd, 32, 0))

    def reset_peak(self) -> None: ...

    def cache(self) -> Cache:
        return Cache(0, 0)

    def pids(self) -> list[int]:
        return []

    def close(self) -> None:
        os.close(self._fd)


class FarSandbox(FakeSandbox):
    """Its runtime is whoever listens at a Unix socket of another process."""

    def __init__(self, spec: SandboxSpec, driver: "FarDriver") -> None:
        super().__init__(spec, driver)
        self.runtime.close()
        self.runtime = socket.socket(socket.AF_UNIX)
        self.runtime.connect(driver.runtimes)
        self.runtime.setblocking(False)
        self._memory = PeakFile()
        self._footprint = PeakMemory(self._memory)

    async def start(self, role: str, argv: Sequence[str], environment: Mapping[str, str], cwd: str, *, output: int | None = None) -> None:
        """It waits already."""

    def peak_memory(self) -> int:
        return self._footprint.peak()

    async def destroy(self) -> None:
        if not self.destroyed:
            self._memory.close()
        await super().destroy()


class FarDriver(FakeDriver):
    def __init__(self, runtimes: str) -> None:
        super().__init__()
        self.runtimes = runtimes  # the path of the socket

    async def create(self, spec: SandboxSpec) -> FarSandbox:
        sandbox = FarSandbox(spec, self)
        self.sandboxes.append(sandbox)
        return sandbox


class NoImages:
    """There is one runtime, and its root is nowhere."""

    def __init__(self, directory: Path, guest: Path, *_: object) -> None:
        self.sources = RuntimeSources()
        self._image = RuntimeImage(
            runtime=RUNTIME, digest="0", root=directory, runtime_dir=guest, command=("bootstrap",), environment={}, version_arn=""
        )

    def known(self, runtime: str) -> bool:
        return runtime == RUNTIME

    def stand_in(self, runtime: str) -> str:
        return runtime

    def is_there(self, runtime: str) -> bool:
        return True

    async def why_missing(self, runtime: str) -> str:
        return ""

    async def why_pending(self, runtime: str) -> str:
        return ""

    async def ensure(self, runtime: str, progress: object = None, *, urgent: bool = True) -> RuntimeImage:
        return self._image

    async def close(self) -> None: ...
