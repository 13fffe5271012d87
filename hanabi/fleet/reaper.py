"""What is done for the idle every second: those idle for long or old are ended, memory is given back, and more so when it is scarce."""

import asyncio
import logging
from collections.abc import Callable

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.environment.environment import Environment
from hanabi.errors import SandboxError
from hanabi.fleet.hibernation import Hibernation
from hanabi.fleet.idle import IdleEnvironments
from hanabi.fleet.pool import Pool
from hanabi.fleet.pressure import Pressure

INTERVAL_S = 1.0
PROBLEM = "fleet.reaper"
log = logging.getLogger(__name__)
TRIM_LIMIT_S = 10.0
MAX_AGE_S = 6 * 3600.0  # "recycled every few hours"


async def trim(environment: Environment) -> None:
    """Have an idle one give memory back. What goes wrong with that is no harm."""
    try:
        async with asyncio.timeout(TRIM_LIMIT_S):
            await environment.sandbox.trim()
    except (OSError, SandboxError, TimeoutError) as error:
        if not environment.to_destroy:
            log.warning("environment %s cannot give memory back: %s", environment.id, error or "no answer")


class Reaper:
    """`discard` ends an environment, `trim` lets it give memory back; neither waits."""

    def __init__(
        self,
        idle: IdleEnvironments,
        pool: Pool,
        clock: Clock,
        *,
        pressure: Pressure | None,
        discard: Callable[[Environment], None],
        trim: Callable[[Environment], object],
        may_replace: Callable[[Environment], bool],
        idle_timeout_s: float,
        trim_after_s: float,
        hibernation: Hibernation,
        hibernate: Callable[[Environment], object],
        hibernate_after_s: float,
        health: Health,
    ) -> None:
        self._idle = idle
        self._pool = pool
        self._clock = clock
        self._pressure = pressure
        self._discard = discard
        self._trim = trim
        self._may_replace = may_replace
        self._idle_timeout_s = idle_timeout_s
        self._trim_after_s = trim_after_s
        self._hibernation = hibernation
        self._hibernate = hibernate
        self._hibernate_after_s = hibernate_after_s
        self._health = health
        self._interval_s = min(INTERVAL_S, idle_timeout_s / 4)
        self._sampled = -INTERVAL_S

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                self._look(self._clock.monotonic())
            except Exception as error:  # the next look must come, whatever became of this one
                log.debug("reaper", exc_info=error)
                self._health.report(PROBLEM, f"Idle environments cannot be looked after: {error or type(error).__name__}")
            else:
                self._health.clear(PROBLEM)

    def _look(self, now: float) -> None:
        self._reap(now)
        scarce = self._sample(now)
        for environment in self._idle:
            idle_s = now - environment.idle_since
            if idle_s >= self._hibernate_after_s and self._may_hibernate(environment):
                self._idle.remove(environment)  # it is nobody's from now on
                self._hibernate(environment)
            elif not environment.trimmed and (scarce or idle_s >= self._trim_after_s):
                environment.trimmed = True
                self._trim(environment)

    def _may_hibernate(self, environment: Environment) -> bool:
        version = environment.version
        return (
            self._hibernation.enabled
            and not environment.provisioned
            and version is not None
            and self._hibernation.has_room(version.memory_mb)
        )

    def _reap(self, now: float) -> None:
        """Scale to zero. Provisioned ones stay, but are renewed as all others are."""
        self._hibernation.reap(now, self._idle_timeout_s, MAX_AGE_S)
        for environment in self._idle:
            if now - environment.created >= MAX_AGE_S and self._may_replace(environment):
                self._discard(environment)
            elif not environment.provisioned and now - environment.idle_since >= self._idle_timeout_s:
                self._discard(environment)

    def _sample(self, now: float) -> bool:
        """Whether memory is scarce; then one environment less is kept, at each sample."""
        if self._pressure is None:
            return False
        if now - self._sampled < INTERVAL_S:
            return self._pressure.high
        self._sampled = now
        was_high = self._pressure.high
        if self._pressure.sample():
            victim = self._pool.evict_one() or self._idle.eviction_candidate(now, weigh_memory=True)
            if victim is not None:
                self._discard(victim)
        elif was_high:
            self._pool.wake()
        return self._pressure.high
