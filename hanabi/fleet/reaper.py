"""The reaper: each second ends environments idle too long or too old, and trims idle ones, more when memory is scarce."""

import asyncio
import logging

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.tasks import Tasks
from hanabi.environment.environment import Environment
from hanabi.errors import SandboxError
from hanabi.fleet.environments import Environments
from hanabi.fleet.hibernation import Hibernation
from hanabi.fleet.pressure import Pressure
from hanabi.fleet.settings import FleetSettings

INTERVAL_S = 1.0
PROBLEM = "fleet.reaper"
log = logging.getLogger(__name__)
TRIM_LIMIT_S = 10.0
MAX_AGE_S = 6 * 3600.0  # "recycled every few hours"
WORN_AGE_S = 1.5 * MAX_AGE_S  # of one that is always busy; before its credentials expire: quotas.ENVIRONMENT_CREDENTIALS_S


async def trim(environment: Environment) -> None:
    """Trim the memory of an idle environment. Errors are ignored."""
    try:
        async with asyncio.timeout(TRIM_LIMIT_S):
            await environment.sandbox.trim()
    except (OSError, SandboxError, TimeoutError) as error:
        if environment.usable:
            log.warning("environment %s cannot give memory back: %s", environment.id, error or "no answer")


class Reaper:
    """The reaper. `tasks` are the fleet's."""

    def __init__(
        self,
        environments: Environments,
        hibernation: Hibernation,
        pressure: Pressure,
        settings: FleetSettings,
        clock: Clock,
        health: Health,
        tasks: Tasks,
    ) -> None:
        self._environments = environments
        self._idle = environments.idle
        self._hibernation = hibernation
        self._pressure = pressure
        self._settings = settings
        self._clock = clock
        self._health = health
        self._tasks = tasks
        self._interval_s = min(INTERVAL_S, settings.idle_timeout_s / 4)
        self._sampled = -INTERVAL_S

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                self._look(self._clock.monotonic())
            except Exception as error:  # a failed look must not prevent the next one
                log.debug("reaper", exc_info=error)
                self._health.report(PROBLEM, f"Idle environments cannot be looked after: {error or type(error).__name__}")
            else:
                self._health.clear(PROBLEM)

    def _look(self, now: float) -> None:
        settings = self._settings
        self._reap(now)
        scarce = self._sample(now)
        for environment in self._idle:
            idle_s = now - environment.idle_since
            if idle_s >= settings.hibernate_after_s and self._may_hibernate(environment):
                self._idle.remove(environment)  # nobody holds it from now on
                self._tasks.spawn(self._hibernation.put(environment))
            elif not environment.trimmed and (scarce or idle_s >= settings.trim_after_s):
                environment.trimmed = True
                self._tasks.spawn(trim(environment))

    def _may_hibernate(self, environment: Environment) -> bool:
        version = environment.version
        return (
            self._hibernation.enabled
            and not environment.extensions.are_any  # their connections would break, and most take that for the end
            and not environment.provisioned
            and version is not None
            and self._hibernation.has_room(version.memory_mb)
        )

    def _reap(self, now: float) -> None:
        """Scale to zero: end idle environments. Provisioned ones stay, but are replaced when old."""
        idle_timeout_s = self._settings.idle_timeout_s
        self._hibernation.reap(now, idle_timeout_s, MAX_AGE_S)
        for environment in self._idle:
            old = now - environment.created >= MAX_AGE_S and self._environments.targets.may_replace(environment)
            if old or (not environment.provisioned and now - environment.idle_since >= idle_timeout_s):
                self._environments.discard(environment)
        for environment in self._environments:
            if now - environment.created >= WORN_AGE_S:
                environment.on_released = self._end

    def _end(self, environment: Environment, *, reusable: bool) -> None:
        """End one that is too old as soon as its work is done, whoever waits for it."""
        self._environments.discard(environment)

    def _sample(self, now: float) -> bool:
        """Sample the memory. While it is scarce, evict one environment at each sample."""
        if now - self._sampled >= INTERVAL_S:
            self._sampled, was_high = now, self._pressure.high
            if self._pressure.sample():
                self._environments.give_up_one(weigh_memory=True)
            elif was_high:
                self._environments.changed.set()
        return self._pressure.high
