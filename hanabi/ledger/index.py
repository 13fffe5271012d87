"""The journal's index, `record.db`: each frame becomes log chunks, ledger rows and hourly sums, exactly once."""

import sqlite3
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from hanabi.contracts.journal import Record
from hanabi.ledger.frames import DELETE, EXACT, RECORD_FIELDS, SPAN_LIMIT_MS, TEXT, VERSION, complete, decode, record_of
from hanabi.store.schema import Schema

SCHEMA = Schema(
    """
CREATE TABLE IF NOT EXISTS progress (one INTEGER PRIMARY KEY CHECK (one = 1), segment INTEGER NOT NULL, offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS groups (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_ms INTEGER NOT NULL, retention_days INTEGER,
    tags TEXT NOT NULL DEFAULT '{}');
CREATE TABLE IF NOT EXISTS streams (
    id INTEGER PRIMARY KEY, group_id INTEGER NOT NULL, name TEXT NOT NULL, created_ms INTEGER NOT NULL,
    first_ms INTEGER, last_ms INTEGER, ingested_ms INTEGER, UNIQUE (group_id, name));
CREATE TABLE IF NOT EXISTS chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, group_id INTEGER NOT NULL, stream_id INTEGER NOT NULL,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, ingested_ms INTEGER NOT NULL,
    exact INTEGER NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS chunks_by_first ON chunks (group_id, first_ms);
CREATE INDEX IF NOT EXISTS chunks_by_last ON chunks (group_id, last_ms);
CREATE INDEX IF NOT EXISTS chunks_by_stream ON chunks (stream_id);
CREATE INDEX IF NOT EXISTS chunks_by_size ON chunks (group_id, size);
CREATE TABLE IF NOT EXISTS ledger (
    id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL, function TEXT NOT NULL, version TEXT NOT NULL,
    memory_mb INTEGER NOT NULL, started_ms INTEGER NOT NULL, duration_ms REAL NOT NULL, billed_ms INTEGER NOT NULL,
    init_ms REAL, max_memory_mb INTEGER NOT NULL, status TEXT NOT NULL, error_type TEXT,
    environment TEXT NOT NULL, source TEXT NOT NULL, trace TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS usage (
    function TEXT NOT NULL, hour_ms INTEGER NOT NULL, memory_mb INTEGER NOT NULL,
    requests INTEGER NOT NULL, errors INTEGER NOT NULL, billed_ms INTEGER NOT NULL,
    PRIMARY KEY (function, hour_ms, memory_mb)) WITHOUT ROWID;
""",
    (
        # The restore of a record; and up to where the sums hold the journal already, because they came from their copy.
        """
ALTER TABLE ledger ADD COLUMN restore_ms REAL;
ALTER TABLE ledger ADD COLUMN restore_hooks_ms REAL;
ALTER TABLE progress ADD COLUMN counted_segment INTEGER NOT NULL DEFAULT 0;
ALTER TABLE progress ADD COLUMN counted_offset INTEGER NOT NULL DEFAULT 0;
""",
        "ALTER TABLE ledger ADD COLUMN attempt INTEGER;",
        "ALTER TABLE ledger ADD COLUMN extensions_ms REAL;",
        "ALTER TABLE ledger ADD COLUMN tenant TEXT;",
    ),
    fix="Hanabi moves it aside and makes it anew from the journal (docs/durability.md)",
)

JournalPosition = tuple[int, int]  # (segment, offset) of the journal
Sums = tuple[str, int, int, int, int, int]  # a row of the table usage

HOUR_MS = 3_600_000
CHUNK_BYTES = 64 * 1024  # event bytes in one chunk, but a frame is never split
SLICE = 32  # frames after which the event loop's thread may have the interpreter: less than half a millisecond's work

_VALUES = ", ".join(f"json_extract(value, '$[{index}]')" for index in range(len(RECORD_FIELDS)))
_ADD_RECORDS = f"INSERT INTO ledger ({', '.join(RECORD_FIELDS)}) SELECT {_VALUES} FROM json_each(?)"


