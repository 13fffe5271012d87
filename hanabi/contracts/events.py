"""Events that were accepted and have not ended, and the log that keeps them: one SQLite file, or another engine in its place."""

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


@dataclass(frozen=True, slots=True)
class EventChange:
    """What has become of an event: it is due again then, or it has ended (None)."""

    id: int
    due_ms: int | None
    attempts: int
    refusals: int


@dataclass(frozen=True, slots=True)
class DueEvents:
    events: list[Event]
    next_ms: int | None  # when to look again: that is past if more are due already; None: there are no others


@dataclass(frozen=True, slots=True)
class Backlog:
    count: int
    oldest_ms: int | None  # when the oldest was accepted


class EventLog(Protocol):
    """Every method raises `StorageFailed`. What is written is durable when the call returns; calls take effect in their order."""

    async def add(self, event: Event) -> int:
        """Keep an event, due at once; returns its id. One that raises, or is cancelled, may have been kept."""

    async def apply(self, changes: Sequence[EventChange]) -> int | None:
        """All as one; returns `Backlog.oldest_ms`. To change what has ended is no error."""

    async def load_due(self, now_ms: int, held: Iterable[int], count: int, size_bytes: int, first: Iterable[int] = ()) -> DueEvents:
        """Up to `count` events, their payloads up to `size_bytes` in all but for the first: those of `first`, which are due whatever is
        kept of them, then those that are due and not `held`, soonest first."""

    async def repair_times(self, now_ms: int, longest_ms: int) -> Backlog:
        """Bring back what is due more than `longest_ms` ahead, as it is when the clock was set back; say what there is now."""

    async def count(self) -> int:
        """How many events are kept."""

    async def probe(self) -> None:
        """Whether it can be written at all: nothing changes."""
