"""The document store in SQLite: a `contracts.Store`."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hanabi.base.clock import Clock, SystemClock
from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.contracts.store import Change, Document, Watch, Write
from hanabi.errors import DocumentDamaged, RevisionMismatch, ServiceError
from hanabi.store.database import Database
from hanabi.store.formats import Formats, format_of, read_document
from hanabi.store.schema import Schema
from hanabi.store.watches import Watches

T = TypeVar("T")
QUARANTINE = "quarantine/"
FOLLOW_S = 1.0  # between looks whether another process has written
_FAILING = "writes of state.db"
log = logging.getLogger(__name__)

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
_BELOW = "FROM documents WHERE key >= ? AND key < ?"  # a prefix, as `_below` bounds it


class SqliteStore:
    """A document store in one file, which other processes may write, too.

    `formats` are those of the documents: an older document is migrated when it is read. With a `clock`, watches are told
    every second what other processes wrote; without one, when `follow` is called. `upgrade` brings a file of version 1 to version 2.
    """

    def __init__(
        self,
        path: Path,
        formats: Formats | None = None,
        health: Health | None = None,
        clock: Clock | None = None,
        upgrade: Callable[[sqlite3.Connection], None] = lambda connection: None,
    ) -> None:
        self.damaged: dict[str, str] = {}
        self._path = path
        self._formats = formats or {}
        self._health = health or Health()
        self._database = Database(path, replace(SCHEMA, migrations=(*SCHEMA.migrations, upgrade)))
        self._clock = clock
        self._retries = RetryQueue(clock or SystemClock(), self._health)
        self._watches = Watches()
        self._foreign: int | None = None  # SQLite's count of commits of others, as it was when they were last followed
        self._following: asyncio.Task[None] | None = None
        self._writing: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Open the file. Raises `StateError` or `sqlite3.Error` when it cannot be used."""
        await self._database.open()
        if self._database.lost:
            self._health.report("lost writes of state.db", self.why_incomplete)

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        if self._writing:
            await asyncio.wait(self._writing)
        await self._retries.cancel()
        await self._database.close()

    @property
    def why_incomplete(self) -> str:
        """Why documents may be missing; empty: none are."""
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

    async def list(self, prefix: str) -> list[tuple[str, Document, int]]:
        def select(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            return connection.execute(f"SELECT {_COLUMNS} {_BELOW} ORDER BY key", _below(prefix)).fetchall()

        found = []
        for key, value, revision, version in await self._database.read(select):
            if type(revision) is int:
                self._watches.shown(_name(key), revision)
            document = self._read(key, value, revision, version)
            if document is not None:
                found.append((key.decode(), document, revision))
        return found

    async def segments(self, prefix: str) -> tuple[str, ...]:
        def select(connection: sqlite3.Connection) -> tuple[str, ...]:
            found: list[str] = []
            first, end = _below(prefix)
            while row := connection.execute(f"SELECT CAST(key AS BLOB) {_BELOW} ORDER BY key LIMIT 1", (first, end)).fetchone():
                found.append(_name(row[0]).removeprefix(prefix).partition("/")[0])
                first = f"{prefix}{found[-1]}0"  # what comes after everything with a slash there
            return tuple(sorted(found))

        return await self._database.read(select)

    async def write(self, writes: Sequence[Write]) -> int:
        batch = [_Row.of(write, self._formats, write.key in self.damaged) for write in writes]

        def apply(connection: sqlite3.Connection) -> int:
            for row in batch:
                _check(connection, row.key, row.expected)
            for row in batch:
                if row.aside:
                    _quarantine(connection, row.key)
            effective = [row for row in batch if row.text is not None or _exists(connection, row.key)]
            new = _grow(connection) if effective else _revision(connection)
            for row in effective:
                _put(connection, row, new)
            return new

        return await self._change(apply, {row.key: row.text for row in batch})

    async def put(self, key: str, value: Document, *, revision: int | None = None) -> int:
        return await self.write([Write(key, value, revision)])

    async def delete(self, key: str, *, revision: int | None = None) -> None:
        await self.write([Write(key, None, revision)])

    async def quarantine(self, key: str) -> None:
        await self._change(lambda connection: _quarantine(connection, key), {key: None})

    def watch(self, prefix: str, changed: Callable[[Change], None]) -> Watch:
        self._foreign = None  # look at everything once: what was written before is not known here yet
        if self._clock is not None and self._following is None:
            self._following = asyncio.create_task(self._keep_following(self._clock), name=f"following {self._path.name}")
        return self._watches.add(prefix, changed)

    async def follow(self) -> None:
        """Tell the watches what other processes have written. Raises `sqlite3.Error`."""
        if await self._database.read(_count_foreign_commits) == self._foreign:
            return
        news = None
        while news is None or self._watches.is_stale(news.revision):
            look = partial(_find_news, prefixes=self._watches.prefixes, known=self._watches.known())
            news = await self._database.read(look)
        for key, value, revision, version in news.changed:
            self._watches.tell(_name(key), self._read(key, value, revision, version), revision, gone=False)
        for name in news.gone:
            self._watches.tell(name, None, news.revision, gone=True)
        self._foreign = news.foreign

    async def _keep_following(self, clock: Clock) -> None:
        while True:
            await clock.sleep(FOLLOW_S)
            try:
                await self.follow()
            except sqlite3.Error as error:  # reads and writes raise it
                log.debug("%s cannot be followed: %s", self._path, error)

    def _read(self, key: bytes, value: Any, revision: Any, version: Any) -> Document | None:
        """Decode a document; None, and a report, when it is damaged."""
        name = _name(key)
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

    async def _change(self, work: Callable[[sqlite3.Connection], int], texts: Mapping[str, str | None]) -> int:
        """Apply a change and tell the watches; cancelling the caller stops neither."""

        async def change() -> int:
            revision = await self._write(work)
            self._watches.wrote(revision)
            for key, text in texts.items():
                self._mended(key)
                value = json.loads(text) if text is not None and self._watches.covers(key) else None
                self._watches.tell(key, value, revision, gone=text is None)
            return revision

        return await self._shield(change())

    async def _shield(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(work, name=f"change of {self._path.name}")
        self._writing.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # mark it as retrieved: the caller may have been cancelled

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            done = await self._database.write(work)
        except sqlite3.Error as error:  # told once, not for every change: the log may be on that disk
            self._retries.add(_FAILING, f"{self._path}: changes cannot be stored, and are refused", self._try_to_write, error)
            raise ServiceError(f"The change could not be stored: {error}.") from error
        if _FAILING in self._retries:
            self._retries.drop(_FAILING)
        return done

    async def _try_to_write(self) -> None:
        """Write what changes nothing, so that the problem ends though nobody changes anything."""
        await self._database.write(lambda connection: connection.execute("UPDATE counter SET revision = revision").rowcount)


@dataclass(frozen=True, slots=True)
class _Row:
    """A `Write` as the database's thread gets it: a copy, so that the caller may change its value after the call."""

    key: str
    text: str | None
    version: int
    expected: int | None
    aside: bool  # what is there is damaged, and quarantined

    @classmethod
    def of(cls, write: Write, formats: Formats, aside: bool) -> "_Row":
        text = None if write.value is None else json.dumps(write.value, separators=(",", ":"))
        return cls(write.key, text, format_of(formats, write.key).version, write.revision, aside)


@dataclass(frozen=True, slots=True)
class _News:
    """Changes that other processes have written."""

    foreign: int
    revision: int  # of the store
    changed: list[tuple[bytes, Any, int, Any]]
    gone: list[str]


def _below(prefix: str) -> tuple[str, str | bytes]:
    """Return the first key with a prefix, and what comes after all of them: to SQLite a BLOB comes after every text."""
    return prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else b""


def _count_foreign_commits(connection: sqlite3.Connection) -> int:
    """A number that changes whenever another process has written the file."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _find_news(connection: sqlite3.Connection, prefixes: Sequence[str], known: Mapping[str, int]) -> _News:
    """Find new documents that are not known, and known ones that are gone. On the database's thread."""
    foreign = _count_foreign_commits(connection)
    revision, found, changed = _revision(connection), set(), set()
    for prefix in prefixes:
        for key, document_revision in connection.execute(f"SELECT CAST(key AS BLOB), revision {_BELOW}", _below(prefix)):
            name = _name(key)
            found.add(name)
            if type(document_revision) is int and document_revision > known.get(name, 0):
                changed.add(key)
    select = f"SELECT {_COLUMNS} FROM documents WHERE key = CAST(? AS TEXT)"
    rows = [connection.execute(select, (key,)).fetchone() for key in changed]
    gone = [name for name, at in known.items() if name not in found and at <= revision and name.startswith(tuple(prefixes))]
    return _News(foreign, revision, sorted((row for row in rows if row), key=lambda row: int(row[2])), gone)


def _name(key: bytes) -> str:
    return key.decode(errors="backslashreplace")


def _revision(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT revision FROM counter").fetchone()
    return int(row[0]) if row else 0


def _exists(connection: sqlite3.Connection, key: str) -> bool:
    return connection.execute("SELECT 1 FROM documents WHERE key = ?", (key,)).fetchone() is not None


def _put(connection: sqlite3.Connection, row: _Row, revision: int) -> None:
    if row.text is None:
        connection.execute("DELETE FROM documents WHERE key = ?", (row.key,))
    else:
        insert = "INSERT OR REPLACE INTO documents (key, value, revision, version) VALUES (?, ?, ?, ?)"
        connection.execute(insert, (row.key, row.text, revision, row.version))


def _grow(connection: sqlite3.Connection) -> int:
    grow = "INSERT INTO counter VALUES (1, 1) ON CONFLICT DO UPDATE SET revision = revision + 1 RETURNING revision"
    (new,) = connection.execute(grow).fetchone()
    return int(new)


def _quarantine(connection: sqlite3.Connection, key: str) -> int:
    """Move a document to its quarantine key; its text stays as it is."""
    new = _grow(connection)
    connection.execute("UPDATE documents SET key = ? WHERE key = ?", (f"{QUARANTINE}{new}/{key}", key))
    return new


def _check(connection: sqlite3.Connection, key: str, revision: int | None) -> None:
    if revision is None:
        return
    row = connection.execute("SELECT revision FROM documents WHERE key = ?", (key,)).fetchone()
    current = row[0] if row else 0
    if current != revision:
        raise RevisionMismatch(f"{key} is at revision {current}, not {revision}")
