"""How many environments are started at a time: more at once would only slow each other down."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hanabi.base.clock import Clock

STALL_S = 1.0  # a start that takes longer waits for something else than our CPU: the next one may begin


class StartLimiter:
    """`on_quiet` is called when nobody is at the gate any more."""

    def __init__(self, width: int, clock: Clock, on_quiet: Callable[[], None]) -> None:
        self._semaphore = asyncio.Semaphore(width)
        self._clock = clock
        self._on_quiet = on_quiet
        self._present = 0  # waiting or let in, those that have stalled not counted

    @property
    def busy(self) -> bool:
        return self._present > 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Frames one start."""
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
            self._on_quiet()
