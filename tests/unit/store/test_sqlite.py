"""The document store: compare-and-set, listing, revisions."""

import asyncio
import logging
from pathlib import Path

import pytest

from hanabi.base.health import Health
from hanabi.errors import RevisionMismatch, ServiceError
from hanabi.store.sqlite import SqliteStore


async def test_documents(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    assert await store.get("a/b") is None
    first = await store.put("a/b", {"x": [1, "é", None]})
    second = await store.put("a/c", {}, revision=0)
    assert second > first
    assert await store.get("a/b") == ({"x": [1, "é", None]}, first)
    await store.put("ab", {})
    assert [key for key, _, _ in await store.list("a/")] == ["a/b", "a/c"]
    assert len(await store.list("")) == 3
    await store.delete("a/b")
    await store.delete("a/b")
    assert await store.get("a/b") is None
    await store.close()


async def test_compare_and_set(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    revision = await store.put("k", {"n": 1}, revision=0)
    with pytest.raises(RevisionMismatch):
        await store.put("k", {"n": 2}, revision=0)
    results = await asyncio.gather(*(store.put("k", {"n": n}, revision=revision) for n in range(5)), return_exceptions=True)
    assert sum(isinstance(result, RevisionMismatch) for result in results) == 4
    with pytest.raises(RevisionMismatch):
        await store.delete("k", revision=revision)
    found = await store.get("k")
    assert found is not None
    await store.delete("k", revision=found[1])
    await store.close()


def test_revisions_grow_over_restarts_and_deletes(tmp_path: Path) -> None:
    async def once() -> int:
        store = SqliteStore(tmp_path / "state.db")
        await store.open()
        revision = await store.put("k", {})
        await store.delete("k")
        await store.close()
        return revision

    assert asyncio.run(once()) < asyncio.run(once())


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
