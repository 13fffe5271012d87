"""The append-only journal: written at once on the warm path, indexed in the background.

A write has reached the kernel when it returns, so `kill -9` loses nothing. It reaches the disk within a second: a power cut may take the
last second with it. The index (`record.db`) remembers in the same transaction how far it has read, so that each frame counts once.
Disk space is reserved ahead: when it runs out, log lines are dropped first, then new invocations are refused, so that running ones
are still recorded.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hanabi.base.clock import Clock
from hanabi.base.files import make_private_directory
from hanabi.base.health import Health
from hanabi.contracts.journal import LogEvent, Record
from hanabi.errors import DatabaseDamaged
from hanabi.ledger.disk_space import free_bytes
from hanabi.ledger.frames import DELETE, EXACT, FINISH, LINES, FrameTooLarge, encode, encode_text
from hanabi.ledger.index import JournalPosition, read_progress, select_records, set_sums
from hanabi.ledger.index_writer import BEHIND_SEGMENTS, IndexWriter, ThreadIndexWriter
from hanabi.ledger.indexer import check_versions, index_step, retire
from hanabi.ledger.losses import LossCounter
from hanabi.ledger.report import text_events
from hanabi.ledger.segments import SegmentWriter, list_segments
from hanabi.ledger.usage_copy import UsageCopy
from hanabi.store.database import Database

T = TypeVar("T")
log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 * 1024 * 1024  # two are reserved: the present one and the next
RECORD_BYTES = 4096  # bytes of a frame of a record and its last two lines, at most
LAST_LINES = 2  # END and REPORT
SYNC_INTERVAL_S = 1.0
RETRY_INTERVAL_S = 1.0  # between attempts to have room
PRUNE_INTERVAL_S = 60.0
LOG_LIMIT_BYTES = 2 * 1024**3  # bytes of (compressed) log chunks kept
LEDGER_LIMIT_RECORDS = 5_000_000  # rows of single invocations kept; the hourly sums are kept for good
KEPT_LIMIT_BYTES = 512 * 1024 * 1024  # bytes of segments that are indexed, kept so that the index can be made anew ...
FREE_LIMIT_BYTES = 1024**3  # ... as long as so much of the disk is free


class FileJournal:
    """A `contracts.Journal` in files, with its index in `database` (opened with `index.SCHEMA`) and the sums in `copy` as well.

    `index_writer` None: the database's own thread writes the index.
    """

    def __init__(
        self,
        directory: Path,
        database: Database,
        copy: UsageCopy,
        clock: Clock,
        *,
        index_writer: IndexWriter | None = None,
        health: Health | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        log_limit_bytes: int = LOG_LIMIT_BYTES,
        ledger_limit_records: int = LEDGER_LIMIT_RECORDS,
        kept_limit_bytes: int = KEPT_LIMIT_BYTES,
    ) -> None:
        self.full = False  # new invocations are to be refused: there may be no room for their records
        self.directory = directory
        self._health = health = health or Health(clock)
        self.tally = LossCounter(directory / "lost.json", health, clock)
        self._database = database
        self._index = index_writer or ThreadIndexWriter(database, directory)
        self._copy = copy
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._log_room = segment_bytes // 4  # left for records alone: for 1,000 invocations at once
        self._limits = (log_limit_bytes, ledger_limit_records)
        self._kept_limit_bytes = kept_limit_bytes
        self._tight = False  # the next segment cannot be had
        self._broken = False  # the present one cannot be written
        self._indexing = asyncio.Lock()  # held while the index is written
        self._waiting = 0  # callers who wait for the index
        self._written = asyncio.Event()
        self._wanted = asyncio.Event()
        self._position: JournalPosition = (0, 0)
        self._touched_ms: int | None = 0  # the earliest hour whose sums the copy does not have
        self._pruned_at = -PRUNE_INTERVAL_S
        self._rebuilt = 0
        self._writer: SegmentWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        health.gauge("hanabi_record_room_bytes", "Bytes of the disk that the journal has ahead", self._room)
        health.gauge(
            "hanabi_record_refusing", "1 while new invocations are refused because there is no room for their records", lambda: self.full
        )

    async def open(self) -> None:
        """Begin a new segment; index in the background what an earlier process left unindexed."""
        await asyncio.to_thread(self._prepare)
        await self._copy.open()
        try:
            await self._database.open()
            await self._find_position()
        except DatabaseDamaged as error:
            await self._quarantine_index(error)
            await self._find_position()
        number = max([self._position[0], self._copy.place[0], *list_segments(self.directory)]) + 1
        self._writer = await asyncio.to_thread(SegmentWriter, self.directory, number, self._segment_bytes, self._wanted.set)
        await self._reserve()
        self._written.set()
        self._tasks = [
            asyncio.create_task(self._keep(), name="journal keeper"),
            asyncio.create_task(self._keep_room(), name="journal room"),
        ]

    async def close(self) -> None:
        """Index and sync what was written."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
            self._tasks = []
        if self._writer is not None:
            try:
                await self.wait_indexed()
                await self._save()
            except (OSError, sqlite3.Error):
                log.exception("the index of the record is behind; it catches up at the next start")
            await self._index.close()
            writer, self._writer = self._writer, None
            try:
                await asyncio.to_thread(writer.close)
            except OSError as error:
                log.error("the last segment of the journal could not be synced: %s", error)
        await self._copy.close()
        await asyncio.to_thread(self.tally.close)

    def _prepare(self) -> None:
        make_private_directory(self.directory)
        check_versions(self.directory)
        self.tally.open()

    # --- writing ------------------------------------------------------------------------------------------------------

    def log(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        if events:
            self._append(LINES, group, stream, events, None)

    def put(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        """Append as `log`, but keep the text as it is: it came through PutLogEvents, not line by line from a pipe."""
        self._append(EXACT, group, stream, events, None)

    def delete(self, group: str, stream: str = "") -> None:
        """Delete what was written so far of a stream or a group, from the index and from any later rebuild of it."""
        self._append(DELETE, group, stream, [], None)

    def finish(self, record: Record, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        self._append(FINISH, group, stream, events, record)

    def finish_text(self, record: Record, group: str, stream: str, events: Sequence[LogEvent], start_ms: int | None, end_ms: int) -> None:
        try:
            frame = encode_text(record, group, stream, events, start_ms, end_ms)
        except FrameTooLarge:
            self._append(LINES, group, stream, text_events(record, events, start_ms, end_ms)[:-LAST_LINES], None)
            frame, events, start_ms = encode_text(record, group, stream, (), None, end_ms), (), None
        if not self._write(frame):
            self._append_tight(frame, group, stream, text_events(record, events, start_ms, end_ms), record)

    def _append(self, kind: str, group: str, stream: str, events: Sequence[LogEvent], record: Record | None) -> None:
        try:
            frame = encode(kind, group, stream, events, record)
        except FrameTooLarge:
            middle = len(events) // 2
            self._append(EXACT if kind == EXACT else LINES, group, stream, events[:middle], None)
            self._append(kind, group, stream, events[middle:], record)
            return
        if not self._write(frame):
            self._append_tight(frame, group, stream, events, record)

    def _write(self, frame: bytes) -> bool:
        """Write a frame; where the current segment takes no more, into the next one, whose space is reserved already.

        False: space is short.
        """
        assert self._writer is not None, "the journal is not open"
        self._written.set()
        if self._tight:
            return False
        try:
            self._writer.append(frame)
            return True
        except OSError as error:
            log.error("the journal cannot be written: %s", error)
        if self._writer.skip():
            try:
                self._writer.append(frame)
                return True
            except OSError:
                pass
        self._tight = self._broken = True
        self._wanted.set()
        return False

    def _append_tight(self, frame: bytes, group: str, stream: str, events: Sequence[LogEvent], record: Record | None) -> None:
        """Append when space is short: the reserve is for the records of running invocations, log lines get only what exceeds it."""
        assert self._writer is not None
        if self._broken or self._writer.room - len(frame) < self._log_room:
            self._append_record(group, stream, events, record)
        else:
            try:
                self._writer.append(frame)
            except OSError:
                self._broken = True
                self._append_record(group, stream, events, record)
        self._set_full()

    def _append_record(self, group: str, stream: str, events: Sequence[LogEvent], record: Record | None) -> None:
        """Append a record with its last lines, or count it as lost."""
        assert self._writer is not None
        now_ms = int(self._clock.time() * 1000)
        if record is None:
            self.tally.add(now_ms, log_lines=len(events))
            return
        last = events[-LAST_LINES:]
        frame = encode(FINISH, group, stream, last, record)
        if len(frame) > RECORD_BYTES:
            last = ()
            error_type = None if record.error_type is None else record.error_type[:256]
            frame = encode(FINISH, group, stream, last, replace(record, error_type=error_type, trace=record.trace[:256]))
        try:
            self._writer.append(frame)
        except OSError as error:
            # The function has run: its answer is worth more than its record.
            self._broken = True
            log.error("the record of an invocation is lost: %s", error)
            self.tally.add(now_ms, invocations=1, log_lines=len(events))
        else:
            if len(events) > len(last):
                self.tally.add(now_ms, log_lines=len(events) - len(last))

    # --- room ---------------------------------------------------------------------------------------------------------

    def _room(self) -> float:
        return self._writer.room if self._writer is not None else 0

    def _set_full(self) -> None:
        """Refuse new invocations while less than twice the reserve for records is left."""
        assert self._writer is not None
        self.full = self._tight and (self._broken or not self._writer.reserves or self._writer.room < 2 * self._log_room)
        if self._tight:
            what = "new invocations are refused" if self.full else "new invocations will be refused soon"
            self._health.report("record-room", f"there is no room for the record on the disk of {self.directory}: {what}")

    async def _reserve(self) -> bool:
        """Make the next segment ready, if need be in place of those that are kept for a damaged index."""
        assert self._writer is not None
        while True:
            try:
                await asyncio.to_thread(self._writer.reserve)
            except OSError as error:
                if await asyncio.to_thread(self._retire, 0):
                    continue
                log.debug("no room for the next segment: %s", error)
                self._tight = True
                self._set_full()
                return False
            if self._broken:
                self._writer.skip()
                self._broken = False
                continue
            if self._tight:
                self._tight = self.full = False
                self._health.clear("record-room")
            return True

    async def _keep_room(self) -> None:
        """Run the reservation: make the next segment as soon as the last one is used, and try again until it is made."""
        assert self._writer is not None
        while True:
            if self._writer.reserves and not self._tight:
                await self._wanted.wait()
            else:
                await self._clock.sleep(RETRY_INTERVAL_S)
            self._wanted.clear()
            await self._reserve()

    # --- the index ----------------------------------------------------------------------------------------------------

    async def wait_indexed(self) -> None:
        """Wait until the index is up to date. Raises sqlite3.Error or OSError when it cannot be."""
        self._waiting += 1
        try:
            self._set_urgent()
            await self._catch_up()
        finally:
            self._waiting -= 1
            self._set_urgent()

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Change the index directly, once it is up to date. Raises as `wait_indexed`."""
        await self.wait_indexed()
        async with self._indexing:
            return await self._database.write(work)

    async def _catch_up(self) -> None:
        target = self._end()
        async with self._indexing:
            while self._position < target:
                self._set_urgent()
                try:
                    step = await self._index.step(self._end(), int(self._clock.time() * 1000))
                except DatabaseDamaged as error:
                    await self._rebuild(error)
                    continue
                self._position = step.position
                if step.first_ms is not None:
                    self._touched_ms = step.first_ms if self._touched_ms is None else min(self._touched_ms, step.first_ms)
                if step.damaged_bytes:
                    self._on_damage(step.damaged_bytes)

    def _set_urgent(self) -> None:
        """Make indexing urgent while a reader waits for it, or it falls behind."""
        self._index.set_urgent(self._waiting > 0 or self._end()[0] - self._position[0] > BEHIND_SEGMENTS)

    async def try_wait_indexed(self) -> str:
        """Wait as `wait_indexed`, for callers that accept an old index: returns why it is behind, or an empty string."""
        try:
            await self.wait_indexed()
        except (OSError, sqlite3.Error) as error:
            self._report_behind(error)
            return str(error)
        return ""

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read from the index; rebuild it first if it is found damaged."""
        try:
            return await self._database.read(work)
        except DatabaseDamaged as error:
            async with self._indexing:
                await self._rebuild(error)
            await self.try_wait_indexed()
            return await self._database.read(work)

    async def records(self, limit: int = 1000) -> list[Record]:
        """Return the last records, oldest first."""
        await self.try_wait_indexed()
        return await self.read(lambda connection: select_records(connection, limit))

    def index_beside(self, connection: sqlite3.Connection, limit: int) -> int | None:
        """Index what follows the connection's position, without logs, up to about `limit` bytes. Returns when the last of those invocations
        began, if more is left."""
        end, now_ms, size = self._end(), int(self._clock.time() * 1000), 0
        while size < limit:
            step = index_step(connection, self.directory, end, now_ms, logs=False)
            if step.position >= end:
                return None
            size += step.size
        return int(connection.execute("SELECT ifnull(max(started_ms), 0) FROM ledger").fetchone()[0])

    async def prune(self) -> None:
        """Delete what is over the size bounds or past its group's retention."""
        async with self._indexing:
            await self._index.prune(int(self._clock.time() * 1000), *self._limits)

    async def retire(self) -> None:
        """Remove indexed segments that are over the bounds."""
        await asyncio.to_thread(lambda: self._retire(self._kept_limit_bytes if free_bytes(self.directory) >= FREE_LIMIT_BYTES else 0))

    async def _keep(self) -> None:
        """Run the journal's background work: sync and index once a second, as long as something is written."""
        while True:
            await self._written.wait()
            await self._clock.sleep(SYNC_INTERVAL_S)
            self._written.clear()
            assert self._writer is not None
            try:
                await asyncio.to_thread(self._writer.sync)
                self._health.clear("record-sync")
            except OSError as error:
                self._health.report("record-sync", f"the journal could not be brought to the disk: {error}; trying again")
                self._written.set()
            try:
                await self._catch_up()
                if self._clock.monotonic() - self._pruned_at >= PRUNE_INTERVAL_S:
                    self._pruned_at = self._clock.monotonic()
                    await self.prune()
                    await self._save()
                await self.retire()
                self._health.clear("record-behind")
            except (OSError, sqlite3.Error) as error:
                self._report_behind(error)
                self._written.set()

    async def _save(self) -> None:
        if self._touched_ms is not None:
            since_ms, self._touched_ms = self._touched_ms, None
            try:
                await self._copy.save(self._database, since_ms)
            except BaseException:
                self._touched_ms = since_ms if self._touched_ms is None else min(self._touched_ms, since_ms)
                raise

    def _report_behind(self, error: Exception) -> None:
        self._health.report("record-behind", f"the index of the record cannot be brought up to date: {error}; trying again")

    def _on_damage(self, size: int) -> None:
        self.tally.add(int(self._clock.time() * 1000), damaged_bytes=size)
        self._health.report("record-damaged", f"segments of the journal were damaged; they are kept in {self.directory / 'damaged'}")

    async def _find_position(self) -> None:
        """Read the index's position. An index behind the copy of the sums is new, or an old one put back: it takes the sums over."""
        self._position = await self._database.read(read_progress)
        place = self._copy.place
        if self._position >= place:
            self._touched_ms = 0 if self._position != place else None
            return
        if self._position == (0, 0):
            self._health.report("record-index", f"{self._database.path} is made anew from the journal, with the sums of usage.db")
        rows = await self._copy.load()
        await self._database.write(lambda connection: set_sums(connection, rows, place))

    async def _rebuild(self, error: DatabaseDamaged) -> None:
        """Rebuild the index, while nothing else indexes. Raises the error when that does not help: the disk is at fault."""
        if self._rebuilt >= 3:
            raise error
        self._rebuilt += 1
        await self._quarantine_index(error)
        await self._find_position()

    async def _quarantine_index(self, error: DatabaseDamaged) -> None:
        await self._index.close()
        aside = await self._database.quarantine()
        self._health.report("record-index", f"{error}. It is made anew from the journal; what it was is kept as {aside}")

    def _retire(self, limit: int) -> int:
        """Remove segments that are indexed, and summed up in both places."""
        return retire(self.directory, min(self._position[0], self._copy.place[0]), limit)

    def _end(self) -> JournalPosition:
        return self._writer.position if self._writer is not None else self._position
