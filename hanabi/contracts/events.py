"""Accepted asynchronous events that have not ended, and the log that keeps them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Event:
    """An accepted event. `attempts` counts runs that failed, `refusals` throttles and service errors since the last run."""

    id: int  # by the order in which they were accepted
    accepted_ms: int
    attempts: int
    refusals: int
    request_id: str
    function: str
    qualifier: str | None
    client_context: str
    trace: str
    payload: bytes
    tenant: str = ""  # of a function with tenant isolation


@dataclass(frozen=True, slots=True)
class EventChange:
    """The new due time of an event, or None: it has ended. `follow_up` takes its place then, in the same write."""

    id: int
    due_ms: int | None
    attempts: int
    refusals: int
    follow_up: Event | None = None


@dataclass(frozen=True, slots=True)
class DueEvents:
    events: list[Event]
    next_ms: int | None  # when to look again: that is past if more are due already; None: there are no others


@dataclass(frozen=True, slots=True)
class Backlog:
    count: int
    oldest_ms: int | None  # when the oldest was accepted


class EventLog(Protocol):
    """The log of accepted events. A write is durable when it returns; calls take effect in order. All methods raise `StorageFailed`."""

    async def add(self, event: Event) -> int:
        """Store an event, due at once; returns its id. When the call raises, or is cancelled, the event may be stored nevertheless."""

    async def apply(self, changes: Sequence[EventChange]) -> int | None:
        """Apply changes atomically; returns `Backlog.oldest_ms`. Changing an ended event is no error, and is not followed up again."""

    async def load_due(self, now_ms: int, held: Iterable[int], count: int, size_bytes: int, first: Iterable[int] = ()) -> DueEvents:
        """Load up to `count` events, payloads up to `size_bytes` in all but for the first: those of `first`, due whatever time is
        stored for them, then those that are due and not `held`, soonest first."""

    async def repair_times(self, now_ms: int, longest_ms: int) -> Backlog:
        """Make events due that lie more than `longest_ms` ahead, as after the clock was set back; returns the backlog."""

    async def count(self) -> int:
        """Count the stored events."""

    async def probe(self) -> None:
        """Check that the log can be written; changes nothing."""
