"""What the environments of this host may have together: so many of them and so much memory, given in the order it was asked for."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hanabi.base.clock import Clock
from hanabi.errors import SandboxError, TooManyRequests

WAIT_LIMIT_S = 60.0  # on a host that is full; then the caller is throttled, as by a concurrency limit
OVERDUE_S = 15.0  # who has waited so long is served before environments that come free are used again


class Claim:
    """What one environment holds: a place and its memory. `kept` ones are not given up for others."""

    __slots__ = ("memory_mb", "kept", "leaving")

    def __init__(self, memory_mb: int, kept: bool) -> None:
        self.memory_mb = memory_mb
        self.kept = kept
        self.leaving = False  # its environment is being ended: it comes back by itself


@dataclass(slots=True, eq=False)
class _Waiter:
    claim: Claim
    wanted: Callable[[], bool]
    since: float
    got: "asyncio.Future[Claim | None]"


class Budget:
    """`make_room` is called when somebody has to wait. Nobody is served before whoever asked earlier, be it for less."""

    def __init__(self, environments: int, memory_mb: int, clock: Clock, make_room: Callable[[], None]) -> None:
        self.environments = environments
        self.memory_mb = memory_mb
        self._clock = clock
        self._make_room = make_room
        self._held: set[Claim] = set()
        self._memory_mb = 0  # of those
        self._kept = 0
        self._kept_mb = 0
        self._queue: deque[_Waiter] = deque()

    @property
    def used(self) -> tuple[int, int]:
        """(environments, MB)."""
        return len(self._held), self._memory_mb

    @property
    def contended(self) -> bool:
        """Whether somebody waits."""
        return bool(self._queue)

    @property
    def overdue(self) -> bool:
        """Whether somebody has waited for long, and what is on its way back is not enough."""
        if not self._queue or self._clock.monotonic() - self._queue[0].since < OVERDUE_S:
            return False
        return any(lacking > 0 for lacking in self._lacking([self._queue[0]]))

    def fits(self, memory_mb: int) -> bool:
        """Whether another one would be given at once."""
        return not self._queue and self._room_for(memory_mb)

    def shortage(self) -> tuple[int, int]:
        """(environments, MB) that those who wait lack still when all has come back that is on its way; 0 or less: nothing."""
        return self._lacking([each for each in self._queue if not each.got.done() and each.wanted()])

    def _lacking(self, waiters: "list[_Waiter]") -> tuple[int, int]:
        waiting = [each.claim.memory_mb for each in waiters]
        leaving = [claim.memory_mb for claim in self._held if claim.leaving]
        places = len(waiting) - len(leaving) - (self.environments - len(self._held))
        return places, sum(waiting) - sum(leaving) - (self.memory_mb - self._memory_mb)

    async def take(self, memory_mb: int, *, kept: bool = False, wanted: Callable[[], bool] = lambda: True) -> Claim | None:
        """A claim, to be given back; None when it is no longer wanted by the time it could be had.

        Raises `TooManyRequests` when there was no room in time or can be none beside what is kept, `SandboxError` for more than
        all may have together.
        """
        if memory_mb > self.memory_mb:
            raise SandboxError(f"{memory_mb} MB are more than the {self.memory_mb} MB that all environments may have (--max-memory)")
        claim = Claim(memory_mb, kept)
        if self._is_hopeless(claim):
            raise _throttle()
        if self.fits(memory_mb):
            self._hold(claim)
            return claim
        waiter = _Waiter(claim, wanted, self._clock.monotonic(), asyncio.get_running_loop().create_future())
        self._queue.append(waiter)
        self._make_room()
        timer = self._clock.call_later(WAIT_LIMIT_S, _give_up, waiter)
        try:
            return await waiter.got
        except asyncio.CancelledError:
            if waiter.got.done() and not waiter.got.cancelled():
                waiter.got.exception()
            self.give_back(claim)  # it may have been handed over in the very moment
            raise
        finally:
            timer.cancel()
            self.review()

    def resize(self, claim: Claim, memory_mb: int, *, kept: bool = False) -> bool:
        """Change what a held claim is for. False, and nothing changed, when others wait or it would not fit."""
        if self._queue or self._memory_mb - claim.memory_mb + memory_mb > self.memory_mb:
            return False
        self._count(claim, -1)
        claim.memory_mb, claim.kept = memory_mb, kept
        self._count(claim, 1)
        return True

    def leave(self, claim: Claim) -> None:
        """It will be given back soon: whoever waits can count on it."""
        self._count(claim, -1)
        claim.kept, claim.leaving = False, True
        self._count(claim, 1)

    def give_back(self, claim: Claim) -> None:
        """More than once is no error."""
        if claim in self._held:
            self._held.remove(claim)
            self._count(claim, -1)
            self.review()

    def review(self) -> None:
        """Serve who can be served, forget who need not be."""
        while self._queue:
            first = self._queue[0]
            if not first.got.done():
                if not first.wanted():
                    first.got.set_result(None)
                elif self._is_hopeless(first.claim):
                    first.got.set_exception(_throttle())
                elif self._room_for(first.claim.memory_mb):
                    self._hold(first.claim)
                    first.got.set_result(first.claim)
                else:
                    return
            self._queue.popleft()

    def _room_for(self, memory_mb: int) -> bool:
        return len(self._held) < self.environments and self._memory_mb + memory_mb <= self.memory_mb

    def _is_hopeless(self, claim: Claim) -> bool:
        """Whether what is kept leaves too little, whatever else is given up."""
        return self._kept >= self.environments or self._kept_mb + claim.memory_mb > self.memory_mb

    def _hold(self, claim: Claim) -> None:
        self._held.add(claim)
        self._count(claim, 1)

    def _count(self, claim: Claim, sign: int) -> None:
        self._memory_mb += sign * claim.memory_mb
        if claim.kept:
            self._kept += sign
            self._kept_mb += sign * claim.memory_mb


def _give_up(waiter: _Waiter) -> None:
    if not waiter.got.done():
        waiter.got.set_exception(_throttle())


def _throttle() -> TooManyRequests:
    return TooManyRequests("ConcurrentInvocationLimitExceeded")
