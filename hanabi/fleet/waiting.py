"""The callers that wait for an environment of a version, and the number of starts under way for them."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from hanabi.environment.environment import Environment

Waiter = asyncio.Future[Environment]


class WaitingCallers:
    """The callers, by `FunctionVersion.key`. Each is served in its turn, by whichever environment is free first."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Waiter]] = {}
        self._starting: Counter[str] = Counter()  # starts under way for those who wait

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    @property
    def starts(self) -> int:
        """How many starts are under way."""
        return self._starting.total()

    def add(self, key: str) -> Waiter:
        """Add a caller, for whom a start begins."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._queues.setdefault(key, deque()).append(waiter)
        self._starting[key] += 1
        return waiter

    def remove(self, key: str, waiter: Waiter) -> None:
        """Remove a caller that waits no longer. Idempotent."""
        waiters = self._queues.get(key)
        if waiters is None:
            return
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            del self._queues[key]

    def pop(self, key: str) -> Waiter | None:
        """Take the caller to serve next."""
        waiters = self._queues.get(key)
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def start_ended(self, key: str) -> None:
        self._starting[key] -= 1
        if not self._starting[key]:
            del self._starting[key]

    def is_awaited(self, key: str) -> bool:
        """Whether every start under way still has a waiting caller. Some may have been served by environments that became free."""
        return len(self._queues.get(key, ())) >= self._starting[key]

    def refuse_all(self, error: Callable[[], Exception]) -> None:
        """Fail all waiting callers."""
        for waiters in self._queues.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error())

    def clear(self) -> None:
        """Forget all starts, those that never began too."""
        self._starting.clear()
