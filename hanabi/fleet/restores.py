"""Environments restored from a function's snapshot (SnapStart) or from hibernation."""

import logging
from collections.abc import Callable

from hanabi.base.clock import Clock
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.environment.environment import Environment
from hanabi.environment.hibernated import HibernatedEnvironment
from hanabi.errors import HanabiError, SnapshotImpossible, SnapshotUnusable, SnapStartFailure, SnapStartTimeout
from hanabi.fleet import start_log
from hanabi.fleet.environments import Environments
from hanabi.fleet.hibernation import Hibernation
from hanabi.fleet.maker import Maker
from hanabi.quotas import RESTORE_TIMEOUT_S, TMP_MIN_MB

log = logging.getLogger(__name__)


class Restores:
    """Makes environments from what `Sandbox.snapshot` wrote."""

    def __init__(self, environments: Environments, maker: Maker, hibernation: Hibernation, clock: Clock) -> None:
        self._environments = environments
        self._maker = maker
        self._hibernation = hibernation
        self._clock = clock
        self.unusable: set[str] = set()  # names of snapshots that this host cannot use, until they are made again

    async def restore(self, image: RuntimeImage, version: FunctionVersion, wanted: Callable[[], bool]) -> Environment | None:
        """Restore a version's snapshot and run its hooks. Raises `SandboxError` when that fails."""
        began = self._clock.monotonic()
        try:
            environment = await self._make(image, version, wanted)
        except SnapshotUnusable:
            assert version.snapshot is not None
            self.unusable.add(version.snapshot.name)
            raise
        if environment is None:
            return None
        try:
            outcome = await environment.restore(version, RESTORE_TIMEOUT_S, (self._clock.monotonic() - began) * 1000)
        except BaseException:
            self._environments.discard(environment)
            raise
        if outcome.status == "success":
            environment.origin = start_log.FROM_SNAPSHOT
            return environment
        self._environments.discard(environment)
        if outcome.status == "timeout":
            raise SnapStartTimeout("Lambda couldn't restore the snapshot within the timeout limit.")
        raise SnapStartFailure(
            "The afterRestore() runtime hook encountered an error. For more information, check the Amazon CloudWatch logs."
        )

    async def _make(self, image: RuntimeImage, version: FunctionVersion, wanted: Callable[[], bool]) -> Environment | None:
        """Make an environment with what is in the version's snapshot. Raises `SandboxError`."""
        if not self._maker.copies_processes:
            return await self._maker.make(image, version.memory_mb, version.tmp_mb, wanted, snapshot=version.snapshot)
        environment = self._maker.take_pooled(image, version.memory_mb, pinned=False) if version.tmp_mb == TMP_MIN_MB else None
        environment = environment or await self._maker.make(image, version.memory_mb, version.tmp_mb, wanted)
        if environment is None:
            return None
        try:
            await environment.copy_process(version)
        except BaseException:
            self._environments.discard(environment)
            raise
        return environment

    async def try_copy(self, image: RuntimeImage, version: FunctionVersion) -> None:
        """Try a new snapshot of a process once, so that no version waits at each start for what cannot be. Raises `SnapshotImpossible`."""
        if not self._maker.copies_processes:
            return
        try:
            environment = await self._make(image, version, lambda: True)
        except SnapshotUnusable as error:
            raise SnapshotImpossible(f"this host makes no copy of its process: {error}") from None
        except HanabiError as error:  # a full host, for one: that is no fault of the snapshot's
            log.info("the snapshot of %s:%s was not tried: %s", version.name, version.version, error)
            return
        if environment is not None:
            self._environments.discard(environment)

    async def resume(self, image: RuntimeImage, hibernated: HibernatedEnvironment, wanted: Callable[[], bool]) -> Environment | None:
        """Resume a hibernated environment. Raises `SandboxError`; then it is lost."""
        version = hibernated.version
        try:
            environment = await self._maker.make(image, version.memory_mb, version.tmp_mb, wanted, snapshot=hibernated.directory)
            if environment is None:
                self._hibernation.forget(hibernated)
                return None
            try:
                await environment.resume(hibernated, RESTORE_TIMEOUT_S)
            except BaseException:
                self._environments.discard(environment)
                raise
        except BaseException:
            self._hibernation.forget(hibernated)
            raise
        self._hibernation.remove_files(hibernated.id, hibernated.directory)
        environment.origin = start_log.RESUMED
        return environment
