"""The log store: groups and streams, and the search for events in them."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from hanabi.base.clock import Clock
from hanabi.contracts.journal import LogEvent
from hanabi.contracts.logs import END_OF_TIME_MS, EventPosition, LogGroup, LogPage, LogStream, LogTail, Matcher
from hanabi.ledger.index import ensure_group
from hanabi.ledger.journal import FileJournal
from hanabi.ledger.log_errors import AlreadyExists, LogsUnavailable, NoSuchGroup, NoSuchStream
from hanabi.ledger.search import EventQuery, read_page
from hanabi.ledger.tail import TailQuery, read_tail
from hanabi.quotas import LIVE_TAIL_EVENTS, LOG_PAGE_EVENTS

T = TypeVar("T")
DAY_MS = 86_400_000


class LogStore:
    """A `contracts.logs.Logs`. Answers from the index once it is up to date, so that reads see all earlier writes.

    `scope` is what the journal has before the names of its groups, ending with a colon, which no name has: "123456789012:eu-west-1:".
    The groups of one scope are not found in another.
    """

    def __init__(self, journal: FileJournal, clock: Clock, scope: str = "") -> None:
        self._journal = journal
        self._clock = clock
        self._scope = scope

    # --- groups -------------------------------------------------------------------------------------------------------

    async def groups(self, *, prefix: str = "", pattern: str = "", after: str = "", limit: int = 50) -> list[LogGroup]:
        """List groups by name, those after `after`."""
        return await self._read(lambda connection: _select_groups(connection, self._scope, prefix, pattern, after, limit))

    async def group(self, name: str) -> LogGroup:
        """Raises `NoSuchGroup`."""
        return await self._read(lambda connection: self._group(connection, name))

    async def create_group(self, name: str, tags: dict[str, str]) -> None:
        now_ms = self._now_ms()

        def create(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM groups WHERE name = ?", (self._scope + name,)).fetchone():
                raise AlreadyExists("group")
            group_id = ensure_group(connection, self._scope + name, now_ms)
            connection.execute("UPDATE groups SET tags = ? WHERE id = ?", (json.dumps(tags), group_id))

        await self._write(create)

    async def delete_group(self, name: str) -> None:
        """Delete a group with all its streams and events."""
        await self._delete(lambda connection: self._group(connection, name), name)

    async def set_retention(self, name: str, days: int | None) -> None:
        """Set a group's retention: older events are no longer found, and the next prune deletes them."""

        def update(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE groups SET retention_days = ? WHERE id = ?", (days, self._group(connection, name).id))

        await self._write(update)

    async def change_tags(self, name: str, added: Mapping[str, str], removed: Iterable[str]) -> None:
        """Add tags to a group and remove others. Raises `NoSuchGroup`."""

        def update(connection: sqlite3.Connection) -> None:
            group = self._group(connection, name)
            tags = {key: value for key, value in (group.tags | dict(added)).items() if key not in set(removed)}
            connection.execute("UPDATE groups SET tags = ? WHERE id = ?", (json.dumps(tags), group.id))

        await self._write(update)

    # --- streams ------------------------------------------------------------------------------------------------------

    async def streams(self, group: str, *, prefix: str = "") -> list[LogStream]:
        """List the streams of a group by name. Raises `NoSuchGroup`."""

        def select(connection: sqlite3.Connection) -> list[LogStream]:
            return _select_streams(connection, self._group(connection, group), prefix)

        return await self._read(select)

    async def create_stream(self, group: str, name: str) -> None:
        now_ms = self._now_ms()

        def create(connection: sqlite3.Connection) -> None:
            group_id = self._group(connection, group).id
            try:
                connection.execute("INSERT INTO streams (group_id, name, created_ms) VALUES (?, ?, ?)", (group_id, name, now_ms))
            except sqlite3.IntegrityError:
                raise AlreadyExists("stream") from None

        await self._write(create)

    async def delete_stream(self, group: str, name: str) -> None:
        await self._delete(lambda connection: _stream(connection, self._group(connection, group), name), group, name)

    # --- events -------------------------------------------------------------------------------------------------------

    async def put(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        """Append to a stream that exists. Raises `NoSuchGroup`, `NoSuchStream`."""
        await self._read(lambda connection: _stream(connection, self._group(connection, group), stream))
        if self._journal.full:
            raise LogsUnavailable("There is no room on the disk for log events")
        if events:
            self._journal.put(self._scope + group, stream, events)

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
        """Find a page of events of a group, or of the named streams. Raises `NoSuchGroup`, `NoSuchStream`."""
        now_ms = self._now_ms()

        def find(connection: sqlite3.Connection) -> LogPage:
            found = self._group(connection, group)
            chosen = [_stream(connection, found, name) for name in streams] or _select_streams(connection, found, prefix)
            oldest_ms = 0 if found.retention_days is None else now_ms - found.retention_days * DAY_MS
            first_ms, last_ms = min(max(start_ms, oldest_ms), END_OF_TIME_MS), min(end_ms, END_OF_TIME_MS)
            names = {stream.id: stream.name for stream in chosen}
            return read_page(connection, EventQuery(found.id, first_ms, last_ms, names, after, backward, matches, limit))

        return await self._read(find)

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
        """Find events of groups that came in after a place. Groups and streams may begin or end to exist in between."""
        names = {self._scope + group: group for group in groups}
        query = TailQuery(names, after, frozenset(streams), tuple(prefixes), matches, limit)
        return await self._read(lambda connection: read_tail(connection, query))

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read the index, even when it cannot be brought up to date, for instance on a full disk. Raises `LogsUnavailable`."""
        await self._journal.try_wait_indexed()
        try:
            return await self._journal.read(work)
        except (OSError, sqlite3.Error) as error:
            raise LogsUnavailable(f"The record cannot be read: {error}") from error

    async def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Raises `LogsUnavailable`."""
        try:
            await self._journal.write(work)
        except (OSError, sqlite3.Error) as error:
            raise LogsUnavailable(f"The record cannot be written: {error}") from error

    async def _delete(self, find: Callable[[sqlite3.Connection], object], group: str, stream: str = "") -> None:
        """Delete through the journal, so that a rebuilt index respects it."""
        await self._read(find)
        if self._journal.full:
            raise LogsUnavailable("There is no room on the disk for this change")
        self._journal.delete(self._scope + group, stream)
        await self._write(lambda connection: None)

    def _group(self, connection: sqlite3.Connection, name: str) -> LogGroup:
        row = connection.execute(
            "SELECT id, name, created_ms, retention_days, tags FROM groups WHERE name = ?", (self._scope + name,)
        ).fetchone()
        if row is None:
            raise NoSuchGroup
        return LogGroup(row[0], name, row[2], row[3], 0, json.loads(row[4]))

    def _now_ms(self) -> int:
        return int(self._clock.time() * 1000)


def _select_groups(connection: sqlite3.Connection, scope: str, prefix: str, pattern: str, after: str, limit: int) -> list[LogGroup]:
    rows = connection.execute(
        "SELECT id, substr(name, length(?1) + 1) AS own, created_ms, retention_days, tags, "
        "(SELECT ifnull(sum(size), 0) FROM chunks WHERE group_id = groups.id) FROM groups "
        "WHERE name > ?1 || ?2 AND substr(name, 1, length(?1 || ?3)) = ?1 || ?3 AND instr(own, ?4) AND NOT instr(own, ':') "
        "ORDER BY name LIMIT ?5",
        (scope, after, prefix, pattern, limit),
    )
    return [LogGroup(row[0], row[1], row[2], row[3], row[5], json.loads(row[4])) for row in rows]


_STREAMS = "SELECT id, name, created_ms, first_ms, last_ms, ingested_ms FROM streams WHERE group_id = ?1"


def _select_streams(connection: sqlite3.Connection, group: LogGroup, prefix: str) -> list[LogStream]:
    rows = connection.execute(f"{_STREAMS} AND substr(name, 1, length(?2)) = ?2 ORDER BY name", (group.id, prefix))
    return [LogStream(*row) for row in rows]


def _stream(connection: sqlite3.Connection, group: LogGroup, name: str) -> LogStream:
    row = connection.execute(f"{_STREAMS} AND name = ?2", (group.id, name)).fetchone()
    if row is None:
        raise NoSuchStream
    return LogStream(*row)