@dataclass(slots=True)
class Chunk:
    """Event lines of one stream that will become one row."""

    group: str
    stream: str
    exact: bool
    first_ms: int
    last_ms: int
    size: int = 0
    bodies: list[bytes] = field(default_factory=list)

    def takes(self, first_ms: int, last_ms: int) -> bool:
        span = max(self.last_ms, last_ms) - min(self.first_ms, first_ms)
        return self.size < CHUNK_BYTES and span <= SPAN_LIMIT_MS

    def add(self, body: bytes, first_ms: int, last_ms: int) -> None:
        self.bodies.append(body)
        self.size += len(body)
        self.first_ms = min(self.first_ms, first_ms)
        self.last_ms = max(self.last_ms, last_ms)


@dataclass(slots=True)
class Added:
    """The result of indexing some bytes of the journal."""

    taken: int = 0  # up to where they were read
    damaged: int = 0  # bytes of that
    first_ms: int | None = None  # when the earliest of the invocations that were counted began


def read_progress(connection: sqlite3.Connection) -> JournalPosition:
    """Read (segment, offset) up to which the journal is indexed."""
    row = connection.execute("SELECT segment, offset FROM progress").fetchone()
    return (row[0], row[1]) if row else (0, 0)


def read_counted(connection: sqlite3.Connection) -> JournalPosition:
    """Read the position up to which the sums include the journal, which may be beyond the index."""
    row = connection.execute("SELECT counted_segment, counted_offset FROM progress").fetchone()
    return (row[0], row[1]) if row else (0, 0)


def write_progress(connection: sqlite3.Connection, segment: int, offset: int) -> None:
    connection.execute(
        "INSERT INTO progress (one, segment, offset) VALUES (1, ?1, ?2) ON CONFLICT DO UPDATE SET segment = ?1, offset = ?2",
        (segment, offset),
    )


def set_sums(connection: sqlite3.Connection, rows: Iterable[Sums], counted: JournalPosition) -> None:
    """Set the sums for the journal up to `counted`: indexing it later adds nothing to them."""
    write_progress(connection, *read_progress(connection))
    connection.execute("UPDATE progress SET counted_segment = ?, counted_offset = ?", counted)
    connection.execute("DELETE FROM usage")
    connection.executemany("INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?)", rows)


def add_frames(
    connection: sqlite3.Connection, data: bytes, now_ms: int, version: int = VERSION, *, counts: bool = True, logs: bool = True
) -> Added:
    """Index the whole frames of `data`, once only by the caller's transaction. `counts`: add to the sums as well."""
    added = Added()
    chunks: list[Chunk] = []
    open_chunks: dict[tuple[str, str, bool], Chunk] = {}
    records: list[str] = []
    for number, (header, body, end) in enumerate(decode(data, version)):
        if number % SLICE == SLICE - 1:
            time.sleep(0)
        start, added.taken = added.taken, end
        if header is None:
            added.damaged += end - start
            continue
        kind, group, stream, first, last, record = header
        if kind == DELETE and logs:
            _add_chunks(connection, chunks, now_ms)
            chunks, open_chunks = [], {}
            _delete(connection, group, stream)
        elif logs and (body or kind == TEXT):
            if kind == TEXT:
                first_ms, last_ms, body = complete(header, body)
            else:
                first_ms, last_ms = int(first), int(last)
            key = (group, stream, kind == EXACT)
            chunk = open_chunks.get(key)
            if chunk is None or not chunk.takes(first_ms, last_ms):
                chunk = open_chunks[key] = Chunk(*key, first_ms, last_ms)
                chunks.append(chunk)
            chunk.add(body, first_ms, last_ms)
        if record:
            records.append(record)
    added.first_ms = _add_records(connection, records, counts)
    _add_chunks(connection, chunks, now_ms)
    return added


def _add_records(connection: sqlite3.Connection, records: list[str], counts: bool) -> int | None:
    """Add records. SQLite parses the JSON and adds up the sums, without holding the interpreter lock that the event loop needs."""
    if not records:
        return None
    last = connection.execute("SELECT ifnull(max(id), 0) FROM ledger").fetchone()[0]
    connection.execute(_ADD_RECORDS, (f"[{','.join(records)}]",))
    if not counts:
        return None
    connection.execute(
        "INSERT INTO usage SELECT function, started_ms / ?1 * ?1 AS hour, memory_mb, count(*), sum(status != 'success'), sum(billed_ms) "
        "FROM ledger WHERE id > ?2 GROUP BY function, hour, memory_mb ON CONFLICT DO UPDATE SET "
        "requests = requests + excluded.requests, errors = errors + excluded.errors, billed_ms = billed_ms + excluded.billed_ms",
        (HOUR_MS, last),
    )
    return int(connection.execute("SELECT min(started_ms) FROM ledger WHERE id > ?", (last,)).fetchone()[0])


