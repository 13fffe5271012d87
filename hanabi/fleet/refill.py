"""Refills the pool: one environment at a time, and only while no start is under way, since no caller waits for a refill."""

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.images import RuntimeImage
from hanabi.fleet.environments import Environments
from hanabi.fleet.maker import Maker
from hanabi.fleet.pressure import Pressure
from hanabi.fleet.start_limiter import StartLimiter

QUIET_S = 0.25  # without a start; usually the next one comes sooner, or much later
SLEEP_MIN_S = 0.01  # less than a clock can tell would be none
RETRY_S = 5.0  # after one that failed, or died by itself


class Refill:
    """The refill. `run` waits for `changed`, which pool, budget, starts and memory set when a refill may be possible or needed."""

    def __init__(
        self, environments: Environments, maker: Maker, limiter: StartLimiter, pressure: Pressure, clock: Clock, health: Health
    ) -> None:
        self._environments = environments
        self._maker = maker
        self._limiter = limiter
        self._pressure = pressure
        self._clock = clock
        self._health = health

    async def run(self) -> None:
        """Refill until cancelled."""
        pool, changed = self._environments.pool, self._environments.changed
        failed = False
        while True:
            await changed.wait()
            if failed or self._environments.pooled_died:
                failed = self._environments.pooled_died = False
                await self._clock.sleep(RETRY_S)
            changed.clear()
            if not self._is_possible():
                continue
            if (wait_s := QUIET_S - self._limiter.quiet_s) > 0:
                await self._clock.sleep(max(wait_s, SLEEP_MIN_S))
                changed.set()
            elif (image := pool.next_to_fill()) is not None:
                failed = not await self._add(image)
                changed.set()

    def _is_possible(self) -> bool:
        """Whether no caller waits for a start or for room, and memory is not scarce."""
        return not self._limiter.busy and not self._pressure.high and self._environments.has_room_for(self._maker.pooled_mb)

    async def _add(self, image: RuntimeImage) -> bool:
        """Add one. False when none was made."""
        problem = f"pool.{image.digest}"
        try:
            environment = await self._maker.make_pooled(image)
        except Exception as error:
            self._health.report(problem, f"No environment of {image.runtime} can be made for the pool: {error}")
            return False
        self._health.clear(problem)
        if not environment.usable:
            return False
        self._environments.pool.add(environment)
        self._environments.make_room()  # a claim may wait for its room meanwhile
        return True
