"""What is the SQLite store's own; `test_contract.py` has what every store does."""

import logging
from pathlib import Path

import pytest

from hanabi.base.health import Health
from hanabi.contracts.store import Change
from hanabi.errors import ServiceError
from hanabi.store.sqlite import SqliteStore
from hanabi.testing import ManualClock
from tests.waiting import until


async def test_revisions_grow_over_restarts_and_deletes(tmp_path: Path) -> None:
    async def once() -> int:
        store = SqliteStore(tmp_path / "state.db")
        await store.open()
        revision = await store.put("k", {})
        await store.delete("k")
        await store.close()
        return revision

    assert await once() < await once()


async def test_a_full_disk_is_told_once_until_it_is_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    health = Health()
    store = SqliteStore(tmp_path / "state.db", health=health)
    await store.open()
    pages = await store._database.write(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])

    async def limit(count: int) -> None:
        await store._database.write(lambda connection: connection.execute(f"PRAGMA max_page_count = {count}").fetchone())

    await limit(pages)
    for number in range(20):
        with pytest.raises(ServiceError, match="could not be stored"):
            await store.put(f"k{number}", {"large": "x" * 100_000})
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert [problem.key for problem in health.problems] == ["writes of state.db"]
    await limit(1 << 20)
    await store.put("k", {"large": "x" * 100_000})
    assert health.problems == []
    await store.close()


async def test_a_full_disk_is_over_though_nobody_writes(tmp_path: Path) -> None:
    health, clock = Health(), ManualClock()
    store = SqliteStore(tmp_path / "state.db", health=health, clock=clock)
    await store.put("k", {})

    await store._database.read(lambda connection: connection.execute("PRAGMA query_only = 1").fetchone())  # every write fails
    with pytest.raises(ServiceError, match="could not be stored"):
        await store.put("k", {"n": 1})
    await clock.advance(5)
    assert [problem.key for problem in health.problems] == ["writes of state.db"]
    await store._database.read(lambda connection: connection.execute("PRAGMA query_only = 0").fetchone())
    await clock.advance(120)
    await until(lambda: not health.problems)
    await store.close()


async def test_what_another_process_breaks_is_told_as_damaged(tmp_path: Path) -> None:
    here, there = SqliteStore(tmp_path / "state.db"), SqliteStore(tmp_path / "state.db")
    await here.put("k", {"n": 1})
    heard: list[Change] = []
    here.watch("k", heard.append)
    await there.put("k", {"n": 2})
    broken = "UPDATE documents SET value = '{', revision = revision + 1"
    await there._database.write(lambda connection: connection.execute(broken).rowcount)
    await here.follow()
    assert [(change.key, change.value) for change in heard] == [("k", None)] and "is not JSON" in here.damaged["k"]
    await here.follow()
    assert len(heard) == 1
    await here.close()
    await there.close()
