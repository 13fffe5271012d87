"""The journal's files: numbered and append-only, one writer process, one write per frame, disk space reserved ahead."""

import errno
import os
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hanabi.base.files import sync_path
from hanabi.ledger.disk_space import free_bytes, reserve
from hanabi.ledger.frames import HEAD_BYTES, encode_head

_NAME = re.compile(r"(\d{12})\.journal")


def segment_path(directory: Path, number: int) -> Path:
    return directory / f"{number:012d}.journal"


def list_segments(directory: Path) -> list[int]:
    """List the numbers of existing segments, ascending."""
    return sorted(int(match[1]) for path in directory.iterdir() if (match := _NAME.fullmatch(path.name)))


@dataclass(frozen=True, slots=True)
class Segment:
    """A file to append to. `reserved_bytes`: disk space reserved for it, head included; 0 where none could be reserved."""

    number: int
    fd: int
    reserved_bytes: int


class SegmentWriter:
    """Appends to the newest segment; when that is full, goes on in the next one, which was made ahead.

    A segment that an earlier process wrote is never appended to: its end may be torn. `append` and `skip` are for one thread,
    `reserve` and `sync` for any other. `begun` is called when the prepared segment is taken into use: reserve another then.
    """

    def __init__(self, directory: Path, number: int, segment_bytes: int, begun: Callable[[], None] = lambda: None) -> None:
        self.reserves = True  # whether the file system gives room ahead; where it does not, what is free is looked at instead
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._begun = begun
        self._next: Segment | None = None
        self._full: deque[tuple[int, int]] = deque()  # (descriptor, length), to be synced and closed
        self._changing = threading.Lock()
        self._closed = False
        self._free = 0
        try:
            self._current = self._make(number)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._current = self._make(number, room=False)
        self.position = (number, HEAD_BYTES)  # (segment, offset) where the next frame goes; one tuple, so that other threads read it whole

    @property
    def room(self) -> int:
        """Bytes that can certainly still be written, whatever other processes write to the disk."""
        if not self.reserves:
            return self._free
        following = self._next
        return max(0, self._current.reserved_bytes - self.position[1]) + (following.reserved_bytes - HEAD_BYTES if following else 0)

    def append(self, frame: bytes) -> None:
        """Write a frame, whole or not at all. Raises OSError when there is no space."""
        number, size = self.position
        if size + len(frame) > self._current.reserved_bytes and self._next is not None:
            self.skip()
            number, size = self.position
        written = os.pwrite(self._current.fd, frame, size)
        while written < len(frame):  # what a failed write has left is written over
            written += os.pwrite(self._current.fd, frame[written:], size + written)
        self.position = (number, size + written)

    def skip(self) -> bool:
        """Go on in the next segment, if it is ready: this one is full, or cannot be written."""
        if self._next is None:
            return False
        self._full.append((self._current.fd, self.position[1]))
        self._current, self._next = self._next, None
        self.position = (self._current.number, HEAD_BYTES)
        self._begun()
        return True

    def reserve(self) -> None:
        """Make the next segment ready. Raises OSError when there is no space."""
        with self._changing:
            if not self.reserves:
                self._look()
            if self._next is None and not self._closed:
                self._next = self._make(self._current.number + 1)

    def sync(self) -> None:
        """Bring everything appended before the call to the disk."""
        with self._changing:
            current = self._current.fd
            while self._full:
                fd, size = self._full[0]
                os.ftruncate(fd, size)  # gives back what was reserved beyond
                os.fdatasync(fd)
                self._full.popleft()
                os.close(fd)
                if fd == current:
                    current = self._current.fd
            os.fdatasync(current)

    def close(self) -> None:
        """Sync and close. No append may follow."""
        with self._changing:
            self._closed = True
            following, self._next = self._next, None
        if following is not None:
            os.close(following.fd)
            segment_path(self._directory, following.number).unlink()
        try:
            self.sync()
            os.ftruncate(self._current.fd, self.position[1])
        finally:
            os.close(self._current.fd)

    def _make(self, number: int, room: bool = True) -> Segment:
        path = segment_path(self._directory, number)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if room:
                self.reserves = reserve(fd, self._segment_bytes)
                if not self.reserves:
                    self._look()
            os.pwrite(fd, encode_head(), 0)
            sync_path(self._directory)  # so that a power cut does not take the file's name
        except BaseException:
            os.close(fd)
            path.unlink()
            raise
        return Segment(number, fd, self._segment_bytes if room else 0)

    def _look(self) -> None:
        """Check free space where none can be reserved: as much must be free."""
        self._free = free_bytes(self._directory)
        if self._free < 2 * self._segment_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