def _add_chunks(connection: sqlite3.Connection, chunks: Iterable[Chunk], now_ms: int) -> None:
    for chunk in chunks:
        group_id = ensure_group(connection, chunk.group, now_ms)
        stream_id = ensure_stream(connection, group_id, chunk.stream, now_ms)
        body = zlib.compress(b"".join(chunk.bodies), 1)
        connection.execute(
            "INSERT INTO chunks (group_id, stream_id, first_ms, last_ms, ingested_ms, exact, size, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (group_id, stream_id, chunk.first_ms, chunk.last_ms, now_ms, chunk.exact, len(body), body),
        )
        connection.execute(
            "UPDATE streams SET first_ms = min(ifnull(first_ms, ?1), ?1), last_ms = max(ifnull(last_ms, ?2), ?2), ingested_ms = ?3 "
            "WHERE id = ?4",
            (chunk.first_ms, chunk.last_ms, now_ms, stream_id),
        )


def _delete(connection: sqlite3.Connection, group: str, stream: str) -> None:
    streams = "SELECT id FROM streams WHERE group_id = (SELECT id FROM groups WHERE name = ?1) AND (?2 = '' OR name = ?2)"
    connection.execute(f"DELETE FROM chunks WHERE stream_id IN ({streams})", (group, stream))
    connection.execute(f"DELETE FROM streams WHERE id IN ({streams})", (group, stream))
    if not stream:
        connection.execute("DELETE FROM groups WHERE name = ?", (group,))


def select_records(connection: sqlite3.Connection, limit: int) -> list[Record]:
    """Select the last records, oldest first."""
    rows = connection.execute(f"SELECT {', '.join(RECORD_FIELDS)} FROM ledger ORDER BY id DESC LIMIT ?", (limit,)).fetchall()
    return [record_of(row) for row in reversed(rows)]


def ensure_group(connection: sqlite3.Connection, name: str, now_ms: int) -> int:
    """Make a group at its first log, as Lambda does."""
    connection.execute("INSERT OR IGNORE INTO groups (name, created_ms) VALUES (?, ?)", (name, now_ms))
    return int(connection.execute("SELECT id FROM groups WHERE name = ?", (name,)).fetchone()[0])


def ensure_stream(connection: sqlite3.Connection, group_id: int, name: str, now_ms: int) -> int:
    connection.execute("INSERT OR IGNORE INTO streams (group_id, name, created_ms) VALUES (?, ?, ?)", (group_id, name, now_ms))
    return int(connection.execute("SELECT id FROM streams WHERE group_id = ? AND name = ?", (group_id, name)).fetchone()[0])


def prune(connection: sqlite3.Connection, now_ms: int, log_limit_bytes: int, ledger_limit_records: int) -> None:
    """Delete logs and records over the bounds, oldest first, and logs past their group's retention. The hourly sums stay."""
    connection.execute("DELETE FROM ledger WHERE id <= (SELECT max(id) FROM ledger) - ?", (ledger_limit_records,))
    for group_id, days in connection.execute("SELECT id, retention_days FROM groups WHERE retention_days IS NOT NULL").fetchall():
        connection.execute("DELETE FROM chunks WHERE group_id = ? AND last_ms < ?", (group_id, now_ms - days * 86_400_000))
    excess = (connection.execute("SELECT sum(size) FROM chunks").fetchone()[0] or 0) - log_limit_bytes
    last = 0
    for chunk_id, size in connection.execute("SELECT id, size FROM chunks ORDER BY id"):
        if excess <= 0:
            break
        last, excess = chunk_id, excess - size
    connection.execute("DELETE FROM chunks WHERE id <= ?", (last,))
    connection.execute(
        "DELETE FROM streams WHERE ingested_ms < ? AND NOT EXISTS (SELECT 1 FROM chunks WHERE stream_id = streams.id)", (now_ms - HOUR_MS,)
    )
