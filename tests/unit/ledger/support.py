"""A record store in a directory, and records to put in it."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.journal import LogEvent, Record
from hanabi.ledger import usage_copy
from hanabi.ledger.index import SCHEMA
from hanabi.ledger.index_writer import IndexWriter, ThreadIndexWriter
from hanabi.ledger.journal import FileJournal
from hanabi.ledger.logs import LogStore
from hanabi.ledger.report import billed_ms, text_events
from hanabi.ledger.usage import JournalUsage
from hanabi.ledger.usage_copy import UsageCopy
from hanabi.store.database import Database
from hanabi.testing import ManualClock

GROUP = "/aws/lambda/hello"
STREAM = "2026/11/24/[$LATEST]0123456789abcdef0123456789abcdef"


def make_index_writer(database: Database, directory: Path, clock: Clock) -> IndexWriter:
    """Replaced by the fixture `index_writer`."""
    return ThreadIndexWriter(database, directory)


class RecordStore:
    """All of the room, opened on one directory."""

    def __init__(self, directory: Path, clock: Clock, **limits: int) -> None:
        self.health = Health(clock)
        self.database = Database(directory / "record.db", SCHEMA, synchronous="FULL")
        self.copy = UsageCopy(Database(directory / "usage.db", usage_copy.SCHEMA), self.health)
        segments = directory / "journal"
        self.index_writer = make_index_writer(self.database, segments, clock)
        values: dict[str, Any] = {**limits, "health": self.health, "index_writer": self.index_writer}
        self.journal = FileJournal(segments, self.database, self.copy, clock, **values)
        self.logs = LogStore(self.journal, clock)
        self.usage = JournalUsage(self.journal)

    async def messages(self, group: str = GROUP, **query: Any) -> list[str]:
        return [event.message for event in (await self.logs.find(group, **query)).events]

    async def sum_ledger(self) -> tuple[int, int]:
        """(rows, billed ms)."""
        await self.journal.wait_indexed()
        return await self.database.read(
            lambda connection: connection.execute("SELECT count(*), ifnull(sum(billed_ms), 0) FROM ledger").fetchone()
        )


@contextlib.asynccontextmanager
async def open_record(directory: Path, clock: Clock | None = None, /, **limits: int) -> AsyncIterator[RecordStore]:
    store = RecordStore(directory, clock or ManualClock(), **limits)
    await store.journal.open()
    try:
        yield store
    finally:
        await store.journal.close()
        await store.database.close()


def make_record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "request_id": str(uuid.uuid4()),
        "function": "hello",
        "version": "$LATEST",
        "memory_mb": 128,
        "started_ms": 1_795_000_000_000,
        "duration_ms": 1.234,
        "init_ms": None,
        "max_memory_mb": 31,
        "status": "success",
        "error_type": None,
        "environment": "env-1",
        "source": "sync",
    } | changes
    values.setdefault("billed_ms", billed_ms(values["duration_ms"], values["init_ms"]))
    return Record(**values)


def record_events(record: Record, *texts: str) -> list[LogEvent]:
    """The log events of an invocation that printed `texts`."""
    when = record.started_ms
    return text_events(record, [(when, text) for text in texts], when, when)


def finish(store: RecordStore, record: Record, *texts: str) -> None:
    """Record an invocation that printed `texts`: START, END and REPORT are made of the record."""
    when = record.started_ms
    store.journal.finish_text(record, GROUP, STREAM, [(when, text) for text in texts], when, when)
