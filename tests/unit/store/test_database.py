"""The database thread: group commit, savepoints, order, close."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hanabi.store.database import Database, DatabaseClosed
from hanabi.store.schema import Schema

SCHEMA = Schema("CREATE TABLE IF NOT EXISTS lines (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)")


def add(connection: sqlite3.Connection, text: str) -> int:
    return connection.execute("INSERT INTO lines (text) VALUES (?)", (text,)).lastrowid or 0


def adding(text: str) -> Callable[[sqlite3.Connection], int]:
    return lambda connection: add(connection, text)


def texts(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT text FROM lines ORDER BY id")]


async def test_writes_are_done_in_order_and_reads_see_them(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db", SCHEMA)
    names = [str(number) for number in range(50)]
    ids = await asyncio.gather(*(database.write(adding(name)) for name in names))
    assert ids == list(range(1, 51))
    assert await database.read(texts) == names
    await database.close()
    reopened = Database(tmp_path / "a.db", SCHEMA)
    assert await reopened.read(texts) == names
    await reopened.close()


async def test_a_batch_is_one_transaction(tmp_path: Path) -> None:
    """Writes that gather behind a slow one are committed together: a second connection sees none or all of them."""
    statements: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(statements.append)
        begun.set()
        go.wait(10)

    database = Database(tmp_path / "a.db", SCHEMA)
    first = asyncio.ensure_future(database.write(slow))
    await asyncio.to_thread(begun.wait, 10)
    writes = [asyncio.ensure_future(database.write(adding(str(number)))) for number in range(20)]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, *writes)
    await database.close()
    assert statements.count("BEGIN IMMEDIATE") == 1  # the slow one's had begun before the trace
    assert statements.count("COMMIT") == 2


async def test_a_failed_write_is_undone_alone(tmp_path: Path) -> None:
    def add_two(connection: sqlite3.Connection) -> None:
        add(connection, "b")
        add(connection, "a")

    database = Database(tmp_path / "a.db", SCHEMA)
    outcomes = await asyncio.gather(
        database.write(adding("a")),
        database.write(add_two),
        database.write(adding("c")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], sqlite3.IntegrityError)
    assert await database.read(texts) == ["a", "c"]
    await database.close()


async def test_an_undone_transaction_fails_all_its_writes(tmp_path: Path) -> None:
    def ruin(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")  # as SQLite does by itself when the disk is full
        raise sqlite3.OperationalError("database or disk is full")

    begun, go = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        begun.set()
        go.wait(10)

    database = Database(tmp_path / "a.db", SCHEMA)
    first = asyncio.ensure_future(database.read(slow))
    await asyncio.to_thread(begun.wait, 10)
    writes = [asyncio.ensure_future(database.write(work)) for work in (adding("a"), ruin, adding("b"))]
    await asyncio.sleep(0)
    go.set()
    await first
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [sqlite3.OperationalError] * 3
    assert await database.write(adding("c")) == 1
    assert await database.read(texts) == ["c"]
    await database.close()


async def test_a_cancelled_caller_leaves_the_write(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db", SCHEMA)
    task = asyncio.ensure_future(database.write(adding("a")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.read(texts) == ["a"]
    await database.close()


async def test_close_finishes_what_was_handed_in_and_refuses_the_rest(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db", SCHEMA)
    writes = [asyncio.ensure_future(database.write(adding(str(number)))) for number in range(1000)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*writes) == list(range(1, 1001))
    with pytest.raises(DatabaseClosed):
        await database.read(texts)
    await database.close()


async def test_trouble_with_the_file_is_told_to_whoever_asks(tmp_path: Path) -> None:
    database = Database(tmp_path / "missing" / "a.db", SCHEMA)
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError):
            await database.read(texts)
    (tmp_path / "missing").mkdir()
    assert await database.read(texts) == []
    await database.close()


async def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from hanabi.store.database import Database
        from hanabi.store.schema import Schema
        async def main():
            schema = Schema("CREATE TABLE IF NOT EXISTS lines (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)")
            database = Database(Path(sys.argv[1]), schema)
            async def add(n):
                print(await database.write(lambda c: c.execute("INSERT INTO lines (text) VALUES (?)", (str(n),)).lastrowid), flush=True)
            for base in range(0, 1_000_000, 20):
                await asyncio.gather(*(add(base + n) for n in range(20)))
        asyncio.run(main())
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "a.db")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(205)]
    os.kill(process.pid, signal.SIGKILL)
    lines += process.stdout.readlines()
    process.stdout.close()
    process.wait(10)
    answered = int([line for line in lines if line.endswith("\n")][-1])

    async def count() -> int:
        database = Database(tmp_path / "a.db", SCHEMA)
        found = await database.read(texts)
        await database.close()
        return len(found)

    assert await count() >= answered >= 205
