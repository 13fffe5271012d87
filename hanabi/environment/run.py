"""What is under way in an environment, an init or an invocation: when it began, until when it may last, and its one end."""

import math
from collections.abc import Callable

from hanabi.base.clock import Clock
from hanabi.contracts.invocation import OnEnd, Outcome
from hanabi.environment.deadline import Deadline


class Run:
    """One at a time, and one object for all of an environment: an invocation makes no new one."""

    __slots__ = ("_clock", "_deadline", "_on_end", "began", "limit_s", "request_id")

    def __init__(self, clock: Clock, on_timeout: Callable[[], None]) -> None:
        self._clock = clock
        self._deadline = Deadline(clock, on_timeout)
        self._on_end: OnEnd | None = None
        self.request_id: str | None = None  # None: an init
        self.began = 0.0  # monotonic
        self.limit_s = 0.0

    @property
    def under_way(self) -> bool:
        return self._on_end is not None

    def begin(self, request_id: str | None, now: float, limit_s: float, on_end: OnEnd) -> None:
        self.request_id, self.began, self.limit_s, self._on_end = request_id, now, limit_s, on_end
        self._deadline.set(now, limit_s)

    def end(self, outcome: Outcome, seen: float = math.inf) -> None:
        """Hand the outcome, with its duration, to whoever began; nothing when it has ended. `seen`: monotonic, when the end was seen."""
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        self._deadline.clear()
        over = self._clock.monotonic()
        if seen < over:
            over = seen
        elapsed_s = self.limit_s if outcome.status == "timeout" else over - self.began
        outcome.duration_us = max(0, int(elapsed_s * 1e6 + 0.5))
        on_end(outcome)

    def resume_deadline(self) -> None:
        """It has ended, and what follows it has what is left of its time."""
        self._deadline.set(self.began, self.limit_s)

    def clear_deadline(self) -> None:
        self._deadline.clear()

    def close(self) -> None:
        self._deadline.close()
