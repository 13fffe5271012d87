"""The store of function code: each zip is checked and unpacked once, and addressed by its hash.

`<directory>/<hex sha256>/` holds `code.zip` and the unpacked tree `task/`. Under that name it is complete and synced; what a copy or
an accident has left incomplete is repaired from the zip, or from the trash, on demand.
"""

import asyncio
import base64
import hashlib
import os
import re
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

from hanabi.base.clock import Clock
from hanabi.base.files import make_private_directory
from hanabi.errors import CodeError, InvalidParameterValue, RequestEntityTooLarge, ServiceError
from hanabi.images.code import unzip
from hanabi.images.code.unzip import CANNOT, EMPTY, BadZip, sync_directory
from hanabi.images.paths import make_readable
from hanabi.images.trash import Trash

ZIP_LIMIT_BYTES = (
    300 * 1024 * 1024
)  # bytes: more than what unpacks to Lambda's 250 MB ever has; direct uploads have their own limit, in the edge
INLINE_LIMIT_BYTES = 1024 * 1024  # a larger zip is unpacked in a process of its own,
INLINE_INDEX_BYTES = 32 * 1024  # and so is one with a larger table of contents
UNPACK_S = 120.0
CONCURRENT_UNPACKS = 2  # uploads that are worked on; others wait their turn
BLOCK_BYTES = 1024 * 1024
INCOMING = "incoming-"

_NAME = re.compile(r"[0-9a-f]{64}")
_END_RECORD = b"PK\x05\x06"
_END_SIZE = 22  # bytes, of an end record without a comment


@dataclass(frozen=True, slots=True)
class StoredCode:
    """Code on disk: `sha256` of the zip in base64 (`CodeSha256`), its `size` in bytes, and the unpacked tree."""

    sha256: str
    size: int
    path: Path


