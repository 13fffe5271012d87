"""SnapStart snapshots: made once for each published version, kept as long as the version, restored at every cold start.

`<directory>/<name>/` is always complete. It holds a function's memory with its secrets: the directory is closed to other users.
"""

import asyncio
import hashlib
import re
import shutil
from collections.abc import Set
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.files import make_private_directory, sync_path
from hanabi.contracts.fleet import InitFailed
from hanabi.contracts.functions import FunctionVersion
from hanabi.errors import SnapshotFailed
from hanabi.fleet.fleet import Fleet
from hanabi.images.trash import Trash

_NAME = re.compile(r"[0-9a-f]{32}")
_DRAFT = "draft-"
_CODES = {
    "Runtime.InvalidEntrypoint": "FunctionError.InvalidEntryPoint",
    "Runtime.InvalidWorkingDir": "FunctionError.InvalidWorkingDirectory",
    "Runtime.OutOfMemory": "FunctionError.InitResourceExhausted",
}


class Snapshots:
    """The snapshots, as `control` uses them. `missing` says why there can be none on this host."""

    def __init__(self, directory: Path, fleet: Fleet, missing: str, clock: Clock | None = None) -> None:
        self.directory = directory
        self._trash = Trash(directory, clock)
        self.missing = missing
        self._fleet = fleet
        self._fresh: set[str] = set()  # being made, or made and not yet seen in use

    async def take(self, version: FunctionVersion) -> str:
        """Run init and hooks, take the snapshot, and return its name once it is on disk. Raises `SnapshotFailed`."""
        name = hashlib.sha256(version.key.encode()).hexdigest()[:32]
        await asyncio.to_thread(self._begin, name)
        self._fresh.add(name)
        try:
            try:
                await self._fleet.snapshot(version, self._draft(name))
            except InitFailed as failed:
                raise _explain(failed) from None
            await asyncio.to_thread(self._finish, name)
        except BaseException:
            self._fresh.discard(name)
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, self._draft(name), ignore_errors=True)
        return name

    def _draft(self, name: str) -> Path:
        return self.directory / f"{_DRAFT}{name}"

    def _begin(self, name: str) -> None:
        make_private_directory(self.directory)
        for left in (self._draft(name), self.directory / name):  # of a run that ended before it was stored
            shutil.rmtree(left, ignore_errors=True)
        self._draft(name).mkdir(mode=0o700)

    def _finish(self, name: str) -> None:
        self._draft(name).rename(self.directory / name)
        self._fleet.unusable_snapshots.discard(name)
        sync_path(self.directory)

    async def find_missing(self, names: Set[str]) -> set[str]:
        """Return those neither here nor in the trash, and those that this host cannot use."""
        unusable = self._fleet.unusable_snapshots & names
        return unusable | await asyncio.to_thread(lambda: {name for name in names if not self._is_there(self.directory / name)})

    def _is_there(self, place: Path) -> bool:
        return place.is_dir() or self._trash.recover(place)

    async def collect(self, used: Set[str]) -> None:
        """Move snapshots to the trash that no version has used for long."""
        self._fresh -= used
        await asyncio.to_thread(self._remove_all_but, used | self._fresh)

    def _remove_all_but(self, kept: Set[str]) -> None:
        if not self.directory.is_dir():
            return
        for entry in list(self.directory.iterdir()):
            name = entry.name.removeprefix(_DRAFT)
            if not _NAME.fullmatch(name):
                continue
            if name in kept:
                self._trash.mark_used(name)
            elif entry.name != name:  # it was begun, and never was one
                shutil.rmtree(entry, ignore_errors=True)
            elif self._trash.is_due(name):
                self._trash.discard(entry)
        self._trash.empty()


def _explain(failed: InitFailed) -> SnapshotFailed:
    outcome = failed.outcome
    if outcome.status == "timeout":
        return SnapshotFailed("The function timed out while it was initialized for its snapshot.", "FunctionError.InitTimeout")
    code = _CODES.get(outcome.error_type or "", "FunctionError.RuntimeInitError")
    return SnapshotFailed(f"The function failed while it was initialized for its snapshot: {outcome.error_type}", code)
