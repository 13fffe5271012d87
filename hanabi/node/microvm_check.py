"""The microVM check of `hanabi doctor`: boots one, once for each Firecracker, kernel and boot of the host.

A success is noted in `<images>/trials/` and not tried again. A failure is tried again each time.
"""

import asyncio
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from hanabi.base.clock import SystemClock
from hanabi.base.files import write_whole
from hanabi.errors import HanabiError, ImageError, SandboxError
from hanabi.images.builders.download import digest_file
from hanabi.images.drives.drives import Drives
from hanabi.images.runtimes.bootstraps import install_agent
from hanabi.node.config import NodeSettings
from hanabi.node.drivers import find_parts
from hanabi.sandbox.agent import find_agent
from hanabi.sandbox.firecracker.boot_check import bare_image, boot_once
from hanabi.sandbox.firecracker.driver import FirecrackerDriver
from hanabi.sandbox.firecracker.machine import FirecrackerParts
from hanabi.sandbox.host import kvm
from hanabi.sandbox.host.mounts import enter_private_mounts

LIMIT_S = 30.0  # for a guest; on hardware it takes some tenths of a second
KEPT = 8  # notes
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def try_microvm(settings: NodeSettings) -> str:
    """Boot one; returns what was tried and how long. Raises `SandboxError` with the reason. Blocks; call it before there are threads."""
    try:
        parts = find_parts(settings)
        note = settings.images_dir / "trials" / f"{_key(parts)}.json"
        if (known := _read(note)) is not None:
            return f"{_what(parts)} booted to the agent in {known:.1f} s, tried before since this host was started"
        took_s = _try(parts)
    except (HanabiError, OSError) as error:
        why = "" if kvm.is_hardware() else ": KVM here is nested in software" if "no guest booted" in str(error) else ""
        raise SandboxError(f"a microVM was tried: {error}{why}") from None
    if settings.images_dir.is_dir():
        _write(note, took_s)
    return f"{_what(parts)} booted to the agent in {took_s:.1f} s"


def _try(parts: FirecrackerParts) -> float:
    directory = Path(tempfile.mkdtemp(prefix="hanabi-trial-", dir="/var/tmp"))
    try:
        directory.chmod(0o711)
        agent = install_agent(find_agent(), directory / "agent")
        enter_private_mounts()  # before there are threads
        return asyncio.run(_boot(parts, directory, agent))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _boot(parts: FirecrackerParts, directory: Path, agent: Path) -> float:
    clock, drives = SystemClock(), Drives(directory, agent)
    snapshots = directory / "snapshots"
    driver = FirecrackerDriver(
        directory / "run", parts=parts, drives=drives, snapshots=snapshots, slots=1, clock=clock, network=False, resolvers=()
    )
    await driver.open()
    try:
        return await boot_once(driver, drives, bare_image(directory / "bare" / "root"), clock, LIMIT_S)
    finally:
        await driver.close()


def _what(parts: FirecrackerParts) -> str:
    return f"Firecracker {'.'.join(map(str, parts.version))} with the kernel {parts.kernel.image}"


def _key(parts: FirecrackerParts) -> str:
    try:
        content = (digest_file(parts.firecracker), digest_file(parts.jailer), parts.kernel.digest, BOOT_ID.read_text().strip())
    except OSError as error:
        raise ImageError(str(error)) from None
    return hashlib.sha256(repr(content).encode()).hexdigest()[:24]


def _read(note: Path) -> float | None:
    try:
        return float(json.loads(note.read_bytes())["booted_s"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def _write(note: Path, took_s: float) -> None:
    try:
        note.parent.mkdir(exist_ok=True)
        for old in sorted(note.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink()
        write_whole(note, json.dumps({"booted_s": took_s}), sync=False)
    except OSError:
        pass  # then it is tried again
