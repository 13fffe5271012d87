"""A driver with real containers whose root holds one program, `probe`, that tries things and says how it went."""

import asyncio
import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from hanabi.base.clock import SystemClock
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Exit, SandboxSpec
from hanabi.errors import IsolationUnavailable
from hanabi.sandbox.agent import find_agent
from hanabi.sandbox.host import mounts
from hanabi.sandbox.oci.bundle_config import MOUNT_FILES, MOUNT_POINTS
from hanabi.sandbox.oci.container import Container
from hanabi.sandbox.oci.driver import OciDriver
from tests.waiting import until

enter_private_mounts = functools.cache(mounts.enter_private_mounts)


def unavailable() -> str:
    """Why these tests cannot run here, or an empty string."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("cc") is None:
        return "needs a C compiler"
    try:
        find_agent()
    except IsolationUnavailable as error:
        return str(error)
    return ""


def has_landlock() -> bool:
    """Whether the agent can close /proc to what it starts."""
    landlock_create_ruleset, version = 444, 1
    return int(ctypes.CDLL(None).syscall(landlock_create_ruleset, None, 0, version)) >= 2


class Rig:
    """One driver for many tests, on one event loop."""

    def __init__(self, **options: Any) -> None:
        enter_private_mounts()
        self.directory = Path(tempfile.mkdtemp(prefix="hanabi-test-", dir="/var/tmp"))
        self.directory.chmod(0o755)
        self.run_dir = self.directory / "run"
        self.image = make_image(self.directory)
        self._count = 0
        self.driver = OciDriver(self.run_dir, agent=find_agent(), slots=16, clock=SystemClock(), **options)

    async def __aenter__(self) -> Self:
        try:
            await self.driver.open()
        except IsolationUnavailable as error:
            shutil.rmtree(self.directory)
            pytest.skip(f"the oci driver is not available: {error}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.driver.close()
        shutil.rmtree(self.directory)

    def another_scene(self, name: str = "scene") -> Path:
        """A directory with an image for another driver."""
        scene = self.directory / name
        make_image(scene)
        return scene

    def broken_image(self) -> RuntimeImage:
        """One whose root lacks a mount point."""
        (self.directory / "broken" / "bin").mkdir(parents=True)
        return replace(self.image, root=self.directory / "broken")

    @asynccontextmanager
    async def sandbox(self, *, memory_mb: int = 128, tmp_mb: int = 16, background: bool = False) -> AsyncIterator["Guest"]:
        self._count += 1
        spec = SandboxSpec(id=f"env-{self._count}", image=self.image, memory_mb=memory_mb, tmp_mb=tmp_mb, background=background)
        guest = Guest(await self.driver.create(spec))
        try:
            yield guest
        finally:
            await guest.box.destroy()


class Guest:
    """A sandbox in which `probe` can be run."""

    def __init__(self, box: Container) -> None:
        self.box = box
        self.exits: asyncio.Queue[Exit] = asyncio.Queue()
        box.on_exit = self.exits.put_nowait

    async def start(self, *arguments: str, role: str = "runtime") -> None:
        await self.box.start(role, ["/bin/probe", *arguments], {}, "/")

    async def probe(self, *arguments: str) -> str:
        """Run one command to its end and return what it printed."""
        exit, said = await self.outcome(*arguments)
        assert exit == Exit("runtime", 0, None), (exit, said)
        return said.strip()

    async def outcome(self, *arguments: str) -> tuple[Exit, str]:
        await self.start(*arguments)
        exit = await self.exits.get()
        return exit, self.printed()

    def printed(self) -> str:
        try:
            return os.read(self.box.logs, 65536).decode()
        except BlockingIOError:
            return ""

    async def said(self, text: str) -> None:
        """Wait until something that runs has printed `text`."""
        seen = ""

        def heard() -> bool:
            nonlocal seen
            seen += self.printed()
            return text in seen

        await until(heard)


def make_image(directory: Path) -> RuntimeImage:
    """Make a root with the probe in it."""
    root = directory / "root"
    for name in (*MOUNT_POINTS, "bin"):
        (root / name).mkdir(parents=True)
    for name in MOUNT_FILES:
        (root / name).touch()
    source = Path(__file__).with_name("probe.c")
    subprocess.run(["cc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", root / "bin/probe", source], check=True, timeout=60)
    runtime_dir = directory / "runtime"
    runtime_dir.mkdir()
    (runtime_dir / "bootstrap.txt").write_text("bootstrap")
    return image_in(directory)


def image_in(directory: Path) -> RuntimeImage:
    """The image whose files `make_image` made."""
    root, runtime_dir = directory / "root", directory / "runtime"
    return RuntimeImage(runtime="probe", digest="probe", root=root, runtime_dir=runtime_dir, command=(), environment={}, version_arn="")
