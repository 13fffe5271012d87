"""Index writers: a process of the lowest priority, or the database's thread in the server.

The journal makes sure that one writes at a time. Reads go to the database directly, in the server.
"""

import asyncio
import json
import os
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from hanabi.base.clock import Clock
from hanabi.errors import DatabaseDamaged
from hanabi.ledger import index_worker
from hanabi.ledger.index import SCHEMA, JournalPosition, prune
from hanabi.ledger.indexer import IndexStep, index_step
from hanabi.store.database import Database

ANSWER_S = 600.0  # for one step, at the lowest priority on a busy host
END_S = 30.0  # for a process that is told to end
LOWEST = 19  # the nice value while no reader waits
BEHIND_SEGMENTS = 2  # more than these not indexed: it must not fall back further


class IndexWriter(Protocol):
    """Each call is one transaction. Raises `DatabaseDamaged`, sqlite3.Error or OSError."""

    async def step(self, end: JournalPosition, now_ms: int) -> IndexStep:
        """Index the next part of the journal. `end` is the writer's position."""

    async def prune(self, now_ms: int, log_limit_bytes: int, ledger_limit_records: int) -> None: ...

    def set_urgent(self, urgent: bool) -> None:
        """Set the priority: urgent while a reader waits, or the journal grows faster than its index."""

    async def close(self) -> None:
        """Close the database's file. The next call opens it again."""


class ThreadIndexWriter:
    """Writes on the thread of the database."""

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._directory = directory

    async def step(self, end: JournalPosition, now_ms: int) -> IndexStep:
        return await self._database.write(lambda connection: index_step(connection, self._directory, end, now_ms))

    async def prune(self, now_ms: int, log_limit_bytes: int, ledger_limit_records: int) -> None:
        await self._database.write(lambda connection: prune(connection, now_ms, log_limit_bytes, ledger_limit_records))

    def set_urgent(self, urgent: bool) -> None: ...

    async def close(self) -> None: ...


class ProcessIndexWriter:
    """Writes through `index_worker`, so that indexing takes neither the interpreter lock nor a core from invocations.

    The first call starts the process, and so does the first one after its end. It ends with the server, `kill -9` included.
    """

    def __init__(self, database: Database, directory: Path, clock: Clock) -> None:
        self._path = database.path
        self._directory = directory
        self._clock = clock
        self._process: Process | None = None
        self._killed: list[Process] = []  # ending
        self._urgent = False
        self._is_held_low = False  # its priority cannot be raised
        self._segment = 0  # where the index was last

    async def step(self, end: JournalPosition, now_ms: int) -> IndexStep:
        if self._is_held_low and self._urgent and self._segment and end[0] - self._segment > BEHIND_SEGMENTS:
            await self.close()
        answer = await self._ask({"work": "step", "end": end, "now_ms": now_ms})
        segment, offset = answer["position"]
        self._segment = segment
        return IndexStep((segment, offset), answer["size"], answer["damaged_bytes"], answer["first_ms"])

    async def prune(self, now_ms: int, log_limit_bytes: int, ledger_limit_records: int) -> None:
        await self._ask(
            {"work": "prune", "now_ms": now_ms, "log_limit_bytes": log_limit_bytes, "ledger_limit_records": ledger_limit_records}
        )

    def set_urgent(self, urgent: bool) -> None:
        """An ordinary user may not raise a priority: the process goes on as it is, and is replaced when the index falls far behind."""
        if urgent != self._urgent:
            self._urgent = urgent
            if self._process is not None:
                self._set_priority(self._process)

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            timer = self._clock.call_later(END_S, _kill, process)
            try:
                await _wait_for_end(process)
            finally:
                timer.cancel()
                _kill(process)
        await self._wait_for_killed()

    async def _wait_for_killed(self) -> None:
        while self._killed:
            process = self._killed[-1]
            await _wait_for_end(process)
            if process in self._killed:
                self._killed.remove(process)

    async def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._process is not None and self._process.returncode is not None:
            self._killed.append(self._process)
            self._process = None
        await self._wait_for_killed()
        if self._process is None:
            self._process = await self._start()
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        timer = self._clock.call_later(ANSWER_S, _kill, process)
        line = b""
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            line = await process.stdout.readline()
        finally:
            timer.cancel()
            if not line.endswith(b"\n"):  # it has ended, or the caller was cancelled: its answer must not go to the next request
                _kill(process)
                self._process = None
                self._killed.append(process)
        if not line.endswith(b"\n"):
            await self._wait_for_killed()
            raise OSError(f"the process that writes {self._path} has ended with {process.returncode}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._error(answer)
        return answer

    async def _start(self) -> Process:
        """Start the process with this one's import path and the current priority."""
        paths = [path or os.getcwd() for path in sys.path]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            index_worker.__name__,
            str(self._path),
            str(self._directory),
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"},
        )
        self._set_priority(process)
        return process

    def _set_priority(self, process: Process) -> None:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        self._is_held_low = False
        try:
            os.setpriority(os.PRIO_PROCESS, process.pid, own if self._urgent else LOWEST)
        except PermissionError:
            self._is_held_low = True
        except ProcessLookupError:
            pass  # it has ended: the next request finds that out

    def _error(self, answer: Mapping[str, Any]) -> Exception:
        kind, message = answer["error"], answer["message"]
        if kind == "damaged":
            return DatabaseDamaged(self._path, f"is damaged: {message}", SCHEMA.fix)
        if kind == "sqlite":
            return sqlite3.OperationalError(f"{self._path}: {message}")
        return OSError(answer["errno"], message)


async def _wait_for_end(process: Process) -> None:
    """Wait for the end of a process and of its pipe: the loop may be closed afterwards."""
    assert process.stdout is not None
    await process.wait()
    with suppress(OSError):
        while await process.stdout.read(1 << 16):
            pass


def _kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()
