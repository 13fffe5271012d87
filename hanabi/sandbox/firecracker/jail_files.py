"""Safe access to files in a VMM's jail. The VMM owns its directories, so any name may have become a link, a fifo or another file.

Every operation works on an open descriptor of a regular file. `path` is a file directly in the jail's root, to which no
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
    """Open a regular file: (its descriptor, its directory's). Raises `OSError` for anything else; never waits for a fifo."""
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
    """Make a new empty file that only `owner` (uid, gid) can access."""
    with open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as (fd, _):
        os.fchown(fd, *owner)


def read_tail(path: Path, size: int) -> bytes:
    """Read the last bytes of a file; none when it is absent or not regular."""
    try:
        with open_file(path) as (fd, _):
            return os.pread(fd, size, max(0, os.fstat(fd).st_size - size))
    except OSError:
        return b""


def take(path: Path, target: Path) -> None:
    """Move a file out of the jail: synced, owned by root, world-readable. The VMM must have ended, or not have it open.

    Raises `OSError`; with EXDEV (`errno.EXDEV`), `target` is on another file system and the file has not moved.
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
