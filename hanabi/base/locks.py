"""Locks between processes: `flock` on a file. A lock ends with its holder, `kill -9` included."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.01


def open_lock(path: Path, mode: int = 0o600) -> int:
    """Open a lock's file, made if absent, and return the descriptor; the lock is not held yet."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)


def acquire(fd: int, *, shared: bool = False) -> None:
    """Wait until the lock is held. Blocks."""
    fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def try_acquire(fd: int, *, shared: bool = False) -> bool:
    """Acquire the lock unless another descriptor holds it."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_lock(path: Path, mode: int = 0o600) -> int | None:
    """Open and acquire a lock: its descriptor, or None when it is held already."""
    fd = open_lock(path, mode)
    if try_acquire(fd):
        return fd
    os.close(fd)
    return None


def acquire_within(fd: int, timeout_s: float) -> bool:
    """Wait for the lock, at most so long; False when another descriptor still holds it. Blocks."""
    give_up = time.monotonic() + timeout_s
    while not try_acquire(fd):
        if time.monotonic() >= give_up:
            return False
        time.sleep(_POLL_S)
    return True


@contextmanager
def hold(path: Path, *, wait: bool = True, shared: bool = False, mode: int = 0o600) -> Iterator[bool]:
    """Hold a lock for the block; False when it is held already and the caller does not wait. Blocks."""
    fd = open_lock(path, mode)
    try:
        if wait:
            acquire(fd, shared=shared)
            yield True
        else:
            yield try_acquire(fd, shared=shared)
    finally:
        os.close(fd)


def is_at(fd: int, path: Path) -> bool:
    """Whether a path still leads to the file of a descriptor: the lock's last holder may have removed or replaced it."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
