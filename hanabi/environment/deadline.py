"""The deadline of an environment's current run: one lazy timer serves many invocations."""

import math
from collections.abc import Callable

from hanabi.base.clock import Clock, Timer


class Deadline:
    """The deadline. Setting it is usually one assignment: the timer fires at an earlier deadline and re-arms for the current one."""

    def __init__(self, clock: Clock, passed: Callable[[], None]) -> None:
        self._clock = clock
        self._passed = passed
        self._at = math.inf  # monotonic
        self._timer: Timer | None = None
        self._due = math.inf  # when the timer looks next

    def set(self, now: float, seconds: float) -> None:
        self._at = now + seconds
        if self._at < self._due:
            self._arm(seconds)

    def clear(self) -> None:
        self._at = math.inf

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _arm(self, seconds: float) -> None:
        self.close()
        self._due = self._clock.monotonic() + seconds
        self._timer = self._clock.call_later(seconds, self._check)

    def _check(self) -> None:
        self._due = math.inf
        if self._at == math.inf:
            return
        left = self._at - self._clock.monotonic()
        if left > 0:
            self._arm(left)
        else:
            self._passed()
