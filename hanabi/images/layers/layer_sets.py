"""The layers of a function, merged into the one directory that becomes /opt.

`<directory>/<digest>/opt` is a set of several layers: made once, of hard links to the unpacked zips in the code store, and made again
when it is missing. A single layer needs none: its unpacked zip is mounted as it is.
"""

import asyncio
import base64
import errno
import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Sequence, Set
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.files import make_private_directory, remove_tree
from hanabi.base.tasks import SingleFlight
from hanabi.errors import CodeError
from hanabi.images.code.unzip import sync_filesystem
from hanabi.images.paths import make_readable
from hanabi.images.trash import Trash

INCOMING = "incoming-"
_NAME = re.compile(r"[0-9a-f]{64}")
_UNLINKABLE = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP)


class LayerSets:
    """The sets. A set is the hashes of its layers' zips (base64), later ones over earlier ones. `place_of` is where one is unpacked."""

    def __init__(self, directory: Path, place_of: Callable[[str], Path], clock: Clock | None = None) -> None:
        self._directory = directory
        self._place_of = place_of
        self._trash = Trash(directory, clock)
        self._merging: SingleFlight[Path, None] = SingleFlight()

    async def open(self) -> None:
        """Remove what an interrupted merge left."""
        await asyncio.to_thread(self._prepare)

    def _prepare(self) -> None:
        make_private_directory(self._directory)  # sandboxes get a mount of it
        for left in self._directory.glob(INCOMING + "*"):
            remove_tree(left)

    def place(self, hashes: Sequence[str]) -> Path:
        """Where a set is, if it exists."""
        if len(hashes) == 1:
            return self._place_of(hashes[0])
        digest = hashlib.sha256(b"".join(base64.b64decode(each) for each in hashes)).hexdigest()
        return self._directory / digest / "opt"

    async def ensure(self, hashes: Sequence[str]) -> Path:
        """Return where a set is, merged now if it is missing. Its layers must be unpacked. Raises `CodeError`."""
        place = self.place(hashes)
        if len(hashes) > 1:
            await self._merging.run(place, lambda: asyncio.to_thread(self._ensure, place, hashes), f"merge of {len(hashes)} layers")
        return place

    def _ensure(self, place: Path, hashes: Sequence[str]) -> None:
        final = place.parent
        if final.is_dir() and not _has_entries(place):  # of a copy that was broken off
            remove_tree(final)
        if not final.is_dir() and not self._trash.recover(final):
            incoming = self._directory / f"{INCOMING}{uuid.uuid4().hex}"
            make_private_directory(incoming)
            try:
                for each in hashes:
                    merge(self._place_of(each), incoming / "opt")
                sync_filesystem(os.fsencode(incoming))
                incoming.rename(final)
            except OSError as error:
                raise CodeError(f"The function's layers cannot be merged: {error}") from None
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
        make_readable(place, final)

    async def collect(self, used: Set[Path]) -> None:
        """Move to the trash sets that have long not been in `used` (`place`s)."""
        await asyncio.to_thread(self._collect, used)

    def _collect(self, used: Set[Path]) -> None:
        for entry in list(self._directory.iterdir()):
            if not _NAME.fullmatch(entry.name):
                continue
            if entry / "opt" in used:
                self._trash.mark_used(entry.name)
            elif entry / "opt" not in self._merging and self._trash.is_due(entry.name):
                self._trash.discard(entry)
        self._trash.empty()

    async def close(self) -> None:
        """Wait for merges to end."""
        await self._merging.join()


def _has_entries(directory: Path) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(entries)
    except OSError:
        return False


def merge(layer: Path, target: Path) -> None:
    """Put an unpacked layer over what is in a target: its entries replace those of the same name, directories are joined.

    Symbolic links are entries like files, never followed. Files are hard links where that is possible.
    """
    waiting = [(os.fsencode(layer), os.fsencode(target))]
    while waiting:
        here, there = waiting.pop()
        if not _is_directory(there):
            _remove(there)
            os.mkdir(there)
            os.chmod(there, 0o755)
        with os.scandir(here) as entries:
            for entry in entries:
                name = os.path.join(there, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, name))
                    continue
                _remove(name)
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), name)
                else:
                    _link(entry.path, name)


def _is_directory(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _remove(path: bytes) -> None:
    if _is_directory(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _link(source: bytes, name: bytes) -> None:
    try:
        os.link(source, name, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _UNLINKABLE:
            raise
        shutil.copy2(source, name, follow_symlinks=False)
