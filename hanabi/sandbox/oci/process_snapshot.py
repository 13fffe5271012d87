"""Snapshots of containers: of a runtime's process, which stops itself for it, and of which copies are made in other containers.

`<directory>/`: `plan` and `pages` (`process_image`), and `about.json`, last: the boot of the host that it belongs to. After another boot
the kernel is another one perhaps, and its clocks begin anew: then it is made again.
"""

import asyncio
import json
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from hanabi.base import linux
from hanabi.base.files import sync_path, write_whole
from hanabi.errors import SnapshotImpossible, SnapshotUnusable
from hanabi.sandbox.oci import process_image

RESTORER = "hanabi-restore"  # beside the bootstrap
FILES = ("plan", "pages")
_ABOUT = "about.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_COPIED = b"k"


def write_snapshot(directory: Path, pids: Iterable[int], limit_bytes: int) -> None:
    """Write the snapshot of a container's only process; blocks. Raises `SnapshotImpossible`, `SandboxError`."""
    processes = list(pids)
    if len(processes) != 1:
        raise SnapshotImpossible("processes of its extensions, or that its init has started, run beside its runtime")
    process_image.write_image(processes[0], directory, limit_bytes)
    write_whole(directory / _ABOUT, json.dumps({"boot": _boot()}))
    sync_path(directory)


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
