"""The jail of one VMM: its root directory, with only the files of its machine.

Files are hard links where the file system allows it (Firecracker's docs/jailer.md), else bind mounts in our own mount namespace.
"""

import errno
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from hanabi.base import linux
from hanabi.errors import SandboxError
from hanabi.sandbox.firecracker import jail_files
from hanabi.sandbox.host import volume

API_SOCKET = "run/firecracker.socket"  # as the jailer has it
LOG, METRICS = "log", "metrics"
TIMEOUT_S = 1.0


class Jail:
    """A VMM's jail. `owner` is the uid and gid of the VMM. All methods block."""

    def __init__(self, base: Path, program: Path, id: str, owner: int) -> None:
        self.base = base
        self.id = id
        self.owner = owner
        self.directory = base / program.name / id
        self.root = self.directory / "root"
        self._mounted: list[Path] = []

    def make(self) -> None:
        self.root.mkdir(parents=True, mode=0o700)
        os.chown(self.root, self.owner, self.owner)
        for name in (LOG, METRICS):
            self.create(name)

    def create(self, name: str) -> None:
        """Make an empty file that the VMM may write."""
        jail_files.create(self.root / name, (self.owner, self.owner))

    def bind(self, source: Path, name: str) -> None:
        """Give the VMM, before its start, read access to a world-readable file."""
        target = self.root / name
        _open_up(source)
        if not _link(source, target):
            with jail_files.open_file(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as (fd, _):
                linux.mount(str(source), f"/proc/self/fd/{fd}", "none", linux.MS_BIND)
            self._mounted.append(target)

    def add(self, source: Path, name: str) -> None:
        """Give a running VMM read access to a file: it has its own mount namespace, where a new bind mount of ours is not seen."""
        target = self.root / name
        _open_up(source)
        if not _link(source, target):
            volume.copy_sparse(source, target)

    def copy(self, source: Path, name: str) -> None:
        """Give the VMM a sparse copy of its own."""
        target = self.root / name
        volume.copy_sparse(source, target)
        os.chown(target, self.owner, self.owner)
        os.chmod(target, 0o600)

    def tail(self, name: str, size: int) -> bytes:
        """Read the end of a file that the VMM wrote."""
        return jail_files.read_tail(self.root / name, size)

    def move_out(self, name: str, target: Path) -> None:
        """Move a file out of the jail, after the VMM has ended."""
        try:
            jail_files.take(self.root / name, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with jail_files.open_file(self.root / name) as (fd, _):
                volume.copy_sparse(Path(f"/proc/self/fd/{fd}"), target)
            os.chmod(target, 0o444)
            with open(target, "rb") as copied:
                os.fsync(copied.fileno())

    def remove(self) -> None:
        """Remove the jail, after the VMM has ended. Idempotent. Raises `SandboxError`; the caller then tries again."""
        for target in self._mounted:
            with suppress(OSError):
                linux.unmount(str(target))
        self._mounted.clear()
        give_up = time.monotonic() + TIMEOUT_S
        while True:
            shutil.rmtree(self.directory, ignore_errors=True)
            if not self.directory.exists():
                return
            if time.monotonic() >= give_up:  # something that is about to end still wrote in it
                raise SandboxError(f"the jail {self.directory} cannot be removed")
            time.sleep(0.01)


def _open_up(source: Path) -> None:
    """Make a file readable for the VMM's uid: a copy of the data directory may have been made under a narrow umask."""
    if (mode := source.stat().st_mode) & 0o444 != 0o444:
        source.chmod(mode & 0o7777 | 0o444)


def _link(source: Path, target: Path) -> bool:
    """Make a hard link; False where that is impossible."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise
        return False
    return True
