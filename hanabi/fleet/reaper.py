"""What is done for the idle every second: those idle for long or old are ended, memory is given back, and more so when it is scarce."""

import asyncio
import logging
from collections.abc import Callable

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.environment.environment import Environment
from hanabi.errors import SandboxError
from hanabi.fleet.hibernation import Resting
from hanabi.fleet.idle import Idle
from hanabi.fleet.pool import Stock
from hanabi.fleet.pressure import Pressure

EVERY_S = 1.0
PROBLEM = "fleet.upkeep"
log = logging.getLogger(__name__)
TRIM_LIMIT_S = 10.0
MAX_AGE_S = 6 * 3600.0  # "recycled every few hours"


async def trim(environment: Environment) -> None:
    """Have an idle one give memory back. What goes wrong with that is no harm."""
    try:
        async with asyncio.timeout(TRIM_LIMIT_S):
            await environment.sandbox.trim()
    except (OSError, SandboxError, TimeoutError) as error:
        if not environment.doomed:
            log.warning("environment %s cannot give memory back: %s", environment.id, error or "no answer")


class Upkeep:
    """`discard` ends an environment, `trim` lets it give memory back; neither waits."""

    def __init__(
        self,
        idle: Idle,
        stock: Stock,
        clock: Clock,
        *,
        pressure: Pressure | None,
        discard: Callable[[Environment], None],
        trim: Callable[[Environment], object],
        may_recycle: Callable[[Environment], bool],
        idle_timeout_s: float,
        trim_after_s: float,
        resting: Resting,
        put_to_rest: Callable[[Environment], object],
        rest_after_s: float,
        health: Health,
    ) -> None:
        self._idle = idle
        self._stock = stock
        self._clock = clock
        self._pressure = pressure
        self._discard = discard
        self._trim = trim
        self._may_recycle = may_recycle
        self._idle_timeout_s = idle_timeout_s
        self._trim_after_s = trim_after_s
        self._resting = resting
        self._put_to_rest = put_to_rest
        self._rest_after_s = rest_after_s
        self._health = health
        self._every_s = min(EVERY_S, idle_timeout_s / 4)
        self._sampled = -EVERY_S

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(self._every_s)
            try:
                self._look(self._clock.monotonic())
            except Exception as error:  # the next look must come, whatever became of this one
                log.debug("upkeep", exc_info=error)
                self._health.report(PROBLEM, f"Idle environments cannot be looked after: {error or type(error).__name__}")
            else:
                self._health.clear(PROBLEM)

    def _look(self, now: float) -> None:
        self._reap(now)
        scarce = self._sample(now)
        for environment in self._idle:
            idle_s = now - environment.idle_since
            if idle_s >= self._rest_after_s and self._may_rest(environment):
                self._idle.remove(environment)  # it is nobody's from now on
                self._put_to_rest(environment)
            elif not environment.trimmed and (scarce or idle_s >= self._trim_after_s):
                environment.trimmed = True
                self._trim(environment)

    def _may_rest(self, environment: Environment) -> bool:
        version = environment.version
        return self._resting.enabled and not environment.provisioned and version is not None and self._resting.has_room(version.memory_mb)

    def _reap(self, now: float) -> None:
        """Scale to zero. Provisioned ones stay, but are renewed as all others are."""
        self._resting.reap(now, self._idle_timeout_s, MAX_AGE_S)
        for environment in self._idle:
            if now - environment.created >= MAX_AGE_S and self._may_recycle(environment):
                self._discard(environment)
            elif not environment.provisioned and now - environment.idle_since >= self._idle_timeout_s:
                self._discard(environment)

    def _sample(self, now: float) -> bool:
        """Whether memory is scarce; then one environment less is kept, at each sample."""
        if self._pressure is None:
            return False
        if now - self._sampled < EVERY_S:
            return self._pressure.high
        self._sampled = now
        was_high = self._pressure.high
        if self._pressure.sample():
            victim = self._stock.give_up_one() or self._idle.least_missed(now, weigh_memory=True)
            if victim is not None:
                self._discard(victim)
        elif was_high:
            self._stock.nudge()
        return self._pressure.high
