"""The ledger in memory: a journal, `contracts.logs.Logs` and `contracts.usage.Usage`."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hanabi.base.clock import Clock
from hanabi.contracts.journal import LogEvent
from hanabi.contracts.logs import END_OF_TIME_MS, EventPosition, FoundEvent, LogGroup, LogPage, LogStream, LogTail, Matcher
from hanabi.contracts.usage import PERIODS, Losses, UsageReport, UsageRow
from hanabi.ledger.log_errors import AlreadyExists, NoSuchGroup, NoSuchStream
from hanabi.quotas import LIVE_TAIL_EVENTS, LOG_PAGE_EVENTS
from hanabi.testing.journal import MemoryJournal

_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000


@dataclass
class _Stream:
    id: int
    created_ms: int
    events: list[FoundEvent] = field(default_factory=list)


@dataclass
class _Group:
    id: int
    created_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    retention_days: int | None = None
    streams: dict[str, _Stream] = field(default_factory=dict)


class MemoryLedger(MemoryJournal):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._ids = itertools.count(1)
        self._groups: dict[str, _Group] = {}

    def log(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        super().log(group, stream, events)
        self._append(group, stream, [(when, f"{text}\n") for when, text in events])

    # --- contracts.usage.Usage ----------------------------------------------------------------------------------------

    async def report(
        self, period: str, *, scope: str = "", function: str | None = None, since_ms: int = 0, until_ms: int = 1 << 62
    ) -> UsageReport:
        rows: dict[tuple[str, str], UsageRow] = {}
        for record in self.records:
            hour_ms = record.started_ms // _HOUR_MS * _HOUR_MS
            own = record.function.removeprefix(scope)
            if not record.function.startswith(scope) or ":" in own:
                continue
            if function in (None, own) and since_ms - _HOUR_MS < hour_ms < until_ms:
                when = datetime.fromtimestamp(hour_ms / 1000, UTC).strftime(PERIODS[period])
                row = UsageRow(own, when, 1, record.status != "success", record.billed_ms, record.billed_ms * record.memory_mb)
                known = rows.get((when, own))
                rows[when, own] = row if known is None else known + row
        return UsageReport([rows[key] for key in sorted(rows)], Losses())

    # --- contracts.logs.Logs ------------------------------------------------------------------------------------------

    async def groups(self, *, prefix: str = "", pattern: str = "", after: str = "", limit: int = 50) -> list[LogGroup]:
        names = [name for name in sorted(self._groups) if name > after and name.startswith(prefix) and pattern in name]
        return [await self.group(name) for name in names[:limit]]

    async def group(self, name: str) -> LogGroup:
        found = self._group(name)
        size = sum(len(event.message) for stream in found.streams.values() for event in stream.events)
        return LogGroup(found.id, name, found.created_ms, found.retention_days, size, dict(found.tags))

    async def create_group(self, name: str, tags: dict[str, str]) -> None:
        if name in self._groups:
            raise AlreadyExists("group")
        self._make_group(name).tags = dict(tags)

    async def delete_group(self, name: str) -> None:
        self._group(name)
        del self._groups[name]

    async def set_retention(self, name: str, days: int | None) -> None:
        self._group(name).retention_days = days

    async def change_tags(self, name: str, added: Mapping[str, str], removed: Iterable[str]) -> None:
        group = self._group(name)
        group.tags = {key: value for key, value in (group.tags | dict(added)).items() if key not in set(removed)}

    async def streams(self, group: str, *, prefix: str = "") -> list[LogStream]:
        shown = []
        for name, stream in sorted(self._group(group).streams.items()):
            times = [event.time_ms for event in stream.events]
            ingested_ms = max((event.ingested_ms for event in stream.events), default=None)
            if name.startswith(prefix):
                first_ms, last_ms = min(times, default=None), max(times, default=None)
                shown.append(LogStream(stream.id, name, stream.created_ms, first_ms, last_ms, ingested_ms))
        return shown

    async def create_stream(self, group: str, name: str) -> None:
        if name in self._group(group).streams:
            raise AlreadyExists("stream")
        self._make_stream(group, name)

    async def delete_stream(self, group: str, name: str) -> None:
        self._stream(group, name)
        del self._groups[group].streams[name]

    async def put(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        self._stream(group, stream)
        self._append(group, stream, events)

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
        found = self._group(group)
        chosen = [self._stream(group, name) for name in streams] or [
            found.streams[name] for name in found.streams if name.startswith(prefix)
        ]
        if found.retention_days is not None:
            start_ms = max(start_ms, self._now_ms() - found.retention_days * _DAY_MS)

        def walk() -> Iterator[FoundEvent]:
            for event in sorted((e for stream in chosen for e in stream.events), key=lambda event: event.position, reverse=backward):
                beyond = after is None or (event.position < after if backward else event.position > after)
                if beyond and start_ms <= event.time_ms < end_ms and (matches is None or matches(event.message)):
                    yield event

        events = list(itertools.islice(walk(), limit + 1))
        return LogPage(events[:limit], events[limit - 1].position if len(events) > limit else None)

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
        place = next(self._ids)
        found = []
        for group in groups if after is not None else ():
            for name, stream in self._groups[group].streams.items() if group in self._groups else ():
                if name in streams or not streams and (not prefixes or name.startswith(tuple(prefixes))):
                    events = [event for event in stream.events if event.position[1] > (after or 0)]
                    found += [(group, event) for event in events if matches is None or matches(event.message)]
        found.sort(key=lambda each: each[1].position[1:])
        return LogTail(found[:limit], place, is_sample=len(found) > limit)

    # ------------------------------------------------------------------------------------------------------------------

    def _group(self, name: str) -> _Group:
        if name not in self._groups:
            raise NoSuchGroup
        return self._groups[name]

    def _stream(self, group: str, name: str) -> _Stream:
        if name not in self._group(group).streams:
            raise NoSuchStream
        return self._groups[group].streams[name]

    def _make_group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group(next(self._ids), self._now_ms()))

    def _make_stream(self, group: str, name: str) -> _Stream:
        return self._make_group(group).streams.setdefault(name, _Stream(next(self._ids), self._now_ms()))

    def _append(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        chunk, now_ms = next(self._ids), self._now_ms()
        kept = self._make_stream(group, stream).events
        kept += [FoundEvent((when, chunk, index), stream, now_ms, text) for index, (when, text) in enumerate(events)]

    def _now_ms(self) -> int:
        return int(self._clock.time() * 1000)
