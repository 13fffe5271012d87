"""The append-only record of what ran: written at once on the warm path, indexed behind it.

A write has reached the kernel when it returns, so `kill -9` loses nothing. It reaches the disk within a second: a power cut may take the
last second with it. The index (`record.db`) remembers in the same transaction how far it has read, so that each frame counts once.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from hanabi.contracts import Clock, LogEvent, Record
from hanabi.ledger.codec import EXACT, FINISH, LINES, FrameTooLarge, encode, frame_size
from hanabi.ledger.index import add_frames, prune, read_progress, write_progress
from hanabi.ledger.segments import SegmentWriter, list_segments, segment_path
from hanabi.store.database import Database

log = logging.getLogger(__name__)

SEGMENT_SIZE = 16 * 1024 * 1024
SYNC_INTERVAL_S = 1.0
PRUNE_INTERVAL_S = 60.0
READ_SIZE = 8 * 1024 * 1024  # journal bytes in one transaction of the index; more when one frame is larger
LOG_LIMIT = 2 * 1024**3  # bytes of (compressed) log chunks kept
LEDGER_LIMIT = 5_000_000  # rows of single invocations kept; the hourly sums are kept for good


class FileJournal:
    """A `contracts.Journal` in files, with its index in `database` (opened with `index.SCHEMA`)."""

    def __init__(
        self,
        directory: Path,
        database: Database,
        clock: Clock,
        *,
        segment_size: int = SEGMENT_SIZE,
        log_limit: int = LOG_LIMIT,
        ledger_limit: int = LEDGER_LIMIT,
    ) -> None:
        self.lost = 0  # frames that could not be written: the disk was full
        self._directory = directory
        self._database = database
        self._clock = clock
        self._segment_size = segment_size
        self._limits = (log_limit, ledger_limit)
        self._indexing = asyncio.Lock()
        self._written = asyncio.Event()
        self._position = (0, 0)
        self._pruned_at = -PRUNE_INTERVAL_S
        self._writer: SegmentWriter | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin a new segment; what an earlier process left unindexed is indexed in the background."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._position = await self._database.read(read_progress)
        number = max([self._position[0], *list_segments(self._directory)]) + 1
        self._writer = SegmentWriter(self._directory, number, self._segment_size)
        self._written.set()
        self._keeper = asyncio.create_task(self._keep(), name="journal keeper")

    async def close(self) -> None:
        """Index and sync what was written."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        if self._writer is not None:
            try:
                await self.settle()
            except sqlite3.Error:
                log.exception("the index of the record is behind; it catches up at the next start")
            writer, self._writer = self._writer, None
            await asyncio.to_thread(writer.close)

    def log(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        if events:
            self._append(LINES, group, stream, events, None)

    def put(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        """As `log`, for text that is kept as it is: it came through PutLogEvents, not line by line out of a pipe."""
        self._append(EXACT, group, stream, events, None)

    def finish(self, record: Record, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        self._append(FINISH, group, stream, events, record)

    async def settle(self) -> None:
        target = self._end()
        async with self._indexing:
            while self._position < target:
                self._position = await self._database.write(self._index_some)

    def _append(self, kind: str, group: str, stream: str, events: Sequence[LogEvent], record: Record | None) -> None:
        assert self._writer is not None, "the journal is not open"
        try:
            frame = encode(kind, group, stream, events, record)
        except FrameTooLarge:
            middle = len(events) // 2
            self._append(EXACT if kind == EXACT else LINES, group, stream, events[:middle], None)
            self._append(kind, group, stream, events[middle:], record)
            return
        try:
            self._writer.append(frame)
        except OSError as error:
            # The function has run: its answer is worth more than its record. The count is there for whoever watches the node.
            if not self.lost:
                log.error("the record cannot be written: %s", error)
            self.lost += 1
        self._written.set()

    async def _keep(self) -> None:
        """Own the journal's background work: once a second, as long as something is written, sync and index."""
        while True:
            await self._written.wait()
            await self._clock.sleep(SYNC_INTERVAL_S)
            self._written.clear()
            assert self._writer is not None
            try:
                await asyncio.to_thread(self._writer.sync)
                await self.settle()
                await self._prune()
            except (OSError, sqlite3.Error):
                log.exception("the record could not be synced or indexed; trying again")
                self._written.set()

    async def _prune(self) -> None:
        if self._clock.monotonic() - self._pruned_at >= PRUNE_INTERVAL_S:
            self._pruned_at = self._clock.monotonic()
            await self.prune()

    async def prune(self) -> None:
        """Drop what is over the size bounds or past its group's retention."""
        now_ms = int(self._clock.time() * 1000)
        await self._database.write(lambda connection: prune(connection, now_ms, *self._limits))

    def _end(self) -> tuple[int, int]:
        return self._writer.position if self._writer is not None else self._position

    def _index_some(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """One step of the index, in the caller's transaction, on the database's thread. Returns the new position."""
        end = self._end()
        number, offset = read_progress(connection)
        path = segment_path(self._directory, number)
        limit = end[1] - offset if number == end[0] else None  # beyond it, a frame may be half-written
        data = read_part(path, offset, limit)
        taken = add_frames(connection, data, int(self._clock.time() * 1000))
        if taken:
            position = (number, offset + taken)
        elif number < end[0]:
            if data:
                log.warning("%s ends in a torn frame: %d bytes dropped", path.name, path.stat().st_size - offset)
            position = (min(n for n in [*list_segments(self._directory), end[0]] if n > number), 0)
        else:
            position = end
        write_progress(connection, *position)
        for indexed in list_segments(self._directory):
            if indexed < number:  # the position was committed beyond it by an earlier step
                segment_path(self._directory, indexed).unlink()
        return position


def read_part(path: Path, offset: int, limit: int | None) -> bytes:
    """About READ_SIZE bytes from `offset`, and enough to hold at least one whole frame if there is one."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            size = READ_SIZE if limit is None else min(READ_SIZE, limit)
            data = file.read(size)
            wanted = frame_size(data)
            if len(data) < wanted and (limit is None or wanted <= limit):
                data += file.read(wanted - len(data))
            return data
    except FileNotFoundError:
        return b""
