"""Durable documents in SQLite: `contracts.Store`."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hanabi.base.health import Health
from hanabi.errors import DocumentDamaged, RevisionMismatch, ServiceError
from hanabi.store.database import Database
from hanabi.store.formats import Document, Formats, format_of, read_document
from hanabi.store.schema import Schema

T = TypeVar("T")
QUARANTINE = "quarantine/"
_FAILING = "writes of state.db"

SCHEMA = Schema(
    """
CREATE TABLE IF NOT EXISTS documents (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES (1, 0);
""",
    ("ALTER TABLE documents ADD COLUMN version INTEGER NOT NULL DEFAULT 0",),  # of the document's format
    counter="SELECT revision FROM counter",
)

# As bytes: a text that is not UTF-8 would stop the whole list.
_COLUMNS = "CAST(key AS BLOB), CAST(value AS BLOB), revision, version"


class SqliteStore:
    """One file. Revisions grow with every write to the store, so that a deleted and remade key never repeats one.

    `formats` are those of the documents: an older document is shown as it would be written today.
    """

    def __init__(self, path: Path, formats: Formats | None = None, health: Health | None = None) -> None:
        self.damaged: dict[str, str] = {}
        self._path = path
        self._formats = formats or {}
        self._health = health or Health()
        self._database = Database(path, SCHEMA)
        self._failing = False

    async def open(self) -> None:
        """Raises `StateError` or `sqlite3.Error` when the file cannot be used."""
        await self._database.open()
        if self._database.lost:
            self._health.report("lost writes of state.db", self.why_incomplete)

    async def close(self) -> None:
        await self._database.close()

    @property
    def why_incomplete(self) -> str:
        """Why what is here may not be all that there was; empty: it is whole."""
        if self._database.lost:
            return f"{self._database.lost}. Until then nothing is collected"
        if self.damaged:
            return f"{self._path} has damaged documents ({', '.join(sorted(self.damaged)[:5])}): what they need is not known"
        return ""

    async def get(self, key: str) -> tuple[Document, int] | None:
        def select(connection: sqlite3.Connection) -> tuple[Any, ...] | None:
            row: tuple[Any, ...] | None = connection.execute(f"SELECT {_COLUMNS} FROM documents WHERE key = ?", (key,)).fetchone()
            return row

        row = await self._database.read(select)
        if row is None:
            return None
        document = self._read(*row)
        if document is None:
            raise DocumentDamaged(key, self.damaged[key])
        return document, row[2]

    async def put(self, key: str, value: Document, *, revision: int | None = None) -> int:
        text = json.dumps(value, separators=(",", ":"))  # here, so that a change of `value` after the call changes nothing
        version, aside = format_of(self._formats, key).version, key in self.damaged

        def replace(connection: sqlite3.Connection) -> int:
            _check(connection, key, revision)
            if aside:
                _quarantine(connection, key)
            new = _grow(connection)
            connection.execute(
                "INSERT OR REPLACE INTO documents (key, value, revision, version) VALUES (?, ?, ?, ?)", (key, text, new, version)
            )
            return new

        new = await self._write(replace)
        self._mended(key)
        return new

    async def delete(self, key: str, *, revision: int | None = None) -> None:
        aside = key in self.damaged

        def remove(connection: sqlite3.Connection) -> None:
            _check(connection, key, revision)
            if aside:
                _quarantine(connection, key)
            if connection.execute("DELETE FROM documents WHERE key = ?", (key,)).rowcount:
                _grow(connection)

        await self._write(remove)
        self._mended(key)

    async def list(self, prefix: str) -> list[tuple[str, Document, int]]:
        def select(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            where = "WHERE key >= ? AND substr(key, 1, ?) = ? ORDER BY key"
            return connection.execute(f"SELECT {_COLUMNS} FROM documents {where}", (prefix, len(prefix), prefix)).fetchall()

        found = []
        for key, value, revision, version in await self._database.read(select):
            document = self._read(key, value, revision, version)
            if document is not None:
                found.append((key.decode(), document, revision))
        return found

    async def quarantine(self, key: str) -> None:
        await self._write(lambda connection: _quarantine(connection, key))
        self._mended(key)

    def _read(self, key: bytes, value: Any, revision: Any, version: Any) -> Document | None:
        """None: it is damaged, and that is said."""
        name = key.decode(errors="backslashreplace")
        try:
            key.decode()
            if type(revision) is not int:
                raise ValueError("has no revision")
            document = read_document(value, version, format_of(self._formats, name))
        except ValueError as error:
            self.damaged[name] = str(error)
            self._health.report(f"document {name}", f"{self._path}: the document {name} {error}. It is kept as it is, and left out")
            return None
        self._mended(name)
        return document

    def _mended(self, key: str) -> None:
        if self.damaged.pop(key, None) is not None:
            self._health.clear(f"document {key}")

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            done = await self._database.write(work)
        except sqlite3.Error as error:  # told once, not for every change: the log may be on that disk
            self._failing = True
            self._health.report(_FAILING, f"{self._path}: the last change could not be stored, and was refused: {error}")
            raise ServiceError(f"The change could not be stored: {error}.") from error
        if self._failing:
            self._failing = False
            self._health.clear(_FAILING)
        return done


def _grow(connection: sqlite3.Connection) -> int:
    grow = "INSERT INTO counter VALUES (1, 1) ON CONFLICT DO UPDATE SET revision = revision + 1 RETURNING revision"
    (new,) = connection.execute(grow).fetchone()
    return int(new)


def _quarantine(connection: sqlite3.Connection, key: str) -> None:
    """Only the key changes: the text stays as it is, whatever it is."""
    new = _grow(connection)
    connection.execute("UPDATE documents SET key = ? WHERE key = ?", (f"{QUARANTINE}{new}/{key}", key))


def _check(connection: sqlite3.Connection, key: str, revision: int | None) -> None:
    if revision is None:
        return
    row = connection.execute("SELECT revision FROM documents WHERE key = ?", (key,)).fetchone()
    current = row[0] if row else 0
    if current != revision:
        raise RevisionMismatch(f"{key} is at revision {current}, not {revision}")
