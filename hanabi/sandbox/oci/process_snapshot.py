"""Snapshots of containers: of a runtime's process, which stops itself for it, and of which copies are made in other containers.

`<directory>/`: `plan` and `pages` (`process_image`), and `about.json`, last: the boot of the host that it belongs to. After another boot
the kernel is another one perhaps, and its clocks begin anew: then it is made again.
"""

import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from hanabi.base import linux
from hanabi.base.files import sync_path, write_whole
from hanabi.errors import SandboxError, SnapshotImpossible, SnapshotUnusable
from hanabi.sandbox.oci import process_image

RESTORER = "hanabi-restore"  # beside the bootstrap
FILES = ("plan", "pages")
WRITE_TIMEOUT_S = 120.0
_ABOUT = "about.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_COPIED = b"k"


def why_missing(build: Path) -> str:
    """Why no process can be copied on this host; empty: some can. `build`: where `hanabi-restore` is built."""
    if platform.machine() != "x86_64":
        return "copies of processes are for x86-64"
    if not (build / RESTORER).is_file():
        return "hanabi-restore was not built"
    return "" if linux.knows_thread_addresses() else "this kernel was built without CONFIG_CHECKPOINT_RESTORE"


def write_snapshot(directory: Path, pids: Iterable[int], limit_bytes: int) -> None:
    """Write the snapshot of a container's only process; blocks. Raises `SnapshotImpossible`, `SandboxError`."""
    processes = list(pids)
    if len(processes) != 1:
        raise SnapshotImpossible("processes that its init has started run beside its runtime")
    _write_image(processes[0], directory, limit_bytes)
    write_whole(directory / _ABOUT, json.dumps({"boot": _boot()}))
    sync_path(directory)


def _write_image(pid: int, directory: Path, limit_bytes: int) -> None:
    command = [sys.executable, "-m", process_image.__name__, str(pid), os.fspath(directory), str(limit_bytes)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=WRITE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise SandboxError("the memory of its process could not be written in time") from None
    if done.returncode == process_image.IMPOSSIBLE:
        raise SnapshotImpossible(done.stdout.strip())
    if done.returncode:
        raise SandboxError(done.stdout.strip() or f"the memory of its process could not be written: {done.stderr[-500:]}")


def open_snapshot(directory: Path) -> list[int]:
    """Open a snapshot's files, by a mount of their own in which they cannot be written; blocks. Raises `SnapshotUnusable`."""
    try:
        about = json.loads((directory / _ABOUT).read_bytes())
        if not isinstance(about, dict) or about.get("boot") != _boot():
            raise SnapshotUnusable("it was made before this host was last started")
        tree = linux.clone_tree(os.fspath(directory))
        try:
            return [os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=tree) for name in FILES]
        finally:
            os.close(tree)
    except (OSError, ValueError) as error:
        raise SnapshotUnusable(f"it cannot be read: {error}") from None


def send_files(channel: socket.socket, files: list[int]) -> None:
    """Give the restorer the files, by the runtime channel; they are closed here."""
    try:
        socket.send_fds(channel, [b"x"], files)
    finally:
        for fd in files:
            os.close(fd)


async def await_copy(channel: socket.socket, timeout_s: float) -> None:
    """Wait until the restorer has become the copy. Raises `SnapshotUnusable`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            said = await loop.sock_recv(channel, 1)
    except (OSError, TimeoutError):
        said = b""
    if said != _COPIED:
        raise SnapshotUnusable("its process cannot be copied from it")


def _boot() -> str:
    return _BOOT_ID.read_text().strip()
