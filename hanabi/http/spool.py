"""A request body on its way into memory or, when large, into a file."""

import asyncio
import os
import tempfile
from pathlib import Path

SMALL_BYTES = 4096


def delete_spooled(path: Path) -> None:
    """Delete a spool file, off the loop: freeing tens of megabytes takes the kernel milliseconds."""
    asyncio.get_running_loop().run_in_executor(None, path.unlink, True)


class BodyBuffer:
    """Collects chunks: in memory up to `threshold`, then, if there is a spool directory, in a file there."""

    __slots__ = ("size", "_chunks", "_directory", "_threshold", "_file", "_path")

    def __init__(self, directory: Path | None, threshold: int) -> None:
        self.size = 0
        self._chunks: list[bytes | bytearray] = []
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
        chunks: list[bytes | bytearray] = [chunk]
        if self._path is None:
            self._keep(chunk)
            if self._directory is None or self.size <= self._threshold:
                return
            self._file, name = tempfile.mkstemp(dir=self._directory, prefix="body-")
            self._path = Path(name)
            chunks, self._chunks = self._chunks, []
        for piece in chunks:
            view = memoryview(piece)
            while view:
                view = view[os.write(self._file, view) :]

    def _keep(self, chunk: bytes) -> None:
        """Keep a chunk in memory. Small ones are joined: each alone would take many times its size."""
        if self._chunks and len(chunk) < SMALL_BYTES:
            last = self._chunks[-1]
            if isinstance(last, bytearray):
                last += chunk
            else:
                self._chunks.append(bytearray(chunk))
        else:
            self._chunks.append(chunk)

    def finish(self) -> bytes | Path:
        if self._path is None:
            only = self._chunks[0] if len(self._chunks) == 1 else None
            return only if isinstance(only, bytes) else b"".join(self._chunks)
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
