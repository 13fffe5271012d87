"""SnapStart in the control plane: a published version is pending until its snapshot is made or has failed."""

import asyncio
import logging
from collections.abc import Callable, Set
from functools import partial
from pathlib import Path
from typing import Protocol

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.contracts.functions import FunctionVersion
from hanabi.control import versions
from hanabi.control.functions import Functions
from hanabi.control.model import Function, Version
from hanabi.errors import SnapshotFailed, SnapshotImpossible

log = logging.getLogger(__name__)


class Snapshots(Protocol):
    directory: Path  # where they are, by name
    missing: str  # why this host makes none; empty: it does

    async def take(self, version: FunctionVersion) -> str:
        """Initialise a version and take its snapshot; returns its name. Raises `SnapshotFailed` for a fault of the function."""

    async def find_missing(self, names: Set[str]) -> set[str]:
        """Return the snapshots that are missing or unusable here."""


class SnapStart:
    """The snapshots' control. `target` makes the runnable form of a version. `close` it before the registry."""

    def __init__(
        self,
        functions: Functions,
        snapshots: Snapshots | None,
        target: Callable[[Function, Version], FunctionVersion],
        clock: Clock,
        health: Health,
    ) -> None:
        self._functions = functions
        self._snapshots = snapshots
        self._target = target
        self._retries = RetryQueue(clock, health)
        self._under_way: dict[str, asyncio.Task[None]] = {}  # by `FunctionVersion.key`
        self._closing = False
        functions.listen(self._changed)

    def _changed(self, old: Function | None, new: Function | None) -> None:
        """Begin snapshots that are awaited now; cancel those no longer awaited."""
        for version in new.versions.values() if new else ():
            key = new.key(version) if new else ""
            if new and version.awaits_snapshot and key not in self._under_way and not self._closing:
                task = asyncio.create_task(self._optimize(new, version), name=f"snapshot of {new.name}:{version.number}")
                self._under_way[key] = task
                task.add_done_callback(partial(self._end, key))

    def _end(self, key: str, task: "asyncio.Task[None]") -> None:
        del self._under_way[key]

    @property
    def tasks(self) -> list["asyncio.Task[None]"]:
        return list(self._under_way.values())

    async def close(self) -> None:
        """Stop. Missing snapshots are made after the next start."""
        self._closing = True
        for task in self._under_way.values():
            task.cancel()
        while tasks := self.tasks:
            await asyncio.wait(tasks)
        await self._retries.close()

    async def _optimize(self, function: Function, version: Version) -> None:
        snapshots = self._snapshots
        missing = snapshots.missing if snapshots else "this Hanabi makes no snapshots"
        settled: Callable[[Version], Version]
        try:
            if missing or snapshots is None:
                settled = partial(Version.optimized, snapshot="", reason=f"SnapStart has no effect on this host: {missing}")
            else:
                settled = partial(Version.optimized, snapshot=await snapshots.take(self._target(function, version)), reason="")
        except SnapshotImpossible as error:
            settled = partial(Version.optimized, snapshot="", reason=f"SnapStart has no effect on this version here: {error}")
        except SnapshotFailed as error:
            settled = partial(Version.failed, code=error.code, reason=str(error))
        except Exception:
            log.exception("no snapshot of %s:%s", function.name, version.number)
            settled = partial(Version.failed, code="InternalError", reason="An internal error occurred while the snapshot was made.")
        apply = versions.settle_version(version.number, version.generation, settled)
        key, what = f"snapshot.{version.generation}", f"The snapshot of {function.name}:{version.number} is made, but that cannot be stored"
        await self._retries.do(key, what, lambda: self._functions.update(function.name, apply))
