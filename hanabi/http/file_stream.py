"""A file as the body of a response."""

import asyncio
import os
from pathlib import Path
from typing import Self

PIECE_BYTES = 256 * 1024  # read at a time: what is in memory of a file, however slowly its client takes it


class FileStream:
    """A `ByteStream` of an open file, read by a thread."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = path.open("rb", buffering=0)
        self.size_bytes = os.fstat(self._file.fileno()).st_size

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await asyncio.to_thread(self._file.read, PIECE_BYTES)
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._file.close()
