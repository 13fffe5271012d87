"""Unix sockets in a VMM's jail: paths of any length, never through a symbolic link, since the VMM owns those directories."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hanabi.base import linux

BACKLOG = 128


def dial(path: Path) -> socket.socket:
    """Connect to a listening socket, without blocking: a unix socket connects at once or fails.

    Raises `FileNotFoundError`, `ConnectionRefusedError` or `BlockingIOError` (its backlog is full) when a retry may succeed, and other
    `OSError` when it will not. No component of `path` may be a symbolic link.
    """
    directory = linux.open_directory(str(path.parent))
    try:
        target = os.open(path.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        if not stat.S_ISSOCK(os.fstat(target).st_mode):
            raise NotADirectoryError(20, "not a socket", str(path))
        return _connected(f"/proc/self/fd/{target}")  # of any length, and what was looked at is what is dialled
    finally:
        os.close(target)


def _connected(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def listen(path: Path, owner: tuple[int, int] | None = None) -> socket.socket:
    """Make a non-blocking listening socket at a new path; only `owner` (uid, gid) and root can connect."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        os.fchmod(sock.fileno(), 0o600)  # a unix socket's file is made with its socket's mode: it is never open to others
        with _directory(path) as directory:
            sock.bind(f"/proc/self/fd/{directory}/{path.name}")
            if owner is not None:
                os.chown(path.name, *owner, dir_fd=directory, follow_symlinks=False)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    directory = linux.open_directory(str(path.parent))
    try:
        yield directory
    finally:
        os.close(directory)
