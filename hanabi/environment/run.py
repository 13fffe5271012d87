"""The current run of an environment, an init or an invocation: its start, its deadline, its one end."""

import math
from collections.abc import Callable

from hanabi.base.clock import Clock
from hanabi.contracts.invocation import OnEnd, Outcome
from hanabi.environment.deadline import Deadline


class Run:
    """The run. One object is reused for all runs of an environment."""

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
        """Pass the outcome, with its duration, to `on_end`. No effect when ended already. `seen`: when the end was seen, monotonic."""
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
        """Set the deadline of the ended run again, for what follows it."""
        self._deadline.set(self.began, self.limit_s)

    def clear_deadline(self) -> None:
        self._deadline.clear()

    def close(self) -> None:
        self._deadline.close()
