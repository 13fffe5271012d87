"""The /tmp of a sandbox: an ext4 file system of fixed size on a loop device, on disk, with ENOSPC when full.

The image is a sparse copy of a template (made once per size), unlinked once mounted: its last user's end frees it.
"""

import errno
import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hanabi.base import linux
from hanabi.base.files import empty_directory
from hanabi.base.processes import search_path
from hanabi.errors import IsolationUnavailable
from hanabi.sandbox.host import rootless

MB = 1024 * 1024
_NO_LOOP = "modprobe loop, or give this container the loop devices"
_TIMEOUT_S = 5.0
_PATH = {"PATH": search_path()}
_OVERHEAD_MB = 4  # of metadata, besides the inode tables' share


class Volumes:
    """Makes volumes and their templates in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self) -> None:
        """Empty the directory, whose files are an earlier run's. Raises `IsolationUnavailable` with the fix."""
        empty_directory(self._directory)
        if shutil.which("mkfs.ext4", path=search_path()) is None:
            raise IsolationUnavailable("no mkfs.ext4 for sized /tmp volumes; apt install e2fsprogs")
        if rootless.entered():
            if shutil.which("fuse2fs", path=search_path()) is None or not os.access("/dev/fuse", os.R_OK | os.W_OK):
                raise IsolationUnavailable("no fuse2fs or /dev/fuse for an ordinary user's /tmp volumes; apt install fuse2fs")
        elif not Path("/dev/loop-control").exists():
            raise IsolationUnavailable(f"no /dev/loop-control for sized /tmp volumes; {_NO_LOOP}")

    def mount(self, name: str, size_mb: int, target: Path, owner: tuple[int, int]) -> "Volume":
        """Mount a new volume of at least `size_mb` usable on a directory; blocks."""
        image = self._directory / name
        copy_sparse(self.template(size_mb), image)
        return _mount(image, target, owner)

    def template(self, size_mb: int) -> Path:
        """The template: an empty file system of that usable size."""
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
                volume = _mount(copy, point, (0, 0))
                try:
                    os.rmdir(point / "lost+found")
                    room = os.statvfs(point)
                finally:
                    linux.unmount(str(point))
                volume.await_end()
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
    """Make a file system: no journal (nothing outlives a crash), no reserved blocks, inode tables left zero as the file is."""
    image.unlink(missing_ok=True)
    with open(image, "wb") as file:
        file.truncate(size_mb * MB)
    options = ["-O", "^has_journal,^resize_inode", "-m", "0", "-b", "4096", "-i", "16384", "-E", "lazy_itable_init=1,nodiscard"]
    done = subprocess.run(["mkfs.ext4", "-q", "-F", *options, str(image)], env=_PATH, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise IsolationUnavailable(f"mkfs.ext4: {done.stderr.strip()}")


@dataclass(slots=True)
class Volume:
    """A volume, mounted by the kernel on a loop device, or by a fuse2fs process."""

    device: str = ""
    image: str = ""  # the device's file, which has no name any more
    server: "subprocess.Popen[bytes] | None" = None

    def await_end(self) -> bool:
        """Wait until it is unmounted, which the kernel does in the background. False: it still is not, after a while."""
        if self.server is not None:
            try:
                self.server.wait(_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        give_up = time.monotonic() + _TIMEOUT_S
        while self.device and in_use(self.device, self.image) and time.monotonic() < give_up:
            time.sleep(0.001)
        return not self.device or not in_use(self.device, self.image)


def _mount(image: Path, target: Path, owner: tuple[int, int]) -> Volume:
    volume = _mount_fuse(image, target) if rootless.entered() else _mount_loop(image, target)
    os.chown(target, *owner)
    os.chmod(target, 0o1777)
    return volume


def _mount_fuse(image: Path, target: Path) -> Volume:
    """Mount by fuse2fs: an ordinary user may not use loop devices, but may mount FUSE in its own user namespace."""
    before = os.stat(target).st_dev
    options = "rw,fakeroot,allow_other,default_permissions"
    command = ["fuse2fs", "-f", "-o", options, str(image), str(target)]
    silent = subprocess.DEVNULL
    # A process group of its own: Ctrl-C is for the server alone, and what runs ends in its grace, with a /tmp.
    server = subprocess.Popen(command, env=_PATH, stdin=silent, stdout=silent, stderr=silent, process_group=0)
    give_up = time.monotonic() + _TIMEOUT_S
    while os.stat(target).st_dev == before:
        if server.poll() is not None or time.monotonic() > give_up:
            server.kill()
            server.wait()
            raise IsolationUnavailable("fuse2fs does not serve /tmp volumes; see that /dev/fuse can be opened")
        time.sleep(0.001)
    image.unlink()
    return Volume(server=server)


def _mount_loop(image: Path, target: Path) -> Volume:
    place = os.path.realpath(image)
    try:
        device, fd = linux.attach_loop(image)
    except OSError as error:
        raise IsolationUnavailable(f"no loop device for sized /tmp volumes ({error.strerror}); {_NO_LOOP}") from None
    try:
        image.unlink()
        linux.mount(device, str(target), "ext4", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOATIME, "noinit_itable,errors=continue")
    finally:
        os.close(fd)
    return Volume(device, place)


def _settle(image: Path) -> None:
    """Flush the file, so that a copy has what the mounted file system wrote."""
    with open(image, "rb") as file:
        os.fsync(file.fileno())


def copy_sparse(source: Path, target: Path) -> None:
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
                start += _copy_part(read.fileno(), write.fileno(), start, end - start)


def _copy_part(read: int, write: int, at: int, size: int) -> int:
    try:
        return os.copy_file_range(read, write, size, at, at)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    return os.pwrite(write, os.pread(read, min(size, MB), at), at)  # between file systems of two kinds


def in_use(device: str, image: str) -> bool:
    """Whether a loop device is still attached to a file. Once it is not, anybody on the host may have it next."""
    try:
        attached = Path(f"/sys/block/{os.path.basename(device)}/loop/backing_file").read_text()
    except OSError:
        return False
    return attached.removesuffix("\n").removesuffix(" (deleted)") == image


def leftovers(directory: Path) -> list[str]:
    """List loop devices whose (deleted) file was in a directory."""
    found = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if entry.read_text().startswith(f"{directory}/"):
                found.append(f"/dev/{entry.parts[3]}")
    return found
