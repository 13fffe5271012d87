"""Environments that have answered but whose runtime has not asked for the next invocation yet. Usually it does at once."""

import asyncio

from hanabi.base.clock import Clock
from hanabi.base.tasks import settle
from hanabi.environment.environment import Environment

GRACE_S = 0.02  # how long a start waits for one: the start itself takes longer


class Finishing:
    """The collection, by version. One that dies is reported through `Environment.on_gone` as any other."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._environments: dict[str, set[Environment]] = {}  # by FunctionVersion.key
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def add(self, environment: Environment) -> None:
        assert environment.version is not None
        self._environments.setdefault(environment.version.key, set()).add(environment)

    def remove(self, environment: Environment) -> None:
        """Remove an environment. Idempotent."""
        if environment.version is None:
            return
        key = environment.version.key
        present = self._environments.get(key)
        if present is None or environment not in present:
            return
        present.remove(environment)
        if not present:
            del self._environments[key]
        for waiter in self._waiting.pop(key, ()):
            settle(waiter)

    async def grace(self, key: str) -> None:
        """Wait briefly for an environment of a version to get ready, before another one is started."""
        if key not in self._environments:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(waiter)
        timer = self._clock.call_later(GRACE_S, settle, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            waiters = self._waiting.get(key, [])
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                self._waiting.pop(key, None)
