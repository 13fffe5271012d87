"""Log groups, streams and events, as CloudWatch Logs has them. Function output gets there through the journal."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hanabi.contracts.journal import LogEvent
from hanabi.quotas import LIVE_TAIL_EVENTS, LOG_PAGE_EVENTS

END_OF_TIME_MS = 10**15 - 1  # Unix ms

EventPosition = tuple[int, int, int]  # (Unix ms, chunk, index in the chunk): the order of all events of a group
Matcher = Callable[[str], bool]  # of a message


@dataclass(frozen=True, slots=True)
class LogGroup:
    id: int
    name: str
    created_ms: int
    retention_days: int | None
    stored_bytes: int
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class LogStream:
    id: int
    name: str
    created_ms: int
    first_ms: int | None
    last_ms: int | None
    ingested_ms: int | None


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """A log event and its position."""

    position: EventPosition
    stream: str
    ingested_ms: int
    message: str

    @property
    def time_ms(self) -> int:
        return self.position[0]


@dataclass(frozen=True, slots=True)
class LogPage:
    """A page of events in the order of the search; `last` is the position to continue after, None at the end."""

    events: list[FoundEvent]
    last: EventPosition | None


@dataclass(frozen=True, slots=True)
class LogTail:
    """What came in after a place, in that order; `place` is where to go on, `is_sample`: there was more."""

    events: list[tuple[str, FoundEvent]]  # (group, event)
    place: int
    is_sample: bool = False


class Logs(Protocol):
    """The log store; reads see all earlier writes. Raises `LogsUnavailable`, `NoSuchGroup` and `NoSuchStream`."""

    async def groups(self, *, prefix: str = "", pattern: str = "", after: str = "", limit: int = 50) -> list[LogGroup]:
        """List groups by name, those after `after`."""

    async def group(self, name: str) -> LogGroup: ...

    async def create_group(self, name: str, tags: dict[str, str]) -> None:
        """Raises `AlreadyExists`."""

    async def delete_group(self, name: str) -> None:
        """Delete a group with all its streams and events."""

    async def set_retention(self, name: str, days: int | None) -> None:
        """Set a group's retention: older events are no longer found."""

    async def change_tags(self, name: str, added: Mapping[str, str], removed: Iterable[str]) -> None: ...

    async def streams(self, group: str, *, prefix: str = "") -> list[LogStream]:
        """List the streams of a group by name."""

    async def create_stream(self, group: str, name: str) -> None:
        """Raises `AlreadyExists`."""

    async def delete_stream(self, group: str, name: str) -> None: ...

    async def put(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        """Append to a stream that exists."""

    async def find(
        self,
        group: str,
        *,
        start_ms: int = 0,
        end_ms: int = END_OF_TIME_MS,
        streams: Sequence[str] = (),
        prefix: str = "",
        matches: Matcher | None = None,
        after: EventPosition | None = None,
        backward: bool = False,
        limit: int = LOG_PAGE_EVENTS,
    ) -> LogPage:
        """Find a page of events of a group, or of the named streams, from `start_ms` to `end_ms` (excluded)."""

    async def tail(
        self,
        groups: Sequence[str],
        after: int | None,
        *,
        streams: Sequence[str] = (),
        prefixes: Sequence[str] = (),
        matches: Matcher | None = None,
        limit: int = LIVE_TAIL_EVENTS,
    ) -> LogTail:
        """Find events of groups that came in after a place; None: from now on. Of more than `limit`, it is a sample."""
