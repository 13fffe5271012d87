"""A limit on concurrent starts: more at once would only slow each other down."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hanabi.base.clock import Clock

STALL_S = 1.0  # a longer start waits for something other than the CPU: the next one may begin


class StartLimiter:
    """The limiter. `quiet`, if given, is set when no start is under way any more."""

    def __init__(self, width: int, clock: Clock, quiet: asyncio.Event | None = None) -> None:
        self._semaphore = asyncio.Semaphore(width)
        self._clock = clock
        self._quiet = quiet
        self._quiet_since = -math.inf
        self._present = 0  # waiting or let in, those that have stalled not counted

    @property
    def busy(self) -> bool:
        return self._present > 0

    @property
    def quiet_s(self) -> float:
        """How long no start has been under way, in seconds."""
        return 0.0 if self._present else self._clock.monotonic() - self._quiet_since

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A context manager around one start."""
        self._present += 1
        try:
            await self._semaphore.acquire()
        except BaseException:
            self._leave()
            raise
        held = True

        def let_next() -> None:
            nonlocal held
            if held:
                held = False
                self._semaphore.release()
                self._leave()

        timer = self._clock.call_later(STALL_S, let_next)
        try:
            yield
        finally:
            timer.cancel()
            let_next()

    def _leave(self) -> None:
        self._present -= 1
        if not self._present:
            self._quiet_since = self._clock.monotonic()
            if self._quiet is not None:
                self._quiet.set()
