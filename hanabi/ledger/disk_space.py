"""Room on the disk, had before it is needed."""

import ctypes
import errno
import os
from pathlib import Path

_KEEP_SIZE = 0x01
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS)
_libc = ctypes.CDLL(None, use_errno=True)


def reserve(fd: int, size: int) -> bool:
    """Give the file `size` bytes of the disk without making it longer; it may take a while. False: its file system cannot do that.

    Raises OSError when there is no room. What lies beyond the file's end is given back by a truncate to its own length.
    """
    while _libc.fallocate(fd, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size)) != 0:
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


def free_bytes(directory: Path) -> int:
    """What the file system still has for us."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
