"""Disk space: reserving it ahead of use, and asking how much is free."""

import ctypes
import errno
import os
from pathlib import Path

_KEEP_SIZE = 0x01
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS)
_libc = ctypes.CDLL(None, use_errno=True)


def reserve(fd: int, size: int) -> bool:
    """Reserve `size` bytes of disk for a file without changing its length; may be slow. False: its file system cannot.

    Raises OSError when the disk is full. Truncating the file to its own length gives back what is beyond its end.
    """
    while _libc.fallocate(fd, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size)) != 0:
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


def free_bytes(directory: Path) -> int:
    """Free bytes of a file system, for this user."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
