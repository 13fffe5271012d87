"""What a connection waits for, one thing at a time, and each wait's timeout.

    IDLE      a next request                               idle_s, then close
    HEAD      the rest of the request line and headers     head_s, then 408
    BODY      the rest of the body                         body_s for each `progress` bytes, then 408
    HANDLER   the handler                                  the handler's own limits
    WRITE     a client slow to take its answer             body_s for each `progress` bytes, then drop
    LINGER    refused: the rest of what it still sends     linger_s, then drop

A handler that reads its request's body as it arrives puts the connection in BODY; one that answers with a stream puts it in WRITE.
The connection is in HANDLER only when the client has nothing to send or take.
"""

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


# Module constants: in Python 3.11 looking up an enum's member costs as much as two method calls, too much for each request.
IDLE, HEAD, BODY, HANDLER, WRITE, LINGER = WaitingFor


class WaitTimer:
    """A movable deadline: calls `on_expiry`, which may set another one.

    The underlying timer is reset only when it would fire too late: most deadlines never come.
    """

    __slots__ = ("at", "_clock", "_on_expiry", "_timer", "_timer_at")

    def __init__(self, clock: Clock, on_expiry: Callable[[], None]) -> None:
        self.at = math.inf  # on the clock's monotonic scale
        self._clock = clock
        self._on_expiry = on_expiry
        self._timer: Timer | None = None
        self._timer_at = math.inf

    def set(self, seconds: float) -> None:
        """Set the deadline this many seconds from now."""
        self.at = self._clock.monotonic() + seconds
        if self.at < self._timer_at:
            self._arm()

    def extend(self, seconds: float) -> None:
        """Set the next deadline this many seconds after the one that has passed."""
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
