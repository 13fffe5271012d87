"""Places for environments on this host: so many and no more, given in the order they were asked for."""

import asyncio
from collections import deque
from collections.abc import Callable

from hanabi.contracts import Clock
from hanabi.errors import TooManyRequests

WAIT_LIMIT_S = 60.0  # on a host that is full; then the caller is throttled, as by a concurrency limit


class Places:
    """`make_room` is called when somebody has to wait."""

    def __init__(self, count: int, clock: Clock, make_room: Callable[[], None]) -> None:
        self.free = count
        self._clock = clock
        self._make_room = make_room
        self._queue: deque[asyncio.Future[None]] = deque()

    def wanted(self) -> int:
        """How many wait."""
        return sum(not waiter.done() for waiter in self._queue)

    async def take(self) -> None:
        """Returns with a place, to be given back. Raises `TooManyRequests` when none came free in time."""
        if self.free:
            self.free -= 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        self._make_room()
        timer = self._clock.call_later(WAIT_LIMIT_S, _give_up, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give_back()  # it was handed over in the very moment
            raise
        finally:
            timer.cancel()
            if waiter in self._queue:
                self._queue.remove(waiter)

    def give_back(self) -> None:
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.free += 1


def _give_up(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TooManyRequests("ConcurrentInvocationLimitExceeded"))
