"""A part of a store: nothing of the other parts is seen or touched. Its contract is in test_contract.py."""

from pathlib import Path

import pytest

from hanabi.contracts.store import Change
from hanabi.errors import DocumentDamaged
from hanabi.store.scoped import ScopedStore
from hanabi.store.sqlite import SqliteStore


async def test_what_is_damaged_goes_by_its_own_key_in_its_own_part(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    try:
        one, other = ScopedStore(store, "1/"), ScopedStore(store, "2/")
        seen: list[Change] = []
        other.watch("", seen.append)
        await one.put("f/x", {"n": 1})
        await other.put("f/x", {"n": 2})
        assert [change.value for change in seen] == [{"n": 2}] and seen[0].key == "f/x"
        await store._database.write(lambda connection: connection.execute("UPDATE documents SET value = '{' WHERE key = '1/f/x'").rowcount)
        assert await one.list("f/") == [] and one.damaged.keys() == {"f/x"} and other.damaged == {}
        with pytest.raises(DocumentDamaged, match=r"^The document f/x") as raised:
            await one.get("f/x")
        assert raised.value.key == "f/x"
        await one.quarantine("f/x")
        assert one.damaged == {} and await one.get("f/x") is None and await other.get("f/x") is not None
    finally:
        await store.close()
