"""Staged builds: an image is made in `building/` under a lock, and published by a rename."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hanabi.base import locks
from hanabi.base.files import make_open_directory, remove_tree
from hanabi.images.builders.programs import run
from hanabi.images.paths import is_whole


@contextmanager
def staged_directory(directory: Path, place: Path, progress: Callable[[str], None]) -> Iterator[tuple[Path | None, int]]:
    """A fresh directory that becomes `place` when the block succeeds, and the lock held meanwhile; None when `place` exists.

    `directory` is the images directory. One process at a time makes a given image; others wait for its lock, then find it.
    """
    for parent in (directory / "building", directory / "locks", place.parent):
        make_open_directory(parent)
    lock = locks.open_lock(directory / "locks" / place.name, 0o644)
    try:
        if not locks.try_acquire(lock):
            progress("waiting for another process that builds it")
            locks.acquire(lock)
        if is_whole(place):
            yield None, lock
            return
        made = directory / "building" / place.name
        for leftover in (made, place):  # of a builder that was killed
            remove_tree(leftover)
        _sweep(directory)
        make_open_directory(made)
        try:
            yield made, lock
            run(["sync", "--file-system", made], lock=lock)  # a power cut must not leave a thing with empty files
            made.rename(place)
        except BaseException:
            remove_tree(made)
            raise
    finally:
        os.close(lock)


def _sweep(directory: Path) -> None:
    """Remove what killed builders left, found by their free locks. A kernel's source takes more than a gigabyte."""
    for leftover in (directory / "building").iterdir():
        try:
            lock = os.open(directory / "locks" / leftover.name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if locks.try_acquire(lock):  # else a builder is at work
                remove_tree(leftover)
        finally:
            os.close(lock)
