"""The log of accepted events in SQLite: a `contracts.events.EventLog`."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from hanabi.contracts.events import Backlog, DueEvents, Event, EventChange
from hanabi.errors import StorageFailed
from hanabi.store.database import Database
from hanabi.triggers import event_table

T = TypeVar("T")


class SqliteEventLog:
    """A log in one file. A write is on disk (synchronous=FULL) when it returns; concurrent writes share a commit."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, event_table.SCHEMA, synchronous="FULL")

    async def open(self) -> None:
        """Open the file. Raises `StateError` or `sqlite3.Error` when it cannot be used."""
        await self.database.open()

    async def close(self) -> None:
        await self.database.close()

    @property
    def lost(self) -> str:
        """Describe writes that the file has lost; empty: none."""
        return self.database.lost

    async def add(self, event: Event) -> int:
        return await self._write(lambda connection: event_table.add(connection, event))

    async def apply(self, changes: Sequence[EventChange]) -> int | None:
        return await self._write(lambda connection: event_table.apply(connection, changes))

    async def load_due(self, now_ms: int, held: Iterable[int], count: int, size_bytes: int, first: Iterable[int] = ()) -> DueEvents:
        held, first = list(held), list(first)
        try:
            return await self.database.read(lambda connection: event_table.load_due(connection, now_ms, held, count, size_bytes, first))
        except sqlite3.Error as error:
            raise StorageFailed(str(error)) from error

    async def repair_times(self, now_ms: int, longest_ms: int) -> Backlog:
        """A write, so that its count includes earlier writes and no later ones."""

        def repair(connection: sqlite3.Connection) -> Backlog:
            event_table.repair_times(connection, now_ms, longest_ms)
            return Backlog(event_table.count(connection), event_table.oldest(connection))

        return await self._write(repair)

    async def count(self) -> int:
        try:
            return await self.database.read(event_table.count)
        except sqlite3.Error as error:
            raise StorageFailed(str(error)) from error

    async def probe(self) -> None:
        await self._write(event_table.probe_write)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self.database.write(work)
        except sqlite3.Error as error:
            raise StorageFailed(str(error)) from error
