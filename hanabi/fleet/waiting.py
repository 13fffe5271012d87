"""Who waits for an environment of a version, and how many are being started for them."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from hanabi.environment.environment import Environment

Waiter = asyncio.Future[Environment]


class WaitingCallers:
    """By `FunctionVersion.key`, each served in its turn, by whatever environment comes first."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Waiter]] = {}
        self._starting: Counter[str] = Counter()  # starts under way for those who wait

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    @property
    def starts(self) -> int:
        """Those under way."""
        return self._starting.total()

    def add(self, key: str) -> Waiter:
        """One more, for whom a start begins."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._queues.setdefault(key, deque()).append(waiter)
        self._starting[key] += 1
        return waiter

    def remove(self, key: str, waiter: Waiter) -> None:
        """It waits no longer. One that is not there is no error."""
        waiters = self._queues.get(key)
        if waiters is None:
            return
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            del self._queues[key]

    def pop(self, key: str) -> Waiter | None:
        """Who is served next."""
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
        """Whether no fewer wait than there are starts under way: environments that come free may have served some of them."""
        return len(self._queues.get(key, ())) >= self._starting[key]

    def refuse_all(self, error: Callable[[], Exception]) -> None:
        """Tell everybody that there will be none."""
        for waiters in self._queues.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error())

    def clear(self) -> None:
        """Starts that never began have ended too."""
        self._starting.clear()
