"""A request body on its way into memory or, when large, into a file."""

import os
import tempfile
from pathlib import Path


class Body:
    """Collects chunks: in memory up to `threshold`, then, if there is a spool directory, in a file there."""

    __slots__ = ("size", "_chunks", "_directory", "_threshold", "_file", "_path")

    def __init__(self, directory: Path | None, threshold: int) -> None:
        self.size = 0
        self._chunks: list[bytes] = []
        self._directory = directory
        self._threshold = threshold
        self._file = -1
        self._path: Path | None = None

    @property
    def in_memory(self) -> bool:
        return self._path is None

    def add(self, chunk: bytes) -> None:
        """Take a chunk: at most what one socket read gives (256 KiB), so that a write to the page cache stays well under a millisecond."""
        self.size += len(chunk)
        if self._path is None:
            self._chunks.append(chunk)
            if self._directory is None or self.size <= self._threshold:
                return
            self._file, name = tempfile.mkstemp(dir=self._directory, prefix="body-")
            self._path = Path(name)
            chunks, self._chunks = self._chunks, []
        else:
            chunks = [chunk]
        for piece in chunks:
            view = memoryview(piece)
            while view:
                view = view[os.write(self._file, view) :]

    def finish(self) -> bytes | Path:
        if self._path is None:
            return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        os.close(self._file)
        self._file = -1
        path, self._path = self._path, None  # the receiver's from now on
        return path

    def discard(self) -> None:
        self._chunks.clear()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
