"""The fleet: all execution environments of this host. Wires its parts and is what the rest of the server calls."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hanabi.base.health import Health
from hanabi.base.tasks import Tasks
from hanabi.contracts.functions import Allocation, FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Driver
from hanabi.environment.environment import Environment
from hanabi.environment.shared import SharedServices
from hanabi.errors import ShuttingDown
from hanabi.fleet.environments import Environments
from hanabi.fleet.handover import Handover
from hanabi.fleet.hibernation import Hibernation
from hanabi.fleet.leases import Leases
from hanabi.fleet.listing import describe_budget, describe_environment, describe_hibernated
from hanabi.fleet.maker import Maker
from hanabi.fleet.pressure import MemoryReading, Pressure
from hanabi.fleet.provisioned import Provisioned
from hanabi.fleet.reaper import Reaper
from hanabi.fleet.refill import Refill
from hanabi.fleet.restores import Restores
from hanabi.fleet.settings import FleetSettings
from hanabi.fleet.start_limiter import StartLimiter
from hanabi.fleet.starter import EnsureImage, Purpose, Starter, StartRequest, init_limit_s
from hanabi.fleet.waiting import WaitingCallers

CONCURRENT_STARTS = max(2, os.cpu_count() or 1)


class Fleet:
    """The fleet. `take_idle` and `release` are the warm path; `lease` waits for a start."""

    def __init__(
        self,
        driver: Driver,
        ensure_image: EnsureImage,
        shared: SharedServices,
        settings: FleetSettings,
        read_memory: Callable[[], MemoryReading] = lambda: MemoryReading(1, 1),  # never scarce
        health: Health | None = None,
    ) -> None:
        clock = shared.clock
        health = health or Health(clock)
        self._driver = driver
        self._clock = clock
        self._tasks = Tasks("fleet")
        self._environments = environments = Environments(settings, clock)
        self._waiting = WaitingCallers()
        self._pressure = Pressure(read_memory)
        self._limiter = StartLimiter(CONCURRENT_STARTS, clock, environments.changed)
        self._handover = Handover(environments, self._waiting, self._tasks)
        maker = Maker(driver, shared, environments, self._handover)
        to = settings.hibernate_to if driver.can_snapshot else None
        self._hibernation = Hibernation(to, environments, shared.credentials, clock, health)
        self._restores = Restores(environments, maker, self._hibernation, clock)
        starter = Starter(environments, maker, self._hibernation, self._restores, self._limiter, clock, ensure_image)
        self._leases = Leases(environments, self._waiting, starter, self._handover, self._tasks)
        self._provisioned = Provisioned(environments, starter, self._handover, clock, health, self._tasks)
        self._refill = Refill(environments, maker, self._limiter, self._pressure, clock, health)
        self._reaper = Reaper(environments, self._hibernation, self._pressure, settings, clock, health, self._tasks)
        self.take_idle = self._handover.take_idle
        self.release = self._handover.release

    async def open(self) -> None:
        await self._driver.open()
        self._tasks.spawn(self._refill.run(), "refill")
        self._tasks.spawn(self._reaper.run(), "reaper")

    async def close(self) -> None:
        """Destroy every environment. Waiting callers get an error."""
        self._environments.closing = True
        self.abort()
        await self._tasks.cancel()
        self._waiting.clear()
        await self._environments.close()
        await self._hibernation.close()
        await self._driver.close()

    def abort(self) -> None:
        """End every invocation now: running ones are ended, recorded and answered, waiting ones refused, and none begins."""
        self._environments.stopped = True
        self._waiting.refuse_all(ShuttingDown)
        for environment in self._environments:
            environment.abort()

    # --- environments for invocations -----------------------------------------------------------------------------------

    async def lease(self, version: FunctionVersion) -> Environment:
        """Get an environment for a version that has none idle: a new one, or one that becomes free earlier.

        Raises `InitFailed` when the function's init failed, `SandboxError` or `ImageError` when none can be started,
        `TooManyRequests` when this host stays full.
        """
        return await self._leases.lease(version)

    async def start(self, version: FunctionVersion, limit_s: float, *, phase: str) -> Environment:
        """Start a new environment of a version, its init within the limit. Raises as `lease`."""
        self._environments.refuse_when_closing()
        if self._environments.stopped:
            raise ShuttingDown()
        return await self._leases.start(StartRequest(version, limit_s, phase=phase))

    # --- what is had ahead of time --------------------------------------------------------------------------------------

    def keep_pool_for(self, image: RuntimeImage) -> None:
        """Keep pooled environments for this runtime: functions of it exist."""
        self._environments.pool.keep_for(image)

    def provision(self, version: FunctionVersion, count: int) -> None:
        """Set how many environments of a version to keep initialised; 0: none."""
        if not self._environments.closing:
            self._provisioned.want(version, count)

    def allocation(self, key: str) -> Allocation:
        """Return the provisioned concurrency that a version has at the moment."""
        return self._provisioned.allocation(key)

    def on_allocated(self, callback: Callable[[FunctionVersion, int | None], None]) -> None:
        """Call back with a version's allocation whenever it changes; None: it has no target any more."""
        self._environments.targets.on_allocated = callback

    async def snapshot(self, version: FunctionVersion, directory: Path) -> None:
        """Initialise a version and write its environment into a directory. Raises `InitFailed`, `SandboxError` and the like."""
        self._environments.refuse_when_closing()
        environment = await self._leases.start(StartRequest(version, init_limit_s(version), Purpose.SNAPSHOT))
        try:
            environment.log.flush()
            await environment.snapshot(directory)
            await self._restores.try_copy(environment.image, replace(version, snapshot=directory))
        finally:
            self._environments.discard(environment)

    @property
    def unusable_snapshots(self) -> set[str]:
        """The names of snapshots that cannot be used here, until they are made again and removed from this set."""
        return self._restores.unusable

    # --- versions that are no more --------------------------------------------------------------------------------------

    def retire(self, key: str) -> None:
        """End a version's environments as soon as they are free: it will never be invoked again."""
        self._provisioned.forget(key)
        self._hibernation.retire(key)
        self._handover.retire(key)

    def code_in_use(self) -> set[Path]:
        """Return the code and the merged layers that environments run, even if replaced or deleted meanwhile."""
        return self._environments.code_in_use()

    def images_in_use(self) -> set[str]:
        """Return the digests of the images that environments run on."""
        return self._environments.images_in_use()

    # --- looking --------------------------------------------------------------------------------------------------------

    def describe(self) -> list[dict[str, Any]]:
        """Describe each environment, one row each, for `hanabi ps`."""
        now = self._clock.monotonic()
        living = (describe_environment(each, self._environments.reserved_mb(each), now) for each in self._environments)
        return [*living, *(describe_hibernated(each, now) for each in self._hibernation)]

    def describe_provisioned(self) -> list[tuple[FunctionVersion, int, Allocation]]:
        """List (version, target, allocation) of each version with provisioned concurrency."""
        return self._provisioned.describe()

    def describe_budget(self) -> dict[str, Any]:
        return describe_budget(self._environments.budget, self._pressure.high)
