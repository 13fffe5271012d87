"""The event queue on disk: one row for each accepted event that has not ended."""

import json
import sqlite3
from collections.abc import Iterable
from itertools import chain

from hanabi.contracts.events import DueEvents, Event, EventChange
from hanabi.store.schema import Schema

SCHEMA = Schema(
    """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    due_ms INTEGER NOT NULL, accepted_ms INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, refusals INTEGER NOT NULL DEFAULT 0,
    request_id TEXT NOT NULL, function TEXT NOT NULL, qualifier TEXT, client_context TEXT NOT NULL, trace TEXT NOT NULL,
    size INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_due ON events (due_ms, id, size);
""",
    migrations=("ALTER TABLE events ADD COLUMN tenant TEXT NOT NULL DEFAULT '';",),
    counter="SELECT seq FROM sqlite_sequence WHERE name = 'events'",
)

_COLUMNS = "id, accepted_ms, attempts, refusals, request_id, function, qualifier, client_context, trace, payload, tenant"


def add(connection: sqlite3.Connection, event: Event) -> int:
    """Insert an event; returns its id. Ids are in the order of acceptance."""
    cursor = connection.execute(
        "INSERT INTO events (due_ms, accepted_ms, request_id, function, qualifier, client_context, trace, size, payload, tenant) "
        "VALUES (?1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        (
            event.accepted_ms,
            event.request_id,
            event.function,
            event.qualifier,
            event.client_context,
            event.trace,
            len(event.payload),
            event.payload,
            event.tenant,
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def apply(connection: sqlite3.Connection, changes: Iterable[EventChange]) -> int | None:
    """Apply changes; returns when the oldest remaining event was accepted; None: none is left."""
    for change in changes:
        if change.due_ms is None:
            deleted = connection.execute("DELETE FROM events WHERE id = ?", (change.id,)).rowcount
            if deleted and change.follow_up is not None:
                add(connection, change.follow_up)
        else:
            connection.execute(
                "UPDATE events SET due_ms = ?, attempts = ?, refusals = ? WHERE id = ?",
                (change.due_ms, change.attempts, change.refusals, change.id),
            )
    return oldest(connection)


def oldest(connection: sqlite3.Connection) -> int | None:
    """When the oldest event was accepted. Ids are in that order: one row is read."""
    row = connection.execute("SELECT accepted_ms FROM events ORDER BY id LIMIT 1").fetchone()
    return row[0] if row else None


def probe_write(connection: sqlite3.Connection) -> None:
    """Check that the table can be written: a transaction that changes nothing."""
    connection.execute("UPDATE events SET due_ms = due_ms WHERE id = -1")


def repair_times(connection: sqlite3.Connection, now_ms: int, longest_ms: int) -> None:
    """Make events due whose time is further ahead than any delay: they were written before the clock was set back."""
    connection.execute(
        "UPDATE events SET due_ms = min(due_ms, ?1), accepted_ms = min(accepted_ms, ?1) WHERE accepted_ms > ?1 OR due_ms > ?1 + ?2",
        (now_ms, longest_ms),
    )


def load_due(
    connection: sqlite3.Connection, now_ms: int, held: Iterable[int], count: int, size: int, first: Iterable[int] = ()
) -> DueEvents:
    """Load up to `count` events, payloads up to `size` bytes in all but for the first: those of `first`, due whatever the disk
    says of them, then those that are due and not held, oldest first.
    Also returns when to load again: now if more are due, else when the next one is; None if there is none.
    """
    ids: list[int] = []
    again: int | None = None
    chosen = "SELECT id, ?2, size FROM events WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id"
    waiting = "SELECT id, due_ms, size FROM events WHERE id NOT IN (SELECT value FROM json_each(?)) ORDER BY due_ms, id LIMIT ?"
    for event_id, due_ms, payload_size in chain(
        connection.execute(chosen, (json.dumps(list(first)), now_ms)), connection.execute(waiting, (json.dumps(list(held)), count + 1))
    ):
        size -= payload_size
        if due_ms > now_ms or len(ids) == count or (ids and size < 0):
            again = due_ms
            break
        ids.append(event_id)
    rows = [connection.execute(f"SELECT {_COLUMNS} FROM events WHERE id = ?", (event_id,)).fetchone() for event_id in ids]
    return DueEvents([Event(*row) for row in rows], again)


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])
