"""A boot check of this host: one microVM, from power-on to the agent's hello, then destroyed."""

import asyncio
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import SandboxSpec
from hanabi.errors import SandboxError
from hanabi.sandbox.firecracker.driver import FirecrackerDriver
from hanabi.sandbox.firecracker.machine import size_for
from hanabi.sandbox.firecracker.microvm import Drives
from hanabi.sandbox.oci.bundle_config import MOUNT_FILES, MOUNT_POINTS

MEMORY_MB, TMP_MB = 128, 512


def bare_image(root: Path) -> RuntimeImage:
    """Make a root in a new directory with only the agent's mount points: enough for a machine to boot up to hello."""
    for name in MOUNT_POINTS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in MOUNT_FILES:
        (root / name).touch()
    return RuntimeImage(runtime="image", digest="trial", root=root, runtime_dir=None, command=(), environment={}, version_arn="")


async def boot_once(driver: FirecrackerDriver, drives: Drives, image: RuntimeImage, clock: Clock, limit_s: float) -> float:
    """Boot once on an open driver; returns the seconds from the VMM's start. Raises `SandboxError` with the VMM's messages."""
    drive = await drives.of_image(image)
    spec = SandboxSpec(id="trial", image=image, memory_mb=MEMORY_MB, tmp_mb=TMP_MB)
    microvm = await driver.make(spec, size_for(MEMORY_MB))
    began = clock.monotonic()
    booting = asyncio.create_task(microvm.boot(drive), name="trial of a microVM")
    timer = clock.call_later(limit_s, lambda: _cancel(booting))
    try:
        await asyncio.wait([booting])
        if booting.cancelled():
            raise microvm.vmm.explain(SandboxError(f"no guest booted within {limit_s:.0f} s"))
        try:
            booting.result()
        except SandboxError as error:
            raise microvm.vmm.explain(error) from None
        return clock.monotonic() - began
    finally:
        timer.cancel()
        booting.cancel()
        await asyncio.wait([booting])
        await microvm.destroy()


def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
