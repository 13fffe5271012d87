"""What has become of events and could not be written to disk: remembered, and written when that is possible again."""

import itertools
from collections.abc import Callable, Collection

from hanabi.base.retry import RetryQueue
from hanabi.contracts.events import Event, EventChange, EventLog

KEY = "events.mark"
BATCH = 1000  # in one transaction


class UnsavedEvents:
    """Until the disk knows, this is what holds: an ended event does not run again, a postponed one runs when it is due.

    It is small: numbers only, no payload. `on_written` is called with when the oldest event left was accepted, each time something was.
    """

    def __init__(self, log: EventLog, retries: RetryQueue, on_written: Callable[[int | None], None]) -> None:
        self._log = log
        self._retries = retries
        self._on_written = on_written
        self._changes: dict[int, EventChange] = {}

    def __len__(self) -> int:
        return len(self._changes)

    @property
    def ids(self) -> Collection[int]:
        """Of these events the disk does not know the truth."""
        return self._changes.keys()

    @property
    def ended(self) -> int:
        """How many have ended, and are on disk still."""
        return sum(change.due_ms is None for change in self._changes.values())

    def note(self, change: EventChange, error: Exception | str) -> None:
        """It could not be written, or is not tried because others cannot be."""
        self._changes[change.id] = change
        self._retries.add(KEY, "What has become of accepted events cannot be written to events.db", self.write, error)

    def postponed(self, held: Collection[int]) -> list[tuple[int, int]]:
        """(due ms, id) of those that are to run again and are not held, soonest first."""
        changes = (change for change in self._changes.values() if change.id not in held)
        return sorted((change.due_ms, change.id) for change in changes if change.due_ms is not None)

    def correct(self, event: Event) -> None:
        """Make an event that was read from disk what it is."""
        change = self._changes.get(event.id)
        if change is not None:
            event.attempts, event.refusals = change.attempts, change.refusals

    async def write(self) -> None:
        """Raises `StorageFailed`; what was not written is still remembered then."""
        while self._changes:
            changes = list(itertools.islice(self._changes.values(), BATCH))
            oldest_ms = await self._log.apply(changes)
            for change in changes:
                if self._changes.get(change.id) is change:  # else it has run again meanwhile
                    del self._changes[change.id]
            self._on_written(oldest_ms)
