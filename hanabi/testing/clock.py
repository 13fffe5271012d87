"""A manual clock for tests."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any


class ManualTimer:
    """A timer of a `ManualClock`."""

    __slots__ = ("when", "_callback", "_args")

    def __init__(self, when: float, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.when = when
        self._callback: Callable[..., None] | None = callback
        self._args = args

    @property
    def cancelled(self) -> bool:
        return self._callback is None

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(*self._args)


def _wake(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)


class ManualClock:
    """A `contracts.Clock` owned by the test: six hours pass in one `advance(6 * 3600)`.

    Timers fire in the order of their times, those of equal time in the order they were made.
    """

    def __init__(self, start: float = 1_795_000_000.0) -> None:
        self._epoch = start
        self._now = 0.0
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self._epoch + self._now

    def monotonic(self) -> float:
        return self._now

    def call_later(self, seconds: float, callback: Callable[..., None], *args: Any) -> ManualTimer:
        timer = ManualTimer(self._now + max(seconds, 0.0), callback, args)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()

    def next_timer(self) -> float | None:
        """Seconds until the next timer fires; None when nothing waits."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] - self._now if self._timers else None

    async def advance(self, seconds: float, *, turns: int = 10) -> None:
        """Move time forward, stopping at each timer for `turns` turns of the loop, so that what it wakes can run and wait anew."""
        end = self._now + seconds
        await self._run_ready(turns)
        while (wait := self.next_timer()) is not None and self._now + wait <= end:
            when, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            timer.fire()
            await self._run_ready(turns)
        self._now = end

    async def _run_ready(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
