"""The sessions that AssumeRole has issued, bounded for each caller.

A caller is the owner, another account, or a role with all its sessions. Over its limit, a caller's oldest sessions end. All callers but
the owner share
a second limit: at that one, a caller with sessions loses its oldest, and a caller without any is told to try again.
"""

from collections.abc import Callable

from hanabi.contracts.credentials import Principal
from hanabi.errors import ApiError

SESSIONS_PER_CALLER = 1000
SESSIONS_MAX = 10_000  # of all callers but the owner
CLEAN_INTERVAL_S = 10.0  # between looks for what has expired


class Throttling(ApiError):
    code = "Throttling"
    status = 400


class Sessions:
    """The sessions by caller. `end` is called with the access key of each that has expired or is ended to make room."""

    def __init__(self, end: Callable[[str], None], owner: str = "") -> None:
        """`owner` is the ARN of the node's own account."""
        self._end = end
        self._owner = owner
        self._callers: dict[str, dict[str, float]] = {}  # caller -> access key -> expiry, oldest first
        self._cleaned = 0.0

    def make_room(self, caller: Principal, now: float) -> str:
        """Make room for a session and return its caller's name, for `add`. Raises `Throttling`."""
        name = _name(caller)
        mine = self._callers.setdefault(name, {})
        while mine and (len(mine) >= SESSIONS_PER_CALLER or next(iter(mine.values())) <= now):
            self._drop(mine)
        if name != self._owner and self._others() >= SESSIONS_MAX:
            self._clean(now)
            if self._others() >= SESSIONS_MAX:
                if not mine:
                    raise Throttling("Rate exceeded")
                self._drop(mine)
        return name

    def add(self, name: str, access_key: str, expires: float) -> None:
        self._callers.setdefault(name, {})[access_key] = expires

    def _others(self) -> int:
        return sum(len(sessions) for name, sessions in self._callers.items() if name != self._owner)

    def _drop(self, sessions: dict[str, float]) -> None:
        access_key = next(iter(sessions))
        del sessions[access_key]
        self._end(access_key)

    def _clean(self, now: float) -> None:
        """End the expired sessions of all callers."""
        if self._cleaned <= now < self._cleaned + CLEAN_INTERVAL_S:
            return
        self._cleaned = now
        for name, sessions in list(self._callers.items()):
            for access_key in [each for each, expires in sessions.items() if expires <= now]:
                del sessions[access_key]
                self._end(access_key)
            if not sessions:
                del self._callers[name]


def _name(caller: Principal) -> str:
    """Name the caller. All sessions of a role are one caller, as it can have any number of them."""
    return caller.role or caller.arn
