"""Function code at rest: a zip comes in, is checked and unpacked once, and is known by its hash from then on.

`<directory>/<hex sha256>/` holds `code.zip` and the unpacked tree `task/`. A directory with that name is complete: it was renamed
into place.
"""

import asyncio
import base64
import hashlib
import os
import shutil
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from hanabi.errors import InvalidParameterValue, RequestEntityTooLarge, ServiceError
from hanabi.images.unzip import BadZip, unpack

ZIP_LIMIT = 50 * 1024 * 1024  # bytes, uploaded directly; AWS Lambda developer guide, "Lambda quotas"
INLINE_LIMIT = 1024 * 1024  # a larger zip is unpacked in a process of its own
UNPACK_S = 120.0
INCOMING = "incoming-"


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

    async def open(self) -> None:
        """Clear what an interrupted upload left."""
        await asyncio.to_thread(self._prepare)

    def _prepare(self) -> None:
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for left in self._directory.glob(INCOMING + "*"):
            shutil.rmtree(left, ignore_errors=True)

    async def store(self, blob: bytes | Path) -> StoredCode:
        """Check, unpack and keep a zip. Raises `InvalidParameterValue` or `RequestEntityTooLarge` with Lambda's words."""
        size = len(blob) if isinstance(blob, bytes) else (await asyncio.to_thread(blob.stat)).st_size
        if size > ZIP_LIMIT:
            raise RequestEntityTooLarge(f"Zip file must be smaller than {ZIP_LIMIT} bytes")
        if size == 0:
            raise InvalidParameterValue("Uploaded file must be a non-empty zip")
        digest = await asyncio.to_thread(_digest, blob)
        final = self._directory / digest.hex()
        if not final.is_dir():
            await self._add(blob, size, final)
        return StoredCode(base64.b64encode(digest).decode(), size, final / "task")

    async def _add(self, blob: bytes | Path, size: int, final: Path) -> None:
        incoming = self._directory / f"{INCOMING}{uuid.uuid4().hex}"
        try:
            await asyncio.to_thread(_place, blob, incoming)
            if size <= INLINE_LIMIT:
                await asyncio.to_thread(unpack, incoming / "code.zip", incoming / "task")
            else:
                await self._unpack_apart(incoming)
            await asyncio.to_thread(_publish, incoming, final)
        except BadZip as error:
            raise InvalidParameterValue(str(error)) from None
        finally:
            await asyncio.to_thread(shutil.rmtree, incoming, ignore_errors=True)

    async def _unpack_apart(self, incoming: Path) -> None:
        command = (sys.executable, "-m", "hanabi.images.unzip", str(incoming / "code.zip"), str(incoming / "task"))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(UNPACK_S):
                _, said = await process.communicate()
        except TimeoutError:
            raise BadZip("Could not unzip uploaded file. Please check your file, then try to upload again.") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == BadZip.EXIT:
            raise BadZip(said.decode("utf-8", "replace").strip())
        if process.returncode:
            raise ServiceError(f"unpacking failed: {said.decode('utf-8', 'replace').strip()[-500:]}")

    def zip_path(self, sha256: str) -> Path:
        """The stored zip with this `CodeSha256`."""
        return self._directory / base64.b64decode(sha256).hex() / "code.zip"

    async def collect(self, referenced: set[Path]) -> None:
        """Remove the code that no function refers to any more."""
        await asyncio.to_thread(self._collect, referenced)

    def _collect(self, referenced: set[Path]) -> None:
        for entry in self._directory.iterdir():
            if not entry.name.startswith(INCOMING) and entry / "task" not in referenced:
                shutil.rmtree(entry, ignore_errors=True)


def _digest(blob: bytes | Path) -> bytes:
    if isinstance(blob, bytes):
        return hashlib.sha256(blob).digest()
    with blob.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _place(blob: bytes | Path, incoming: Path) -> None:
    """The zip, on disk, in a directory of its own that other users may pass through."""
    incoming.mkdir(mode=0o755)
    target = incoming / "code.zip"
    with target.open("wb") as file:
        if isinstance(blob, bytes):
            file.write(blob)
        else:
            with blob.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())


def _publish(incoming: Path, final: Path) -> None:
    """Rename into place; another upload of the same bytes may have been quicker."""
    try:
        incoming.rename(final)
    except OSError:
        if not final.is_dir():
            raise
    directory = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
