"""Provisioned concurrency: for some versions, so many environments are initialised ahead, kept, and replaced when they go."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.functions import Allocation, FunctionVersion
from hanabi.environment.environment import Environment
from hanabi.environment.outcome import InitFailed
from hanabi.errors import TooManyRequests
from hanabi.fleet.idle import IdleEnvironments
from hanabi.fleet.start_limiter import StartLimiter

ATTEMPTS = 6  # at an init, until the allocation has failed: so AWS was recorded doing
BACKOFF_S = 0.5  # after the first one that fails, then doubled
BACKOFF_LIMIT_S = 300.0
INIT_LIMIT_MIN_S, INIT_LIMIT_MAX_S = 130.0, 900.0  # of an init: the function's own timeout, within these (developer guide, "Init phase")
CONCURRENT_STARTS = 2  # so that those who wait for a cold start do not stand behind hundreds of these
INIT_FAILURE = "FUNCTION_ERROR_INIT_FAILURE"
HOST_FULL = "The environments or the memory of this host are used up (--max-environments, --max-memory-mb)."


@dataclass(slots=True, eq=False)
class _Target:
    """What one version is to have, and has."""

    version: FunctionVersion
    count: int
    members: set[Environment] = field(default_factory=set)
    failures: int = 0  # in a row
    failure: str | None = None  # once it has failed
    complete: bool = False  # it had all since it was asked for
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None


class Provisioned:
    """`start` makes an environment of a version, or None when it is no longer wanted; `offer` and `discard` are the fleet's."""

    def __init__(
        self,
        idle: IdleEnvironments,
        clock: Clock,
        *,
        start: Callable[[FunctionVersion, float, Callable[[], bool]], Awaitable[Environment | None]],
        offer: Callable[[Environment], None],
        discard: Callable[[Environment], None],
        spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
        health: Health,
    ) -> None:
        self._health = health
        self.on_allocated: Callable[[FunctionVersion, int | None], None] = lambda version, count: None  # None: not provisioned any more
        self._idle = idle
        self._clock = clock
        self._start = start
        self._offer = offer
        self._discard = discard
        self._spawn = spawn
        self._start_limiter = StartLimiter(CONCURRENT_STARTS, clock, lambda: None)
        self._targets: dict[str, _Target] = {}

    def want(self, version: FunctionVersion, count: int) -> None:
        """From now on, so many of a version; what failed before is tried anew."""
        target = self._targets.get(version.key)
        if not count:
            self.forget(version.key)
            return
        if target is None:
            target = self._targets[version.key] = _Target(version, count)
            target.task = self._spawn(self._keep(target))
            self._tell(target)
        target.count = count
        target.failures, target.failure, target.complete = 0, None, len(target.members) >= count
        self._health.clear(_problem(version.key))
        for environment in self._idle.of(version.key):
            if environment.provisioned and len(target.members) > count:
                self._discard(environment)
        target.woken.set()

    def forget(self, key: str) -> None:
        """None of a version any more; those that are busy go when they are free."""
        target = self._targets.pop(key, None)
        if target is None:
            return
        self._health.clear(_problem(key))
        if target.task is not None:
            target.task.cancel()
        for environment in self._idle.of(key):
            if environment in target.members:
                self._discard(environment)
        self.on_allocated(target.version, None)

    def allocation(self, key: str) -> Allocation:
        target = self._targets.get(key)
        if target is None:
            return Allocation()
        return Allocation(len(target.members), target.complete, target.failure)

    def describe(self) -> list[tuple[FunctionVersion, int, Allocation]]:
        """(version, how many are wanted, what there is) of each."""
        return [(target.version, target.count, self.allocation(key)) for key, target in self._targets.items()]

    def is_wanted(self, environment: Environment) -> bool:
        """Whether one that comes free is still to be kept."""
        assert environment.version is not None
        target = self._targets.get(environment.version.key)
        return target is not None and environment in target.members and len(target.members) <= target.count

    def may_replace(self, environment: Environment) -> bool:
        """Whether an old one may go now: one at a time."""
        assert environment.version is not None
        target = self._targets.get(environment.version.key)
        return target is None or len(target.members) >= target.count

    def lost(self, environment: Environment) -> None:
        """One is being ended, for whatever reason."""
        target = self._targets.get(environment.version.key) if environment.version else None
        if target is not None and environment in target.members:
            target.members.remove(environment)
            self._tell(target)
            if not target.failures:  # else it waits for its next attempt
                target.woken.set()

    def _tell(self, target: _Target) -> None:
        self.on_allocated(target.version, len(target.members))

    # --- filling ------------------------------------------------------------------------------------------------------

    async def _keep(self, target: _Target) -> None:
        """Until cancelled. The first one is tried alone: what fails need not fail a hundred times."""
        while True:
            target.woken.clear()
            missing = target.count - len(target.members)
            if missing <= 0:
                target.failures, target.failure, target.complete = 0, None, True
                self._health.clear(_problem(target.version.key))
                await target.woken.wait()
                continue
            at_once = missing if target.members and not target.failures else 1
            ends = await asyncio.gather(*(self._add(target) for _ in range(at_once)), return_exceptions=True)
            errors = [end for end in ends if isinstance(end, Exception)]
            if not errors:
                target.failures = 0
                continue
            target.failures += 1
            self._note(target, errors[0])
            await self._pause(target, min(BACKOFF_LIMIT_S, BACKOFF_S * 2 ** min(target.failures - 1, 16)))

    async def _add(self, target: _Target) -> None:
        version = target.version
        limit_s = min(INIT_LIMIT_MAX_S, max(INIT_LIMIT_MIN_S, version.timeout_s))

        def is_wanted() -> bool:
            return self._targets.get(version.key) is target and len(target.members) < target.count

        async with self._start_limiter.slot():
            environment = await self._start(version, limit_s, is_wanted)
        if environment is None:
            return
        if not is_wanted() or environment.to_destroy:
            self._discard(environment)
            return
        target.members.add(environment)
        self._tell(target)
        self._offer(environment)

    def _note(self, target: _Target, error: Exception) -> None:
        reason = INIT_FAILURE if isinstance(error, InitFailed) else HOST_FULL if isinstance(error, TooManyRequests) else str(error)
        if target.failures >= ATTEMPTS or not isinstance(error, InitFailed):
            target.failure = reason
            text = f"Provisioned concurrency of {target.version.name}:{target.version.version} is not there; it is tried again: {reason}"
            self._health.report(_problem(target.version.key), text)

    async def _pause(self, target: _Target, seconds: float) -> None:
        """Or until it is wanted anew."""
        target.woken.clear()
        timer = self._clock.call_later(seconds, target.woken.set)
        try:
            await target.woken.wait()
        finally:
            timer.cancel()


def _problem(key: str) -> str:
    return f"provisioned.{key}"