class CodeStore:
    """A content-addressed store; the same zip is unpacked once."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self._directory = directory
        self._trash = Trash(directory, clock)
        self._workers = ThreadPoolExecutor(CONCURRENT_UNPACKS, "code")
        self._storing = 0
        self._collecting = False
        self._claimed: set[Path] = set()  # by running uploads, which nothing refers to yet
        self._claiming = threading.Lock()
        self._mending = threading.Lock()

    async def open(self) -> None:
        """Remove what an interrupted upload left."""
        await asyncio.get_running_loop().run_in_executor(self._workers, self._prepare)

    def _prepare(self) -> None:
        make_private_directory(self._directory)  # sandboxes get a mount of it; function code is private
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
        if size > ZIP_LIMIT_BYTES:
            raise RequestEntityTooLarge(f"Zip file must be smaller than {ZIP_LIMIT_BYTES} bytes")
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
            self._complete(incoming, final, digest)
        except BadZip as error:
            raise InvalidParameterValue(str(error)) from None
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return StoredCode(base64.b64encode(digest).decode(), size, final / "task")

    def _complete(self, incoming: Path, final: Path, digest: bytes) -> None:
        """Complete `final` from what exists, from the trash, and from the uploaded zip."""
        if not final.is_dir() and not self._trash.recover(final):
            _unpack(incoming / "code.zip", incoming / "task")
            _publish(incoming, final)
            return
        if _hash(final / "code.zip") != digest:
            (incoming / "code.zip").rename(final / "code.zip")
            sync_directory(os.fsencode(final))
        if not _has_tree(final):
            self._unpack_again(final)
        make_readable(final / "task", final)

    def _unpack_again(self, final: Path) -> None:
        fresh = self._directory / f"{INCOMING}{uuid.uuid4().hex}"
        with self._mending:
            if _has_tree(final):
                return
            fresh.mkdir()
            try:
                _unpack(final / "code.zip", fresh / "task")
                (fresh / "task").rename(final / "task")  # there was none, or an empty one
                sync_directory(os.fsencode(final))
            finally:
                shutil.rmtree(fresh, ignore_errors=True)

    @property
    def is_empty(self) -> bool:
        """Whether the store has no code. Blocks briefly; for use at the start."""
        return not any(_NAME.fullmatch(name) for name in os.listdir(self._directory))

    async def find(self, hashes: Set[str]) -> dict[str, CodeError]:
        """Check the code with these `CodeSha256`, and repair it if possible. Returns what is wrong with each that cannot be used."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, self._find_all, hashes)

    def _find_all(self, hashes: Set[str]) -> dict[str, CodeError]:
        faults = {}
        for sha256 in hashes:
            try:
                self._find(self.place(sha256).parent)
            except CodeError as error:
                faults[sha256] = error
            except (BadZip, ServiceError, OSError) as error:
                faults[sha256] = CodeError(f"The function's code cannot be unpacked again: {error}")
        return faults

    def _find(self, final: Path) -> None:
        """Check one, as `find`. Raises `CodeError`."""
        if not _has_tree(final):
            if not final.is_dir():
                self._trash.recover(final)
            if not _has_tree(final):
                digest = _hash(final / "code.zip")
                fix = "Upload the same zip again, or bring that directory back from a copy of the data directory."
                if not digest:
                    raise CodeError(f"The function's code is not there: code/{final.name} in the data directory. {fix}")
                if digest.hex() != final.name:
                    damaged = f"The function's code is damaged: code/{final.name}/code.zip in the data directory. {fix}"
                    raise CodeError(damaged, "InvalidZipFileException")
                self._unpack_again(final)
        make_readable(final / "task", final)

    def place(self, sha256: str) -> Path:
        """The unpacked tree of the code with this `CodeSha256`, if it exists."""
        return self._directory / base64.b64decode(sha256).hex() / "task"

    async def measure(self, sha256: str) -> int:
        """The size of unpacked code: of its files, in bytes."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, _measure, self.place(sha256))

    def zip_path(self, sha256: str) -> Path:
        """The stored zip with this `CodeSha256`."""
        return self._directory / base64.b64decode(sha256).hex() / "code.zip"

    async def collect(self, referenced: Set[Path]) -> None:
        """Move to the trash code that has long been in neither `referenced` (`place`s) nor a running upload."""
        self._collecting = True
        try:
            await asyncio.get_running_loop().run_in_executor(self._workers, self._collect, referenced)
        finally:
            self._collecting = False
            self._release()

    def _collect(self, referenced: Set[Path]) -> None:
        for entry in list(self._directory.iterdir()):
            if not _NAME.fullmatch(entry.name):
                continue
            with self._claiming:
                if entry / "task" in referenced or entry / "task" in self._claimed:
                    self._trash.mark_used(entry.name)
                elif self._trash.is_due(entry.name):
                    self._trash.discard(entry)
        self._trash.empty()


def _save(blob: bytes | Path, target: Path) -> bytes:
    """Write the zip to disk; returns its SHA-256."""
    digest = hashlib.sha256()
    with target.open("xb", buffering=0) as file:
        for block in _blocks(blob):
            digest.update(block)
            file.write(block)
        os.fsync(file.fileno())
    return digest.digest()


def _hash(archive: Path) -> bytes:
    """Hash a file; empty when it is absent, or cannot be read."""
    try:
        with archive.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def _measure(tree: Path) -> int:
    return sum(os.lstat(os.path.join(directory, name)).st_size for directory, _, files in os.walk(tree) for name in files)


def _has_tree(final: Path) -> bool:
    try:
        with os.scandir(final / "task") as entries:
            return any(entries)
    except OSError:
        return False


def _blocks(blob: bytes | Path) -> Iterator[bytes | memoryview]:
    if isinstance(blob, bytes):
        view = memoryview(blob)
        yield from (view[start : start + BLOCK_BYTES] for start in range(0, len(view), BLOCK_BYTES))
        return
    with blob.open("rb", buffering=0) as source:
        while block := source.read(BLOCK_BYTES):
            yield block


def _unpack(archive: Path, target: Path) -> None:
    """Unpack in this process when that is quick, else in a process of its own. Raises `BadZip`."""
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
    """Whether a zip is small in bytes and in entries: unpacking in this process holds the interpreter lock."""
    size = archive.stat().st_size
    if not _END_SIZE <= size <= INLINE_LIMIT_BYTES:
        return False
    with archive.open("rb") as file:
        file.seek(size - _END_SIZE)
        end = file.read(_END_SIZE)
    return end.startswith(_END_RECORD) and int.from_bytes(end[12:16], "little") <= INLINE_INDEX_BYTES


def _publish(incoming: Path, final: Path) -> None:
    """Rename into place, unless another upload of the same bytes was quicker."""
    sync_directory(os.fsencode(incoming))
    try:
        incoming.rename(final)
    except OSError:
        if not final.is_dir():
            raise
    sync_directory(os.fsencode(final.parent))
