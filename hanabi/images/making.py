"""Making a directory that other processes may be making too: one at a time does, it grows aside, and appears whole by a rename."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hanabi.images.places import is_whole, make_open_directory, remove_tree
from hanabi.images.programs import run


@contextmanager
def making(directory: Path, place: Path, lock_name: str, progress: Callable[[str], None]) -> Iterator[tuple[Path | None, int]]:
    """A fresh directory that becomes `place` when the block ends well, and the lock held meanwhile; None when `place` is there.

    `directory` is the images directory. Whoever else makes the same thing waits for its lock, then finds it there.
    """
    lock = os.open(directory / "locks" / lock_name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that builds it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if is_whole(place):
            yield None, lock
            return
        made = directory / "building" / place.name
        for leftover in (made, place):  # of a builder that was killed
            remove_tree(leftover)
        make_open_directory(made)
        try:
            yield made, lock
            run(["sync", "--file-system", made], lock=lock)  # a power cut must not leave a root with empty files
            made.rename(place)
        except BaseException:
            remove_tree(made)
            raise
    finally:
        os.close(lock)


def measure(tree: Path) -> int:
    """Bytes on disk."""
    return sum(os.lstat(os.path.join(directory, name)).st_blocks * 512 for directory, _, files in os.walk(tree) for name in files)
