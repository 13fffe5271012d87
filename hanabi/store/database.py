"""A SQLite database owned by one thread: each batch of writes is one transaction with one fsync."""

import asyncio
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from hanabi.errors import DatabaseDamaged
from hanabi.store.schema import Schema, check, is_damage, upgrade
from hanabi.store.watermark import SYNC_INTERVAL_S, Watermark

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

BATCH = 512  # jobs in one transaction, so that the first never waits for an endless last
log = logging.getLogger(__name__)


class DatabaseClosed(sqlite3.ProgrammingError):
    """The database was closed before the work was submitted."""


@dataclass(slots=True)
class _Job:
    work: Work | None  # None: put the file aside
    writes: bool
    future: "asyncio.Future[Any]"
    result: Any = None
    error: Exception | None = None


class Database:
    """A database on a thread of its own. The first job opens the file; errors of opening are raised to that job's caller.

    An older file is brought to `schema`'s version before anything else; a newer one is refused (`StateTooNew`), and what is no database,
    or a damaged one, raises `DatabaseDamaged`. `synchronous` FULL: a write that has returned survives a power cut; NORMAL: it survives a
    crash of the process.
    """

    def __init__(self, path: Path, schema: Schema, synchronous: str = "FULL") -> None:
        if synchronous not in ("FULL", "NORMAL"):
            raise ValueError(f"synchronous is FULL or NORMAL, not {synchronous}")
        self.path = path
        self.lost = ""  # once it is open: what the file had and has no more, in words
        self._schema = schema
        self._synchronous = synchronous
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._watermark: Watermark | None = None
        self._warned = False

    async def open(self) -> None:
        """Open the file now, and raise its errors."""
        await self._submit(lambda connection: None, False)

    async def quarantine(self) -> Path | None:
        """Rename the file and SQLite's files beside it to the first free `<name>.damaged-N`, and return that; None: no file.

        The next job makes an empty one.
        """
        aside: Path | None = await self._submit(None, False)
        return aside

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the database's thread, in a transaction; returns when it is committed.

        Writes run in the order of submission. One that raises is rolled back alone; cancelling a caller does not stop its write.
        """
        result: T = await self._submit(work, True)
        return result

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`, which sees every write submitted before it. It must not write."""
        result: T = await self._submit(work, False)
        return result

    async def close(self) -> None:
        """Finish submitted work, and close the file. Idempotent."""
        self._closed = True
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    def _submit(self, work: Work | None, writes: bool) -> "asyncio.Future[Any]":
        if self._closed:
            raise DatabaseClosed(f"{self.path} is closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"database {self.path.name}", daemon=True)
            self._thread.start()
        future = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(work, writes, future))
        return future

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        closing = False
        while not closing:
            jobs, closing = self._take()
            if not jobs:
                continue
            work = [job for job in jobs if job.work is not None]
            try:
                if work:
                    connection = connection or self._open()
                    self._run_writes(connection, [job for job in work if job.writes])
                    _run_reads(connection, [job for job in work if not job.writes])
            except Exception as error:  # the file cannot be opened: everybody in the batch is told, the next one tries again
                for job in work:
                    job.error = job.error or error
            for job in work:
                if job.error is not None and is_damage(job.error):
                    job.error = self._damaged(job.error)
            if len(work) < len(jobs):
                self._close(connection)
                connection = None
                self._quarantine([job for job in jobs if job.work is None])
            _tell(jobs)
            self._sync_watermark()
        self._close(connection)

    def _close(self, connection: sqlite3.Connection | None) -> None:
        if connection is not None:
            connection.close()
        watermark, self._watermark = self._watermark, None
        if watermark is not None:
            try:
                watermark.close()
            except OSError as error:
                log.warning("how far %s has come could not be noted: %s", self.path, error)

    def _run_writes(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        _run_writes(connection, jobs)
        if jobs and self._watermark is not None:
            try:
                self._watermark.note(self._count(connection))
            except (OSError, sqlite3.Error) as error:  # the write itself is safe
                self._warn(error)

    def _sync_watermark(self) -> None:
        """Sync the watermark after the callers were answered: they do not wait for it."""
        if self._watermark is not None:
            try:
                self._watermark.sync(SYNC_INTERVAL_S)
                self._warned = False
            except OSError as error:
                self._warn(error)

    def _warn(self, error: Exception) -> None:
        """Log a failure once, until it succeeds: the log may be on the same disk."""
        if not self._warned:
            self._warned = True
            log.warning("how far %s has come could not be noted: %s", self.path, error)

    def _count(self, connection: sqlite3.Connection) -> int:
        row = connection.execute(self._schema.counter).fetchone()
        return row[0] if row and type(row[0]) is int else 0

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for a job, then take all that are queued behind it."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == BATCH:
                return jobs, False
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs, False
        return jobs, True

    def _open(self) -> sqlite3.Connection:
        try:
            _make_private(self.path)
        except OSError as error:
            raise sqlite3.OperationalError(f"{self.path}: {error.strerror}") from error
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            check(connection, self.path, self._schema)
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise sqlite3.OperationalError(f"{self.path}: the file system does not allow SQLite's WAL mode (it gives {mode})")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            upgrade(connection, self.path, self._schema)
            if self._schema.counter:
                self._compare(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.OperationalError) and str(self.path) not in str(error):
                raise sqlite3.OperationalError(f"{self.path}: {error}") from error
            raise
        return connection

    def _compare(self, connection: sqlite3.Connection) -> None:
        try:
            self._watermark = self._watermark or Watermark(self.path)
            self.lost = self._watermark.compare(self._count(connection))
        except OSError as error:  # a full disk, or the like: no reason not to serve
            log.warning("how far %s had come cannot be compared: %s", self.path, error)

    def _damaged(self, error: Exception) -> Exception:
        return error if isinstance(error, DatabaseDamaged) else DatabaseDamaged(self.path, f"is damaged: {error}", self._schema.fix)

    def _quarantine(self, jobs: list[_Job]) -> None:
        """Rename the file for the first of the jobs."""
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        try:
            for suffix in ("-wal", "-shm", ""):  # the file itself last: until then this may be done again
                beside = self.path.with_name(self.path.name + suffix)
                if beside.exists():
                    beside.rename(aside.with_name(aside.name + suffix))
                    jobs[0].result = aside
        except OSError as error:
            for job in jobs:
                job.error = error


def _make_private(path: Path) -> None:
    """Make a file readable by its owner only. SQLite gives the files beside it the same mode."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(file, 0o600)
    finally:
        os.close(file)


def _run_writes(connection: sqlite3.Connection, jobs: list[_Job]) -> None:
    """Run writes in one transaction, each in a savepoint of its own."""
    if not jobs:
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        for job in jobs:
            connection.execute("SAVEPOINT job")
            try:
                job.result = job.work(connection) if job.work else None
            except Exception as error:
                job.error = error
                if not connection.in_transaction:  # a full disk, or the like, has undone the others too
                    raise
                connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        connection.execute("COMMIT")
    except Exception as error:
        for job in jobs:
            job.error = job.error or error
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _run_reads(connection: sqlite3.Connection, jobs: list[_Job]) -> None:
    for job in jobs:
        try:
            job.result = job.work(connection) if job.work else None
        except Exception as error:
            job.error = error


def _tell(jobs: list[_Job]) -> None:
    """Settle the futures of a whole batch with one wake-up of the loop."""
    loops: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        loops.setdefault(job.future.get_loop(), []).append(job)
    for loop, told in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, told)
        except RuntimeError:
            log.debug("nobody is left to hear of %d database jobs: their loop is closed", len(told))


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
