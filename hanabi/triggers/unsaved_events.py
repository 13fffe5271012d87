"""Event changes that could not be written to disk: kept in memory, and written when the disk works again."""

import itertools
from collections.abc import Callable, Collection

from hanabi.base.retry import RetryQueue
from hanabi.contracts.events import Event, EventChange, EventLog

KEY = "events.mark"
BATCH = 1000  # in one transaction


class UnsavedEvents:
    """Changes that override what is on disk: an ended event does not run again, a postponed one runs when it is due.

    Small: numbers only, no payloads. After each write `on_written` gets the time at which the oldest remaining event was accepted.
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
        """Ids of events whose rows on disk are out of date."""
        return self._changes.keys()

    @property
    def ended(self) -> int:
        """How many have ended but are still on disk."""
        return sum(change.due_ms is None for change in self._changes.values())

    def note(self, change: EventChange, error: Exception | str) -> None:
        """Keep a change that could not be written, or was not tried because others failed."""
        self._changes[change.id] = change
        self._retries.add(KEY, "What has become of accepted events cannot be written to events.db", self.write, error)

    def postponed(self, held: Collection[int]) -> list[tuple[int, int]]:
        """(due ms, id) of events to run again that are not held, soonest first."""
        changes = (change for change in self._changes.values() if change.id not in held)
        return sorted((change.due_ms, change.id) for change in changes if change.due_ms is not None)

    def correct(self, event: Event) -> None:
        """Apply the kept change to an event that was read from disk."""
        change = self._changes.get(event.id)
        if change is not None:
            event.attempts, event.refusals = change.attempts, change.refusals

    async def write(self) -> None:
        """Write the kept changes. Raises `StorageFailed`; unwritten ones are still kept then."""
        while self._changes:
            changes = list(itertools.islice(self._changes.values(), BATCH))
            oldest_ms = await self._log.apply(changes)
            for change in changes:
                if self._changes.get(change.id) is change:  # else it has run again meanwhile
                    del self._changes[change.id]
            self._on_written(oldest_ms)
