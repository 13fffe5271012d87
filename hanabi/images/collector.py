"""The garbage collector of a node: tells every store at intervals what is in use, unless that is uncertain."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health

PERIOD_S = 300.0
RECHECK_S = 15.0  # while there is doubt: that it is over is seen soon
_KEY = "collection"
log = logging.getLogger(__name__)


class Collector:
    """The collector. `why_incomplete` says why the set in use is uncertain; then nothing is collected."""

    def __init__(self, clock: Clock, health: Health, why_incomplete: Callable[[], str]) -> None:
        self._clock = clock
        self._health = health
        self._why_incomplete = why_incomplete
        self._stores: list[tuple[Callable[[Any], Awaitable[None]], Callable[[], Any]]] = []

    def add(self, collect: Callable[[set[Any]], Awaitable[None]], in_use: Callable[[], set[Any]]) -> None:
        self._stores.append((collect, in_use))

    async def run(self) -> None:
        while True:
            await self.collect()
            await self._clock.sleep(RECHECK_S if self._why_incomplete() else PERIOD_S)

    async def collect(self) -> None:
        if why_incomplete := self._why_incomplete():
            self._health.report(_KEY, why_incomplete)
            return
        self._health.clear(_KEY)
        for collect, in_use in self._stores:
            try:
                await collect(in_use())
            except PermissionError as error:  # another user shares the images directory
                log.info("unused entries of another user are left for that user to collect: %s", error)
            except Exception:
                log.exception("what is unused could not be collected; it is tried again in %.0f s", PERIOD_S)
