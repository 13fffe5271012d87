"""Blobs on disk: `blobs/sha256/<hex>` in the images directory, shared by all images, complete and verified.

A blob is downloaded to `blobs/incoming/<hex>`; an interrupted download is resumed there.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPException
from pathlib import Path

from hanabi.base import locks
from hanabi.errors import ImageError
from hanabi.images.containers.manifests import Descriptor
from hanabi.images.containers.registry_client import Blob
from hanabi.images.trash import Trash

BLOCK_BYTES = 1 << 20
ATTEMPTS = 5  # that bring nothing, one after the other; one that brings something is followed by another
PAUSE_S = 0.2  # before the second attempt, twice as long before each further one
ABANDONED_S = 86_400.0  # an incoming blob that has not grown for so long is removed

OpenAt = Callable[[int], AbstractContextManager[tuple[Blob, int]]]


class Blobs:
    def __init__(self, directory: Path) -> None:
        self._kept, self._incoming = directory / "blobs" / "sha256", directory / "blobs" / "incoming"
        for place in (self._kept, self._incoming):
            place.mkdir(parents=True, exist_ok=True)
        (directory / "blobs").chmod(0o700)  # only roots are for others to see

    def path(self, descriptor: Descriptor) -> Path:
        return self._kept / descriptor.hex

    def fetch(self, descriptor: Descriptor, open_at: OpenAt, progress: Callable[[int], None] = lambda done: None) -> Path:
        """Return the blob's file, downloaded and checked if absent. `open_at` opens the source at an offset. Raises `ImageError`."""
        final = self._kept / descriptor.hex
        with self._claim(descriptor.hex) as incoming:
            if final.exists():
                if final.stat().st_size != descriptor.size:
                    raise ImageError(f"{descriptor.digest} has {final.stat().st_size} bytes, not {descriptor.size}", "invalid")
                return final
            self._complete(incoming, descriptor, open_at, progress)
            os.fsync(incoming)
            (self._incoming / descriptor.hex).rename(final)
        return final

    def read(self, descriptor: Descriptor, open_at: OpenAt) -> bytes:
        """Read a small blob."""
        return self.fetch(descriptor, open_at).read_bytes()

    @contextmanager
    def _claim(self, name: str) -> Iterator[int]:
        """Claim the incoming file of a blob, for one process at a time."""
        path = self._incoming / name
        while True:
            file = locks.open_lock(path)
            try:
                locks.acquire(file)
                if locks.is_at(file, path):  # else another process has finished it, or removed it, meanwhile
                    yield file
                    if locks.is_at(file, path):  # the blob was there already
                        path.unlink()
                    return
                if (self._kept / name).exists():
                    yield file
                    return
            finally:
                os.close(file)

    def _complete(self, file: int, descriptor: Descriptor, open_at: OpenAt, progress: Callable[[int], None]) -> None:
        done, checked = _resume(file, descriptor.size)
        failures = 0
        while done < descriptor.size:
            before = done
            try:
                with open_at(done) as (stream, start):
                    if start != done:
                        done, checked = start, hashlib.sha256()
                        os.ftruncate(file, done)
                    while block := stream.read(min(BLOCK_BYTES, descriptor.size - done + 1)):
                        done += len(block)
                        if done > descriptor.size:
                            raise _wrong(file, f"{descriptor.digest} goes on after its {descriptor.size} bytes")
                        os.pwrite(file, block, done - len(block))
                        checked.update(block)
                        progress(done)
                reason = f"it ends after {done} of {descriptor.size} bytes"
            except (OSError, HTTPException) as error:
                reason = str(error)
            except ImageError as error:
                if error.kind != "unavailable":
                    raise
                reason = str(error)
            if done == descriptor.size:
                break
            failures = 0 if done > before else failures + 1
            if failures >= ATTEMPTS:
                raise ImageError(f"{descriptor.digest} cannot be had: {reason}")
            time.sleep(PAUSE_S * 2**failures)
        if checked.hexdigest() != descriptor.hex:
            raise _wrong(file, f"what was to be {descriptor.digest} is sha256:{checked.hexdigest()}")

    def remove(self, descriptor: Descriptor) -> None:
        (self._kept / descriptor.hex).unlink(missing_ok=True)

    def collect(self, used: Set[str], trash: Trash) -> None:
        """Move to the trash blobs that have long not been `used` (hexadecimal); remove abandoned downloads. No fetch may run."""
        for path in self._kept.iterdir():
            if path.name in used:
                trash.mark_used(path.name)
            elif trash.is_due(path.name):
                trash.discard(path)
        for path in self._incoming.iterdir():
            if path.stat().st_mtime < time.time() - ABANDONED_S:
                path.unlink(missing_ok=True)


def _resume(file: int, size: int) -> "tuple[int, hashlib._Hash]":
    """The state of an incoming file: (bytes present, their hash so far)."""
    checked, done = hashlib.sha256(), 0
    while block := os.pread(file, BLOCK_BYTES, done):
        done += len(block)
        checked.update(block)
    if done > size:
        os.ftruncate(file, 0)
        return 0, hashlib.sha256()
    return done, checked


def _wrong(file: int, message: str) -> ImageError:
    """Discard a wrong download, which must not be resumed."""
    os.ftruncate(file, 0)
    return ImageError(message, "invalid")
