"""Durable documents in SQLite: `contracts.Store`."""

import json
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hanabi.errors import RevisionMismatch, ServiceError
from hanabi.store.database import Database
from hanabi.store.schema import Schema

T = TypeVar("T")
log = logging.getLogger(__name__)

SCHEMA = Schema(
    """
CREATE TABLE IF NOT EXISTS documents (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES (1, 0);
"""
)


class SqliteStore:
    """One file. Revisions grow with every write to the store, so that a deleted and remade key never repeats one."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA)

    async def open(self) -> None:
        """Raises `sqlite3.Error` when the file cannot be used."""
        await self._database.read(lambda connection: connection.execute("SELECT revision FROM counter").fetchone())

    async def close(self) -> None:
        await self._database.close()

    async def get(self, key: str) -> tuple[dict[str, Any], int] | None:
        def select(connection: sqlite3.Connection) -> tuple[dict[str, Any], int] | None:
            row = connection.execute("SELECT value, revision FROM documents WHERE key = ?", (key,)).fetchone()
            return (json.loads(row[0]), row[1]) if row else None

        return await self._database.read(select)

    async def put(self, key: str, value: dict[str, Any], *, revision: int | None = None) -> int:
        text = json.dumps(value, separators=(",", ":"))  # here, so that a change of `value` after the call changes nothing

        def replace(connection: sqlite3.Connection) -> int:
            _check(connection, key, revision)
            (new,) = connection.execute("UPDATE counter SET revision = revision + 1 RETURNING revision").fetchone()
            connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (key, text, new))
            return int(new)

        return await self._write(replace)

    async def delete(self, key: str, *, revision: int | None = None) -> None:
        def remove(connection: sqlite3.Connection) -> None:
            _check(connection, key, revision)
            connection.execute("DELETE FROM documents WHERE key = ?", (key,))

        await self._write(remove)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._database.write(work)
        except sqlite3.Error as error:
            log.error("a change cannot be stored: %s", error)
            raise ServiceError(f"The change could not be stored: {error}.") from error

    async def list(self, prefix: str) -> list[tuple[str, dict[str, Any], int]]:
        def select(connection: sqlite3.Connection) -> list[tuple[str, dict[str, Any], int]]:
            rows = connection.execute(
                "SELECT key, value, revision FROM documents WHERE key >= ? AND substr(key, 1, ?) = ? ORDER BY key",
                (prefix, len(prefix), prefix),
            )
            return [(key, json.loads(value), revision) for key, value, revision in rows]

        return await self._database.read(select)


def _check(connection: sqlite3.Connection, key: str, revision: int | None) -> None:
    if revision is None:
        return
    row = connection.execute("SELECT revision FROM documents WHERE key = ?", (key,)).fetchone()
    current = row[0] if row else 0
    if current != revision:
        raise RevisionMismatch(f"{key} is at revision {current}, not {revision}")
