"""Function code at rest: a zip comes in, is checked and unpacked once, and is known by its hash from then on.

`<directory>/<hex sha256>/` holds `code.zip` and the unpacked tree `task/`. Under that name it is complete and on disk.
"""

import asyncio
import base64
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hanabi.errors import InvalidParameterValue, RequestEntityTooLarge, ServiceError
from hanabi.images import unzip
from hanabi.images.unzip import CANNOT, EMPTY, BadZip, sync_directory

ZIP_LIMIT = 50 * 1024 * 1024  # bytes, uploaded directly; AWS Lambda developer guide, "Lambda quotas"
INLINE_LIMIT = 1024 * 1024  # a larger zip is unpacked in a process of its own,
INLINE_INDEX = 32 * 1024  # and so is one with a larger table of contents
UNPACK_S = 120.0
AT_ONCE = 2  # uploads that are worked on; others wait their turn
BLOCK = 1024 * 1024
INCOMING = "incoming-"

_END_RECORD = b"PK\x05\x06"
_END_SIZE = 22  # bytes, of an end record without a comment


@dataclass(frozen=True, slots=True)
class StoredCode:
    """Code that is at rest: `sha256` of the zip in base64 (`CodeSha256`), its `size` in bytes, and the unpacked tree."""

    sha256: str
    size: int
    path: Path


class CodeStore:
    """Content-addressed; the same zip is unpacked once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._workers = ThreadPoolExecutor(AT_ONCE, "code")
        self._storing = 0
        self._collecting = False
        self._claimed: set[Path] = set()  # by uploads under way: those who will refer to them are not told yet
        self._claiming = threading.Lock()

    async def open(self) -> None:
        """Clear what an interrupted upload left."""
        await asyncio.get_running_loop().run_in_executor(self._workers, self._prepare)

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o700)  # sandboxes get a mount of it; nobody else reads what functions are made of
        for left in self._directory.glob(INCOMING + "*"):
            shutil.rmtree(left, ignore_errors=True)

    async def store(self, blob: bytes | Path) -> StoredCode:
        """Check, unpack and keep a zip. Raises `InvalidParameterValue` or `RequestEntityTooLarge` with Lambda's words."""
        self._storing += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, self._store, blob)
        finally:
            self._storing -= 1
            self._release()

    def _release(self) -> None:
        if not self._storing and not self._collecting:
            self._claimed.clear()

    def _store(self, blob: bytes | Path) -> StoredCode:
        size = len(blob) if isinstance(blob, bytes) else blob.stat().st_size
        if size > ZIP_LIMIT:
            raise RequestEntityTooLarge(f"Zip file must be smaller than {ZIP_LIMIT} bytes")
        if size == 0:
            raise InvalidParameterValue(EMPTY)
        incoming = self._directory / f"{INCOMING}{uuid.uuid4().hex}"
        incoming.mkdir()
        incoming.chmod(0o755)
        try:
            digest = _save(blob, incoming / "code.zip")
            final = self._directory / digest.hex()
            with self._claiming:
                self._claimed.add(final / "task")
            if not final.is_dir():
                _unpack(incoming / "code.zip", incoming / "task")
                _publish(incoming, final)
        except BadZip as error:
            raise InvalidParameterValue(str(error)) from None
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return StoredCode(base64.b64encode(digest).decode(), size, final / "task")

    def place(self, sha256: str) -> Path:
        """The unpacked tree of the code with this `CodeSha256`, if it is there."""
        return self._directory / base64.b64decode(sha256).hex() / "task"

    def zip_path(self, sha256: str) -> Path:
        """The stored zip with this `CodeSha256`."""
        return self._directory / base64.b64decode(sha256).hex() / "code.zip"

    async def collect(self, referenced: Set[Path]) -> None:
        """Remove the code that is referred to by nothing: neither by `referenced` nor by an upload under way."""
        self._collecting = True
        try:
            await asyncio.get_running_loop().run_in_executor(self._workers, self._collect, referenced)
        finally:
            self._collecting = False
            self._release()

    def _collect(self, referenced: Set[Path]) -> None:
        for entry in list(self._directory.iterdir()):
            if entry.name.startswith(INCOMING) or entry / "task" in referenced:
                continue
            doomed = self._directory / f"{INCOMING}{uuid.uuid4().hex}"
            with self._claiming:
                if entry / "task" in self._claimed:
                    continue
                entry.rename(doomed)  # half of it must never be found under its name
            shutil.rmtree(doomed, ignore_errors=True)


def _save(blob: bytes | Path, target: Path) -> bytes:
    """Bring the zip to disk; returns its SHA-256."""
    digest = hashlib.sha256()
    with target.open("xb", buffering=0) as file:
        for block in _blocks(blob):
            digest.update(block)
            file.write(block)
        os.fsync(file.fileno())
    return digest.digest()


def _blocks(blob: bytes | Path) -> Iterator[bytes | memoryview]:
    if isinstance(blob, bytes):
        view = memoryview(blob)
        yield from (view[start : start + BLOCK] for start in range(0, len(view), BLOCK))
        return
    with blob.open("rb", buffering=0) as source:
        while block := source.read(BLOCK):
            yield block


def _unpack(archive: Path, target: Path) -> None:
    """In this process when that is quick, else in one of its own. Raises `BadZip`."""
    if _is_quick(archive):
        unzip.unpack(archive, target)
        return
    command = (sys.executable, "-I", "-S", unzip.__file__, archive, target)
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=UNPACK_S)
    except subprocess.TimeoutExpired:
        raise BadZip(CANNOT) from None
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode == BadZip.EXIT:
        raise BadZip(said)
    if done.returncode == -signal.SIGXCPU:
        raise BadZip(CANNOT)
    if done.returncode:
        raise ServiceError(f"the code could not be unpacked: {said[-500:]}")


def _is_quick(archive: Path) -> bool:
    """Whether it is small by its size and by its table of contents, for which the interpreter's lock would be held."""
    size = archive.stat().st_size
    if not _END_SIZE <= size <= INLINE_LIMIT:
        return False
    with archive.open("rb") as file:
        file.seek(size - _END_SIZE)
        end = file.read(_END_SIZE)
    return end.startswith(_END_RECORD) and int.from_bytes(end[12:16], "little") <= INLINE_INDEX


def _publish(incoming: Path, final: Path) -> None:
    """Rename into place; another upload of the same bytes may have been quicker."""
    sync_directory(os.fsencode(incoming))
    try:
        incoming.rename(final)
    except OSError:
        if not final.is_dir():
            raise
    sync_directory(os.fsencode(final.parent))
