"""Versions of databases: forward in one transaction after a copy, never backward; what is damaged is named and left alone."""

import sqlite3
from pathlib import Path

import pytest

from hanabi.errors import DatabaseDamaged, StateTooNew
from hanabi.store.database import Database
from hanabi.store.schema import CHECKED_BYTES, Schema

FIRST = Schema("CREATE TABLE IF NOT EXISTS lines (text TEXT NOT NULL);\nCREATE INDEX IF NOT EXISTS by_text ON lines (text);\n")


def count_length(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE lines SET length = length(text)")


SECOND = Schema(FIRST.script, ("ALTER TABLE lines ADD COLUMN length INTEGER NOT NULL DEFAULT 0", count_length))


async def use(path: Path, schema: Schema, *statements: str) -> list[tuple[object, ...]]:
    """The rows of the last statement."""

    def run(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows

    database = Database(path, schema)
    try:
        return await database.write(run)
    finally:
        await database.close()


async def make(path: Path) -> None:
    await use(path, FIRST, "INSERT INTO lines VALUES ('abc')")


async def test_an_older_file_is_brought_forward_after_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await make(path)
    assert await use(path, SECOND, "SELECT text, length FROM lines") == [("abc", 3)]
    assert await use(path, SECOND, "PRAGMA user_version") == [(2,)]
    backup = tmp_path / "a.db.before-v2"
    assert backup.stat().st_mode & 0o777 == 0o600
    assert await use(backup, FIRST, "SELECT * FROM lines") == [("abc",)]
    assert not list(tmp_path.glob("*draft*"))


async def test_a_copy_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "a.db.before-v2").write_text("an earlier one")
    await make(tmp_path / "a.db")
    await use(tmp_path / "a.db", SECOND, "SELECT 1")
    assert (tmp_path / "a.db.before-v2").read_text() == "an earlier one"
    assert await use(tmp_path / "a.db.before-v2-2", FIRST, "SELECT * FROM lines") == [("abc",)]


async def test_a_new_file_takes_all_steps_without_a_copy(tmp_path: Path) -> None:
    assert await use(tmp_path / "a.db", SECOND, "SELECT length FROM lines") == []
    assert await use(tmp_path / "a.db", SECOND, "PRAGMA user_version") == [(2,)]
    assert not list(tmp_path.glob("*before*"))


async def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await make(path)
    broken = Schema(FIRST.script, (*SECOND.migrations, "ALTER TABLE absent ADD COLUMN x"))
    with pytest.raises(sqlite3.OperationalError, match="absent"):
        await use(path, broken, "SELECT 1")
    assert await use(path, FIRST, "SELECT * FROM lines") == [("abc",)]
    assert await use(path, SECOND, "SELECT * FROM lines") == [("abc", 3)]


async def test_a_newer_file_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await make(path)
    await use(path, SECOND, "SELECT 1")
    before = path.read_bytes()
    with pytest.raises(StateTooNew) as caught:
        await use(path, FIRST, "SELECT 1")
    assert str(path) in str(caught.value) and "version 2" in str(caught.value) and "up to 0" in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["text", "header", "page", "version"])
async def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.db"
    await make(path)
    data = bytearray(path.read_bytes())
    if damage == "text":
        data = bytearray(b"no database at all, but longer than the header of one is: " * 20)
    elif damage == "header":
        data[:16] = bytes(16)
    elif damage == "page":
        data[4096:] = b"\xff" * len(data[4096:])
    else:
        data[60:64] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    with pytest.raises(DatabaseDamaged) as caught:
        await use(path, FIRST, "SELECT 1")
    assert str(caught.value).startswith(f"{path} ") and FIRST.fix in str(caught.value)
    assert path.read_bytes() == bytes(data)


async def test_damage_that_is_found_later_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    await make(path)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * len(data[4096:])
    path.write_bytes(data)
    assert path.stat().st_size < CHECKED_BYTES
    monkeypatch.setattr("hanabi.store.schema.CHECKED_BYTES", 0)
    with pytest.raises(DatabaseDamaged, match=r"a\.db is damaged"):
        await use(path, FIRST, "SELECT * FROM lines")


async def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"no database" * 100)
    (tmp_path / "a.db.damaged-1").write_text("an earlier one")
    database = Database(path, FIRST)
    with pytest.raises(DatabaseDamaged):
        await database.open()
    assert await database.quarantine() == tmp_path / "a.db.damaged-2"
    assert await database.read(lambda connection: connection.execute("SELECT * FROM lines").fetchall()) == []
    await database.write(lambda connection: connection.execute("INSERT INTO lines VALUES ('new')"))
    assert await database.quarantine() == tmp_path / "a.db.damaged-3"  # also one that is open
    assert await database.quarantine() is None
    assert await database.read(lambda connection: connection.execute("SELECT * FROM lines").fetchall()) == []
    await database.close()
    assert (tmp_path / "a.db.damaged-2").read_bytes() == b"no database" * 100
    assert await use(tmp_path / "a.db.damaged-3", FIRST, "SELECT * FROM lines") == [("new",)]
