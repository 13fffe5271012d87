"""Provisioned concurrency: keeps a number of environments of a version initialised, and replaces those that end."""

import asyncio

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.tasks import Tasks
from hanabi.contracts.fleet import InitFailed
from hanabi.contracts.functions import Allocation, FunctionVersion
from hanabi.errors import TooManyRequests
from hanabi.fleet.environments import Environments
from hanabi.fleet.handover import Handover
from hanabi.fleet.start_limiter import StartLimiter
from hanabi.fleet.starter import Purpose, Starter, StartRequest, init_limit_s
from hanabi.fleet.targets import Target
from hanabi.quotas import PROVISIONED_INIT_ATTEMPTS

BACKOFF_S = 0.5  # after the first one that fails, then doubled
BACKOFF_LIMIT_S = 300.0
CONCURRENT_STARTS = 2  # so that cold starts do not queue behind hundreds of these
INIT_FAILURE = "FUNCTION_ERROR_INIT_FAILURE"
HOST_FULL = "The environments or the memory of this host are used up (--max-environments, --max-memory-mb)."


class Provisioned:
    """Brings each version to its target."""

    def __init__(
        self, environments: Environments, starter: Starter, handover: Handover, clock: Clock, health: Health, tasks: Tasks
    ) -> None:
        self._environments = environments
        self._targets = environments.targets
        self._starter = starter
        self._handover = handover
        self._clock = clock
        self._health = health
        self._tasks = tasks
        self._limiter = StartLimiter(CONCURRENT_STARTS, clock)

    def want(self, version: FunctionVersion, count: int) -> None:
        """Set the target of a version; what failed before is tried again."""
        if not count:
            self.forget(version.key)
            return
        target = self._targets.get(version.key)
        if target is None:
            target = self._targets.open(version)
            target.task = self._tasks.spawn(self._fill(target))
        target.count = count
        target.succeeded()
        self._health.clear(_problem(version.key))
        for environment in self._environments.idle.of(version.key):
            if environment in target.members and target.missing < 0:
                self._environments.discard(environment)
        target.woken.set()

    def forget(self, key: str) -> None:
        """Remove the target of a version; its busy environments end when they are free."""
        target = self._targets.close(key)
        if target is None:
            return
        self._health.clear(_problem(key))
        if target.task is not None:
            target.task.cancel()
        for environment in self._environments.idle.of(key):
            if environment in target.members:
                self._environments.discard(environment)

    def allocation(self, key: str) -> Allocation:
        target = self._targets.get(key)
        return target.allocation if target is not None else Allocation()

    def describe(self) -> list[tuple[FunctionVersion, int, Allocation]]:
        """List (version, target, allocation) of each."""
        return [(target.version, target.count, target.allocation) for target in self._targets]

    async def _fill(self, target: Target) -> None:
        """Fill a target until cancelled. The first environment is started alone: a fault need not show a hundred times."""
        while True:
            target.woken.clear()
            if target.missing <= 0:
                target.succeeded()
                self._health.clear(_problem(target.version.key))
                await target.woken.wait()
                continue
            at_once = target.missing if target.members and not target.failures else 1
            ends = await asyncio.gather(*(self._add(target) for _ in range(at_once)), return_exceptions=True)
            errors = [end for end in ends if isinstance(end, Exception)]
            if not errors:
                target.failures = 0
                continue
            target.failures += 1
            self._note(target, errors[0])
            await self._pause(target, min(BACKOFF_LIMIT_S, BACKOFF_S * 2 ** min(target.failures - 1, 16)))

    async def _add(self, target: Target) -> None:
        def is_wanted() -> bool:
            return self._targets.is_open(target) and target.missing > 0

        request = StartRequest(target.version, init_limit_s(target.version), Purpose.PROVISIONED, wanted=is_wanted)
        async with self._limiter.slot():
            environment = await self._starter.start(request)
        if environment is None:
            return
        if not is_wanted() or not environment.usable:
            self._environments.discard(environment)
            return
        self._targets.add(target, environment)
        self._handover.offer(environment)

    def _note(self, target: Target, error: Exception) -> None:
        reason = INIT_FAILURE if isinstance(error, InitFailed) else HOST_FULL if isinstance(error, TooManyRequests) else str(error)
        if target.failures >= PROVISIONED_INIT_ATTEMPTS or not isinstance(error, InitFailed):
            target.failure = reason
            text = f"Provisioned concurrency of {target.version.name}:{target.version.version} is not there; it is tried again: {reason}"
            self._health.report(_problem(target.version.key), text)

    async def _pause(self, target: Target, seconds: float) -> None:
        """Wait, or until the target is set again."""
        target.woken.clear()
        timer = self._clock.call_later(seconds, target.woken.set)
        try:
            await target.woken.wait()
        finally:
            timer.cancel()


def _problem(key: str) -> str:
    return f"provisioned.{key}"
