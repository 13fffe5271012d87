"""Reads log events out of chunks in order of time, page by page, forward or backward."""

import heapq
import sqlite3
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from hanabi.contracts.logs import EventPosition, FoundEvent, LogPage, Matcher
from hanabi.ledger.frames import SPAN_LIMIT_MS, decode_events
from hanabi.ledger.log_errors import InvalidParameter
from hanabi.quotas import LOG_PAGE_BYTES

READ_BYTES = 16 * 1024 * 1024  # of events looked at for one page: then it ends where it is, empty or not

_WIDTHS = (15, 20, 20)


@dataclass(frozen=True, slots=True)
class EventQuery:
    """A search for events of a group from `start_ms` to `end_ms` (excluded), of some streams, after a position."""

    group_id: int
    start_ms: int
    end_ms: int
    streams: dict[int, str]
    after: EventPosition | None = None
    backward: bool = False
    matches: Matcher | None = None
    limit: int = 10_000


def encode_position(position: EventPosition) -> str:
    """Encode a position as 56 digits that sort as positions do: event ids and page tokens are made of them."""
    return "3" + "".join(f"{number:0{width}d}" for number, width in zip(position, _WIDTHS, strict=True))


def decode_position(text: str) -> EventPosition:
    if len(text) != 56 or not text.isascii() or not text.isdigit() or text[0] != "3":
        raise InvalidParameter("The specified nextToken is invalid.")
    cuts = [1, 16, 36, 56]
    when, chunk, index = (int(text[a:b]) for a, b in pairwise(cuts))
    return when, chunk, index


def read_page(connection: sqlite3.Connection, query: EventQuery) -> LogPage:
    """Read one page of a search."""
    events: list[FoundEvent] = []
    seen: EventPosition | None = None
    walk = _Walk(connection, query)
    size = 0
    for event in walk:
        if query.matches is None or query.matches(event.message):
            size += len(event.message) + 26
            if events and (size > LOG_PAGE_BYTES or len(events) == query.limit):
                return LogPage(events, seen)
            events.append(event)
        seen = event.position
        if walk.read_bytes > READ_BYTES:
            return LogPage(events, seen)
    return LogPage(events, None)


class _Walk:
    """Merges overlapping chunks: a chunk is opened only when the walk reaches its start."""

    def __init__(self, connection: sqlite3.Connection, query: EventQuery) -> None:
        self.read_bytes = 0
        self._connection = connection
        self._query = query

    def __iter__(self) -> Iterator[FoundEvent]:
        query = self._query
        sign = -1 if query.backward else 1
        heap: list[tuple[tuple[int, ...], FoundEvent]] = []
        for chunk_id, stream_id, near_ms, ingested_ms, exact in self._chunks():
            while heap and heap[0][0][0] < sign * near_ms:
                yield heapq.heappop(heap)[1]
            time.sleep(0)  # lets the event loop's thread have the interpreter: a search must not make invocations wait
            body = self._connection.execute("SELECT body FROM chunks WHERE id = ?", (chunk_id,)).fetchone()
            for event in self._open(chunk_id, query.streams[stream_id], ingested_ms, exact, body[0]):
                heapq.heappush(heap, (tuple(sign * part for part in event.position), event))
        while heap:
            yield heapq.heappop(heap)[1]

    def _chunks(self) -> Iterator[tuple[int, ...]]:
        """Yield the chunks that may hold matching events, ordered by the end that the walk reaches first."""
        query = self._query
        start_ms, end_ms = query.start_ms, query.end_ms
        if query.after is not None:
            start_ms, end_ms = (start_ms, min(end_ms, query.after[0] + 1)) if query.backward else (max(start_ms, query.after[0]), end_ms)
        near = "last_ms" if query.backward else "first_ms"
        for row in self._connection.execute(
            f"SELECT id, stream_id, {near}, ingested_ms, exact FROM chunks WHERE group_id = :group "
            f"AND first_ms >= :start - {SPAN_LIMIT_MS} AND first_ms < :end AND last_ms >= :start AND last_ms < :end + {SPAN_LIMIT_MS} "
            f"ORDER BY {near} {'DESC' if query.backward else 'ASC'}, id {'DESC' if query.backward else 'ASC'}",
            {"group": query.group_id, "start": start_ms, "end": end_ms},
        ):
            if row[1] in query.streams:
                yield row

    def _open(self, chunk_id: int, stream: str, ingested_ms: int, exact: int, body: bytes) -> Iterator[FoundEvent]:
        query = self._query
        lines = zlib.decompress(body)
        self.read_bytes += len(lines)
        for index, (when, text) in enumerate(decode_events(lines)):
            position = (when, chunk_id, index)
            if not query.start_ms <= when < query.end_ms:
                continue
            if query.after is not None and (position >= query.after if query.backward else position <= query.after):
                continue
            yield FoundEvent(position, stream, ingested_ms, text if exact else text + "\n")
