"""Files in a VMM's jail, whose directories the VMM owns: any name there may have become a link, a fifo or another file.

Whatever is done to a file is done to an open descriptor of a plain one. `path` is a file directly in the jail's root, to which no
symbolic link may lead.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hanabi.base import linux


@contextmanager
def open_file(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> Iterator[tuple[int, int]]:
    """(descriptor of the file, descriptor of its directory). Raises `OSError` for what is no plain file; does not wait for a fifo."""
    directory = linux.open_directory(str(path.parent))
    try:
        fd = os.open(path.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode, dir_fd=directory)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(22, "not a plain file", str(path))
            yield fd, directory
        finally:
            os.close(fd)
    finally:
        os.close(directory)


def create(path: Path, owner: tuple[int, int]) -> None:
    """An empty file that is not there yet, for `owner` (uid, gid) alone."""
    with open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as (fd, _):
        os.fchown(fd, *owner)


def read_tail(path: Path, size: int) -> bytes:
    """The last bytes of a file; nothing of one that is absent or not plain."""
    try:
        with open_file(path) as (fd, _):
            return os.pread(fd, size, max(0, os.fstat(fd).st_size - size))
    except OSError:
        return b""


def take(path: Path, target: Path) -> None:
    """Move a file out of the jail, on disk, root's and for all to read; the VMM must have ended, or have no hold of it any more.

    Raises `OSError`; EXDEV (`errno.EXDEV`) when `target` is on another file system, with the file where it was.
    """
    with open_file(path) as (fd, directory):
        os.fchown(fd, 0, 0)
        os.fchmod(fd, 0o444)
        os.fsync(fd)
        os.rename(path.name, target, src_dir_fd=directory)
        moved = os.lstat(target)
        if (moved.st_dev, moved.st_ino) != (os.fstat(fd).st_dev, os.fstat(fd).st_ino):
            target.unlink()
            raise OSError(116, "another file took its place", str(path))
