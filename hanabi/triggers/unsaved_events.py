"""Event changes that could not be written to disk: kept in memory, and written when the disk works again."""

import itertools
import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from hanabi.base.retry import RetryQueue
from hanabi.contracts.events import Event, EventChange, EventLog

KEY = "events.mark"
BATCH = 1000  # in one transaction
FOLLOW_UP_BYTES = 16 * 1024 * 1024  # of their payloads in memory, while the disk cannot be written
logger = logging.getLogger(__name__)


class UnsavedEvents:
    """Changes that override what is on disk: an ended event does not run again, a postponed one runs when it is due.

    Small: numbers, and payloads of follow-ups up to a bound. After each write `on_written` gets the time at which the oldest remaining
    event was accepted, and whether there were follow-ups.
    """

    def __init__(self, log: EventLog, retries: RetryQueue, on_written: Callable[[int | None, bool], None]) -> None:
        self._log = log
        self._retries = retries
        self._on_written = on_written
        self._changes: dict[int, EventChange] = {}
        self._follow_up_bytes = 0

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
        if change.follow_up is not None:
            self._follow_up_bytes += len(change.follow_up.payload)
            if self._follow_up_bytes > FOLLOW_UP_BYTES:
                self._follow_up_bytes -= len(change.follow_up.payload)
                logger.error("event %s is not followed up: too much waits for the disk already", change.follow_up.request_id)
                change = replace(change, follow_up=None)
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
            follow_ups = [change.follow_up for change in changes if change.follow_up is not None]
            self._follow_up_bytes -= sum(len(each.payload) for each in follow_ups)
            self._on_written(oldest_ms, bool(follow_ups))
