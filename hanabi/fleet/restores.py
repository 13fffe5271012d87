"""Environments that begin as clones: of a function's snapshot (SnapStart), or of one that was put to rest."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from hanabi.base.clock import Clock
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Preload
from hanabi.environment.environment import Environment
from hanabi.environment.hibernated import Rest
from hanabi.errors import SnapshotUnfit, SnapStartFailure, SnapStartTimeout
from hanabi.fleet import start_log
from hanabi.fleet.hibernation import Resting

RESTORE_LIMIT_S = 10.0  # of hooks after a restore; AWS Lambda developer guide, "Runtime hooks for Lambda SnapStart"


class Make(Protocol):
    """A sandbox with an environment around it; None when it is no longer wanted by the time there is room."""

    def __call__(
        self,
        image: RuntimeImage,
        memory_mb: int,
        tmp_mb: int,
        wanted: Callable[[], bool],
        preload: Preload | None,
        *,
        kept: bool = False,
        snapshot: Path | None = None,
    ) -> Awaitable[Environment | None]: ...


class Clones:
    def __init__(self, make: Make, discard: Callable[[Environment], None], resting: Resting, clock: Clock) -> None:
        self._make = make
        self._discard = discard
        self._resting = resting
        self._clock = clock
        self.unfit: set[str] = set()  # names of snapshots of versions that are of no use here, until they are made again

    async def restore(self, image: RuntimeImage, version: FunctionVersion, wanted: Callable[[], bool]) -> Environment | None:
        """A clone of a version's snapshot, its hooks run. Raises `SandboxError` when there can be none."""
        began = self._clock.monotonic()
        try:
            environment = await self._make(image, version.memory_mb, version.tmp_mb, wanted, None, snapshot=version.snapshot)
        except SnapshotUnfit:
            assert version.snapshot is not None
            self.unfit.add(version.snapshot.name)
            raise
        if environment is None:
            return None
        try:
            outcome = await environment.restore(version, RESTORE_LIMIT_S, (self._clock.monotonic() - began) * 1000)
        except BaseException:
            self._discard(environment)
            raise
        if outcome.status == "success":
            environment.origin = start_log.RESTORED
            return environment
        environment.log_init(outcome)
        environment.diary.flush()
        self._discard(environment)
        if outcome.status == "timeout":
            raise SnapStartTimeout("Lambda couldn't restore the snapshot within the timeout limit.")
        raise SnapStartFailure(
            "The afterRestore() runtime hook encountered an error. For more information, check the Amazon CloudWatch logs."
        )

    async def revive(self, image: RuntimeImage, rest: Rest, wanted: Callable[[], bool]) -> Environment | None:
        """Raises `SandboxError`; then what was at rest is lost."""
        version = rest.version
        try:
            environment = await self._make(image, version.memory_mb, version.tmp_mb, wanted, None, snapshot=rest.directory)
            if environment is None:
                self._resting.forget(rest)
                return None
            try:
                await environment.revive(rest, RESTORE_LIMIT_S)
            except BaseException:
                self._discard(environment)
                raise
        except BaseException:
            self._resting.forget(rest)
            raise
        self._resting.remove_files(rest.id, rest.directory)
        environment.origin = start_log.REVIVED
        return environment
