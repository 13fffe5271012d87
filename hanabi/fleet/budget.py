"""The budget of this host's environments: a number and memory in MB, granted in the order of the claims."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hanabi.base.clock import Clock
from hanabi.base.tasks import settle
from hanabi.errors import SandboxError, TooManyRequests

WAIT_LIMIT_S = 60.0  # the wait on a full host; then the caller is throttled, as by a concurrency limit
OVERDUE_S = 15.0  # a claim that has waited this long is served before free environments are reused


class Reservation:
    """What one environment holds of the budget: one of the number, and its memory. `pinned` ones are never evicted for others."""

    __slots__ = ("memory_mb", "pinned", "releasing")

    def __init__(self, memory_mb: int, pinned: bool) -> None:
        self.memory_mb = memory_mb
        self.pinned = pinned
        self.releasing = False  # its environment is being ended and will return it


@dataclass(slots=True, eq=False)
class Claim:
    """A claim on the budget. `granted` gets the reservation, or None when it was no longer wanted by then."""

    reservation: Reservation
    wanted: Callable[[], bool]
    since: float
    granted: "asyncio.Future[Reservation | None]"


class Budget:
    """The budget. Claims are served strictly in order: a smaller one never overtakes."""

    def __init__(self, environments: int, memory_mb: int, clock: Clock) -> None:
        self.environments = environments
        self.memory_mb = memory_mb
        self._clock = clock
        self._held: set[Reservation] = set()
        self._memory_mb = 0  # of those
        self._pinned = 0
        self._pinned_mb = 0
        self._queue: deque[Claim] = deque()

    @property
    def used(self) -> tuple[int, int]:
        """How much is in use: (environments, MB)."""
        return len(self._held), self._memory_mb

    @property
    def contended(self) -> bool:
        """Whether a claim waits."""
        return bool(self._queue)

    @property
    def overdue(self) -> bool:
        """Whether a claim has waited long, and what is about to be returned is not enough for it."""
        if not self._queue or self._clock.monotonic() - self._queue[0].since < OVERDUE_S:
            return False
        return any(lacking > 0 for lacking in self._shortage_of([self._queue[0]]))

    def fits(self, memory_mb: int) -> bool:
        """Whether another claim would be granted at once."""
        return not self._queue and self._room_for(memory_mb)

    def shortage(self) -> tuple[int, int]:
        """How much waiting claims still lack once everything about to be returned is back: (environments, MB); 0 or less: nothing."""
        return self._shortage_of([each for each in self._queue if not each.granted.done() and each.wanted()])

    def _shortage_of(self, claims: "list[Claim]") -> tuple[int, int]:
        waiting = [each.reservation.memory_mb for each in claims]
        releasing = [reservation.memory_mb for reservation in self._held if reservation.releasing]
        places = len(waiting) - len(releasing) - (self.environments - len(self._held))
        return places, sum(waiting) - sum(releasing) - (self.memory_mb - self._memory_mb)

    def claim(self, memory_mb: int, *, pinned: bool = False, wanted: Callable[[], bool] = lambda: True) -> Claim:
        """Claim one environment and its memory: granted at once, or in its turn. Await it with `wait`.

        Raises `TooManyRequests` when what is kept leaves no room, `SandboxError` for more than the whole budget.
        """
        if memory_mb > self.memory_mb:
            raise SandboxError(f"{memory_mb} MB are more than the {self.memory_mb} MB that all environments may have (--max-memory-mb)")
        reservation = Reservation(memory_mb, pinned)
        if self._can_never_fit(reservation):
            raise _throttle()
        claim = Claim(reservation, wanted, self._clock.monotonic(), asyncio.get_running_loop().create_future())
        if self.fits(memory_mb):
            self._hold(reservation)
            claim.granted.set_result(reservation)
        else:
            self._queue.append(claim)
        return claim

    async def wait(self, claim: Claim) -> Reservation | None:
        """Wait for a claim's reservation, to be given back later. Raises `TooManyRequests` when there was no room in time."""
        if claim.granted.done():
            return claim.granted.result()
        timer = self._clock.call_later(WAIT_LIMIT_S, settle, claim.granted, _throttle())
        try:
            return await claim.granted
        except asyncio.CancelledError:
            self.give_back(claim.reservation)  # it may have been granted in this moment
            raise
        finally:
            timer.cancel()
            self.review()

    def resize(self, reservation: Reservation, memory_mb: int, *, pinned: bool = False) -> bool:
        """Change the size of a reservation. False, with nothing changed, when claims wait or it would not fit."""
        if self._queue or self._memory_mb - reservation.memory_mb + memory_mb > self.memory_mb:
            return False
        self._count(reservation, -1)
        reservation.memory_mb, reservation.pinned = memory_mb, pinned
        self._count(reservation, 1)
        return True

    def release_soon(self, reservation: Reservation) -> None:
        """Note that a reservation will be given back soon, so that waiting claims can count on it."""
        self._count(reservation, -1)
        reservation.pinned, reservation.releasing = False, True
        self._count(reservation, 1)

    def give_back(self, reservation: Reservation) -> None:
        """Return a reservation. Idempotent."""
        if reservation in self._held:
            self._held.remove(reservation)
            self._count(reservation, -1)
            self.review()

    def review(self) -> None:
        """Grant the claims that fit, and drop those no longer wanted."""
        while self._queue:
            first = self._queue[0]
            if not first.granted.done():
                if not first.wanted():
                    settle(first.granted)
                elif self._can_never_fit(first.reservation):
                    settle(first.granted, _throttle())
                elif self._room_for(first.reservation.memory_mb):
                    self._hold(first.reservation)
                    settle(first.granted, first.reservation)
                else:
                    return
            self._queue.popleft()

    def _room_for(self, memory_mb: int) -> bool:
        return len(self._held) < self.environments and self._memory_mb + memory_mb <= self.memory_mb

    def _can_never_fit(self, reservation: Reservation) -> bool:
        """Whether pinned reservations leave too little, whatever else is evicted."""
        return self._pinned >= self.environments or self._pinned_mb + reservation.memory_mb > self.memory_mb

    def _hold(self, reservation: Reservation) -> None:
        self._held.add(reservation)
        self._count(reservation, 1)

    def _count(self, reservation: Reservation, sign: int) -> None:
        self._memory_mb += sign * reservation.memory_mb
        if reservation.pinned:
            self._pinned += sign
            self._pinned_mb += sign * reservation.memory_mb


def _throttle() -> TooManyRequests:
    return TooManyRequests("ConcurrentInvocationLimitExceeded")
