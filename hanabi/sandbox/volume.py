"""The /tmp of a sandbox: a sized ext4 file system on a loop device, so that it lives on disk and a full one says ENOSPC.

The image is a sparse copy of a template (made once per size) and has no name once it is mounted: it goes with its last user.
"""

import errno
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from hanabi.errors import IsolationUnavailable
from hanabi.sandbox import kernel

MB = 1024 * 1024
_NO_LOOP = "modprobe loop, or give this container the loop devices"
_OVERHEAD_MB = 4  # of metadata, besides the inode tables' share


class Volumes:
    """Makes volumes in one directory, templates in it included."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self) -> None:
        """Start anew: what is here is an earlier run's. Raises `IsolationUnavailable` with the fix."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True, mode=0o700)
        if shutil.which("mkfs.ext4") is None:
            raise IsolationUnavailable("no mkfs.ext4 for sized /tmp volumes; apt install e2fsprogs")
        if not Path("/dev/loop-control").exists():
            raise IsolationUnavailable(f"no /dev/loop-control for sized /tmp volumes; {_NO_LOOP}")

    def mount(self, name: str, size_mb: int, target: Path, uid: int, gid: int) -> str:
        """Mount a new volume of at least `size_mb` usable on a directory, owned by (uid, gid). Returns its loop device; blocks."""
        image = self._directory / name
        _copy_sparse(self._template(size_mb), image)
        return _mount(image, target, uid, gid)

    def _template(self, size_mb: int) -> Path:
        """An empty file system of that usable size."""
        template = self._directory / f"template-{size_mb}"
        if template.exists():
            return template
        draft = self._directory / f"draft-{size_mb}-{os.urandom(4).hex()}"
        point = self._directory / f"{draft.name}-mount"
        point.mkdir()
        total_mb = size_mb + size_mb // 60 + _OVERHEAD_MB
        try:
            while True:
                _make_file_system(draft, total_mb)
                copy = draft.with_suffix(".copy")
                os.link(draft, copy)  # mounting takes the name away
                device = _mount(copy, point, 0, 0)
                try:
                    os.rmdir(point / "lost+found")
                    room = os.statvfs(point)
                finally:
                    kernel.unmount(str(point))
                _await_release(device)
                missing = size_mb * MB - room.f_bavail * room.f_frsize
                if missing <= 0:
                    break
                total_mb += missing // MB + 1
            _settle(draft)
            os.rename(draft, template)
        finally:
            draft.unlink(missing_ok=True)
            point.rmdir()
        return template


def _make_file_system(image: Path, size_mb: int) -> None:
    """No journal (nothing here outlives a crash), no reserved blocks, inode tables taken as zero: the file is."""
    image.unlink(missing_ok=True)
    with open(image, "wb") as file:
        file.truncate(size_mb * MB)
    options = ["-O", "^has_journal,^resize_inode", "-m", "0", "-b", "4096", "-i", "16384", "-E", "lazy_itable_init=1,nodiscard"]
    done = subprocess.run(["mkfs.ext4", "-q", "-F", *options, str(image)], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise IsolationUnavailable(f"mkfs.ext4: {done.stderr.strip()}")


def _mount(image: Path, target: Path, uid: int, gid: int) -> str:
    try:
        device, fd = kernel.attach_loop(image)
    except OSError as error:
        raise IsolationUnavailable(f"no loop device for sized /tmp volumes ({error.strerror}); {_NO_LOOP}") from None
    try:
        image.unlink()
        kernel.mount(device, str(target), "ext4", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOATIME, "noinit_itable,errors=continue")
    finally:
        os.close(fd)
    os.chown(target, uid, gid)
    os.chmod(target, 0o700)
    return device


def _settle(image: Path) -> None:
    """Write the file's pages out, so that a copy sees what the mounted file system wrote."""
    with open(image, "rb") as file:
        os.fsync(file.fileno())


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy a file's data, leaving its holes."""
    with open(source, "rb") as read, open(target, "xb") as write:
        size = os.fstat(read.fileno()).st_size
        os.truncate(write.fileno(), size)
        end = 0
        while end < size:
            try:
                start = os.lseek(read.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    return
                raise
            end = os.lseek(read.fileno(), start, os.SEEK_HOLE)
            while start < end:
                start += os.copy_file_range(read.fileno(), write.fileno(), end - start, start, start)


def _await_release(device: str) -> None:
    give_up = time.monotonic() + 5
    while in_use(device) and time.monotonic() < give_up:
        time.sleep(0.001)


def in_use(device: str) -> bool:
    """Whether a loop device still has a file."""
    return Path(f"/sys/block/{os.path.basename(device)}/loop/backing_file").exists()


def leftovers(directory: Path) -> list[str]:
    """Loop devices whose (deleted) file was in a directory."""
    found = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if entry.read_text().startswith(f"{directory}/"):
                found.append(f"/dev/{entry.parts[3]}")
    return found
