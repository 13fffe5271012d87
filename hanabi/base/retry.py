"""A queue of failed work that is tried again, with growing delays, until it succeeds."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from hanabi.base.clock import Clock, Timer
from hanabi.base.health import Health

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
LAST_TRY_S = 15.0  # for all last tries at the end together
LIMIT = 4096  # works at a time
log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Work:
    what: str
    run: Callable[[], Awaitable[object]]
    delay_s: float
    trying: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None


class RetryQueue:
    """Failed work, tried again after 1 s, then after twice as long each time, up to 60 s; meanwhile `health` shows it as a problem.

    Each package makes its own, and closes it before the things that the work needs. Work must be idempotent.
    """

    def __init__(self, clock: Clock, health: Health | None = None, *, limit: int = LIMIT, longest_delay_s: float = LONGEST_DELAY_S) -> None:
        self._clock = clock
        self._health = health or Health(clock)
        self._limit = limit
        self._longest_delay_s = longest_delay_s
        self._works: dict[str, _Work] = {}  # in the order in which they came
        self._attempts = self._health.counter("hanabi_retries_total", "Attempts to do again what had failed")
        self._given_up = self._health.counter("hanabi_given_up_total", "Works that failed at their last try, or that were too many")
        self._closed = False

    def __len__(self) -> int:
        return len(self._works)

    def __contains__(self, key: str) -> bool:
        return key in self._works

    def add(self, key: str, what: str, run: Callable[[], Awaitable[object]], error: BaseException | str = "") -> None:
        """Add work: `what` describes it for people; `run` does it, and raises when it fails. Each key has one work."""
        if key in self._works:
            return
        if self._closed or len(self._works) >= self._limit:
            self._given_up.add()
            log.error("%s: %s; it is not tried again: %s", what, error, "Hanabi is stopping" if self._closed else "too much waits already")
            return
        work = self._works[key] = _Work(what, run, FIRST_DELAY_S)
        self._report(key, work, error)
        work.task = asyncio.get_running_loop().create_task(self._keep_trying(key, work), name=f"again: {key}")

    async def do(self, key: str, what: str, run: Callable[[], Awaitable[object]]) -> None:
        """Do work now; add it when it fails."""
        try:
            await run()
        except Exception as error:
            log.debug("%s", what, exc_info=error)
            self.add(key, what, run, error)

    def nudge(self, key: str) -> None:
        """Try work now, for instance because its cause may be over. Unknown keys are ignored."""
        work = self._works.get(key)
        if work is not None:
            work.delay_s = FIRST_DELAY_S
            work.woken.set()

    def drop(self, key: str) -> None:
        """Remove work. An attempt that is running finishes, and is not repeated."""
        work = self._works.pop(key, None)
        if work is not None:
            self._health.clear(key)
            if work.task is not None and not work.trying:
                work.task.cancel()

    async def cancel(self) -> None:
        """Stop without a last attempt: for work that matters only while the server runs."""
        self._closed = True
        for key, work in list(self._works.items()):
            self._health.clear(key)
            del self._works[key]
            if work.task is not None:
                work.task.cancel()
                await asyncio.wait([work.task])

    async def close(self) -> None:
        """Try each one last time, in the order of arrival."""
        self._closed = True
        loop = asyncio.get_running_loop()
        end = loop.time() + LAST_TRY_S
        for key, work in list(self._works.items()):
            if work.task is not None:
                work.woken.set()
                work.delay_s = 0.0
                await asyncio.wait([work.task], timeout=max(0.05, end - loop.time()))
                work.task.cancel()
                await asyncio.wait([work.task])
            if self._works.pop(key, None) is work:
                self._given_up.add()
                log.error("%s, nor at the end", work.what)

    async def _keep_trying(self, key: str, work: _Work) -> None:
        while self._works.get(key) is work:
            await self._pause(work)
            last = self._closed
            self._attempts.add()
            work.trying = True
            try:
                await work.run()
            except Exception as error:
                self._report(key, work, error)
                if last:
                    return
            else:
                if self._works.get(key) is work:
                    del self._works[key]
                    self._health.clear(key)
                return
            finally:
                work.trying = False

    async def _pause(self, work: _Work) -> None:
        """Wait until the next attempt is due, or `nudge` is called."""
        timer: Timer | None = None
        if not work.woken.is_set():
            timer = self._clock.call_later(work.delay_s, work.woken.set)
            work.delay_s = min(2 * work.delay_s, self._longest_delay_s)
        try:
            await work.woken.wait()
        finally:
            if timer is not None:
                timer.cancel()
            work.woken.clear()

    def _report(self, key: str, work: _Work, error: BaseException | str) -> None:
        if self._works.get(key) is work:
            self._health.report(key, f"{work.what}: {error or type(error).__name__}; it is tried again")
