"""The files of the journal: numbered, append-only, written by one process, one write(2) for each frame."""

import os
import re
import threading
from collections import deque
from pathlib import Path

_NAME = re.compile(r"(\d{12})\.journal")


def segment_path(directory: Path, number: int) -> Path:
    return directory / f"{number:012d}.journal"


def list_segments(directory: Path) -> list[int]:
    """The numbers of the segments there are, ascending."""
    return sorted(int(match[1]) for path in directory.iterdir() if (match := _NAME.fullmatch(path.name)))


class SegmentWriter:
    """Appends to the newest segment and begins the next one when it is full.

    A segment that an earlier process wrote is never appended to: its end may be torn.
    """

    def __init__(self, directory: Path, number: int, segment_size: int) -> None:
        self.position = (number, 0)  # (segment, offset) where the next frame goes; one tuple, so that other threads read it whole
        self._directory = directory
        self._segment_size = segment_size
        self._full: deque[int] = deque()
        self._syncing = threading.Lock()
        self._fd = self._create(number)

    def append(self, frame: bytes) -> None:
        """Hand the frame to the kernel, whole or not at all. Raises OSError when there is no room for it."""
        number, size = self.position
        if size >= self._segment_size:
            number, size = number + 1, 0
            fd = self._create(number)
            self._full.append(self._fd)
            self._fd = fd
        written = 0
        try:
            while written < len(frame):
                written += os.write(self._fd, frame[written:] if written else frame)
        except OSError:
            os.ftruncate(self._fd, size)
            raise
        self.position = (number, size + written)

    def sync(self) -> None:
        """Everything appended before the call is on the disk when it returns. For another thread."""
        with self._syncing:
            current = self._fd
            while self._full:
                full = self._full.popleft()
                os.fdatasync(full)
                os.close(full)
                if full == current:
                    current = self._fd
            os.fdatasync(current)

    def close(self) -> None:
        """Sync and close. No append may follow."""
        self.sync()
        os.close(self._fd)

    def _create(self, number: int) -> int:
        path = segment_path(self._directory, number)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
