"""Reads the log events that have come in lately, in the order in which they came in: for a live tail."""

import sqlite3
import time
import zlib
from dataclasses import dataclass

from hanabi.contracts.logs import FoundEvent, LogTail, Matcher
from hanabi.ledger.frames import decode_events

READ_BYTES = 8 * 1024 * 1024  # of events looked at for one answer: of more, it is a sample


@dataclass(frozen=True, slots=True)
class TailQuery:
    """A look at groups for what came in after a chunk; None: at nothing, to begin there."""

    groups: dict[str, str]  # name in the index -> name
    after: int | None
    streams: frozenset[str] = frozenset()  # empty: all
    prefixes: tuple[str, ...] = ()
    matches: Matcher | None = None
    limit: int = 500

    def takes(self, stream: str) -> bool:
        if self.streams:
            return stream in self.streams
        return not self.prefixes or stream.startswith(self.prefixes)


def read_tail(connection: sqlite3.Connection, query: TailQuery) -> LogTail:
    newest = int(connection.execute("SELECT ifnull(max(id), 0) FROM chunks").fetchone()[0])
    if query.after is None:
        return LogTail([], newest)
    found: list[tuple[str, FoundEvent]] = []
    read_bytes = 0
    rows = connection.execute(
        "SELECT chunks.id, groups.name, streams.name, chunks.ingested_ms, exact, body FROM chunks "
        "JOIN groups ON groups.id = chunks.group_id JOIN streams ON streams.id = stream_id WHERE chunks.id > ? ORDER BY chunks.id",
        (query.after,),
    )
    for chunk_id, group, stream, ingested_ms, exact, body in rows:
        if group not in query.groups or not query.takes(stream):
            continue
        if read_bytes > READ_BYTES:
            return LogTail(_sample(found, query.limit), newest, is_sample=True)
        time.sleep(0)  # lets the event loop's thread have the interpreter
        lines = zlib.decompress(body)
        read_bytes += len(lines)
        for index, (when, text) in enumerate(decode_events(lines)):
            message = text if exact else text + "\n"
            if query.matches is None or query.matches(message):
                found.append((query.groups[group], FoundEvent((when, chunk_id, index), stream, ingested_ms, message)))
    return LogTail(_sample(found, query.limit), newest, is_sample=len(found) > query.limit)


def _sample(events: list[tuple[str, FoundEvent]], limit: int) -> list[tuple[str, FoundEvent]]:
    """Choose as many events, at equal distances."""
    count = len(events)
    return events if count <= limit else [events[index * count // limit] for index in range(limit)]
