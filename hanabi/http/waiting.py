"""What a connection waits for, and until when: one thing at a time, and never for ever."""

import enum
import math
from collections.abc import Callable

from hanabi.base.clock import Clock, Timer


class WaitingFor(enum.Enum):
    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    HANDLER = enum.auto()
    WRITE = enum.auto()
    LINGER = enum.auto()


# To look a member up in its enum takes Python 3.11 as long as two calls of a method, so those who ask for each request have these.
IDLE, HEAD, BODY, HANDLER, WRITE, LINGER = WaitingFor


class Deadline:
    """A time at which `on_expiry` is called, unless it is moved; that sets another one, or none.

    The timer is left alone unless it would fire too late: most deadlines never come.
    """

    __slots__ = ("at", "_clock", "_on_expiry", "_timer", "_timer_at")

    def __init__(self, clock: Clock, on_expiry: Callable[[], None]) -> None:
        self.at = math.inf  # on the clock's monotonic scale
        self._clock = clock
        self._on_expiry = on_expiry
        self._timer: Timer | None = None
        self._timer_at = math.inf

    def set(self, seconds: float) -> None:
        """So long from now."""
        self.at = self._clock.monotonic() + seconds
        if self.at < self._timer_at:
            self._arm()

    def extend(self, seconds: float) -> None:
        """So long after the one that has come."""
        self.at += seconds

    def clear(self) -> None:
        self.at = math.inf

    def close(self) -> None:
        self.at = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self.at
        self._timer = self._clock.call_later(self.at - self._clock.monotonic(), self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        if self._clock.monotonic() >= self.at:
            expired = self.at
            self._on_expiry()
            if self.at == expired:
                self.at = math.inf
        if self.at < self._timer_at:
            self._arm()
