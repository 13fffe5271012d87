"""Machine snapshots on disk: their files, and whether a stored snapshot still fits this host."""

import ctypes
import errno
import hashlib
import json
import mmap
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hanabi.base.files import sync_path
from hanabi.errors import SnapshotUnusable
from hanabi.sandbox.agent import PROTOCOL
from hanabi.sandbox.firecracker import machine
from hanabi.sandbox.firecracker.machine import FirecrackerParts, MachineSize
from hanabi.sandbox.host import volume

ABOUT = "about.json"
_CHUNK = 1024 * 1024
_PAGE = mmap.PAGESIZE
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot of a machine: `state`, `memory` and perhaps `tmp` in a directory, and the drives it was made with."""

    directory: Path
    size: MachineSize
    root: Path
    preloaded: bool = False  # the image's bootstrap runs in it, waiting for a function
    own: bool = False  # a function's, with its processes and its /tmp
    mounted: Mapping[str, Path] = field(default_factory=dict)  # drive -> file: its code, its layers

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def memory(self) -> Path:
        return self.directory / "memory"

    @property
    def tmp(self) -> Path:
        """The /tmp of a function's own snapshot, as of the snapshot."""
        return self.directory / machine.TMP


def identity(parts: FirecrackerParts) -> str:
    """Digest what a snapshot depends on besides its files: Firecracker's version, both kernels, the CPU model, the agent's protocol."""
    kernel = parts.kernel
    content = (parts.version, kernel.digest, kernel.boot_args, kernel.cpu_template, os.uname().release, _processor(), PROTOCOL)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""


def describe(directory: Path, parts: FirecrackerParts, size: MachineSize, drives: Mapping[str, int]) -> None:
    """Make a function's snapshot self-contained: link or copy its drives, given as open descriptors, into its directory. Blocks."""
    for name, fd in drives.items():
        drive = f"/proc/self/fd/{fd}"
        try:
            os.link(drive, directory / name, src_dir_fd=fd)  # with a descriptor Python has linkat follow the link
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EMLINK):
                raise
            volume.copy_sparse(Path(drive), directory / name)
            os.chmod(directory / name, 0o444)
            sync_path(directory / name)
    about = {
        "identity": identity(parts),
        "size": [size.memory_mb, size.vcpus],
        "mounted": sorted(drives.keys() - {machine.ROOT}),
        "bytes": {entry.name: entry.stat().st_size for entry in os.scandir(directory)},
    }
    (directory / ABOUT).write_text(json.dumps(about))
    sync_path(directory / ABOUT)
    sync_path(directory)


def read_snapshot(directory: Path, parts: FirecrackerParts) -> Snapshot:
    """Read a function's own snapshot. Raises `SnapshotUnusable` when it is incomplete, or from another host. Blocks."""
    try:
        about = json.loads((directory / ABOUT).read_text())
        memory_mb, vcpus = map(int, about["size"])
        size, mounted = MachineSize(memory_mb, vcpus), {name: directory / name for name in about["mounted"]}
        if not mounted.keys() <= machine.LETTERS.keys():
            raise ValueError("drives that no machine has")
        sizes = {name: about["bytes"][name] for name in ("state", "memory", machine.TMP, machine.ROOT, *mounted)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SnapshotUnusable(f"the snapshot {directory.name} cannot be read: {type(error).__name__}: {error}") from None
    if about.get("identity") != identity(parts):
        raise SnapshotUnusable(f"the snapshot {directory.name} was made with another Firecracker, kernel or processor")
    if lacking := [name for name, expected in sizes.items() if _size(directory / name) != expected]:
        raise SnapshotUnusable(f"the snapshot {directory.name} is not whole: {', '.join(lacking)}")
    return Snapshot(directory=directory, size=size, root=directory / machine.ROOT, own=True, mounted=mounted)


def is_whole(snapshot: Snapshot) -> bool:
    """Whether a template's files exist, and the memory file has the machine's size. Blocks."""
    return _size(snapshot.state) > 0 and _size(snapshot.memory) == snapshot.size.machine_mb * machine.MIB


def _size(path: Path) -> int:
    """The size of a regular file; -1 for anything else."""
    try:
        status = os.lstat(path)
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def punch_holes(path: Path) -> None:
    """Punch holes for pages of zeros: most of a machine's memory was never used. Blocks; does nothing where holes are unsupported."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        end, can = 0, True
        while can and (extent := _extent_after(fd, end)) is not None:
            start, end = extent
            while can and start < end and (block := os.pread(fd, min(_CHUNK, end - start), start)):
                can = _punch_block(fd, start, block)
                start += len(block)
        os.fsync(fd)
    finally:
        os.close(fd)


def _extent_after(fd: int, at: int) -> tuple[int, int] | None:
    """Find the next extent with data."""
    try:
        start = os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    return start, os.lseek(fd, start, os.SEEK_HOLE)


def _punch_block(fd: int, start: int, block: bytes) -> bool:
    """Punch a hole; False when the file system has none."""
    if not block.strip(b"\0"):
        return _punch(fd, start, len(block))
    begin = None  # of a run of pages of zeros
    for at in range(0, len(block) + 1, _PAGE):
        empty = at < len(block) and not block[at : at + _PAGE].strip(b"\0")
        if empty and begin is None:
            begin = at
        elif not empty and begin is not None:
            if not _punch(fd, start + begin, at - begin):
                return False
            begin = None
    return True


def _punch(fd: int, start: int, size: int) -> bool:
    return bool(_libc.fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_long(start), ctypes.c_long(size)) == 0)
