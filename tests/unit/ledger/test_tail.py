"""What came in lately, of the index."""

from pathlib import Path

import pytest

from hanabi.ledger import tail
from hanabi.ledger.tail import TailQuery, read_tail
from tests.unit.ledger.support import open_record


def test_streams_by_names_or_prefixes() -> None:
    assert TailQuery({}, 0).takes("a")
    assert [TailQuery({}, 0, frozenset({"a"})).takes(stream) for stream in ("a", "ab")] == [True, False]
    assert [TailQuery({}, 0, prefixes=("a", "c")).takes(stream) for stream in ("ab", "b", "c")] == [True, False, True]


async def test_what_is_too_much_is_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "READ_BYTES", 100)
    async with open_record(tmp_path) as store:
        place = (await store.logs.tail(["g"], None)).place
        store.journal.log("g", "s", [(number, f"{number}") for number in range(10)])
        found = await store.logs.tail(["g"], place, limit=5)
        assert [event.message for _, event in found.events] == ["0\n", "2\n", "4\n", "6\n", "8\n"] and found.is_sample
        for _ in range(4):  # of each, a chunk
            store.journal.log("g", "s", [(0, "x" * 60)])
            await store.journal.wait_indexed()
        query = TailQuery({"g": "g"}, place, matches=lambda message: False)
        found = await store.database.read(lambda connection: read_tail(connection, query))
        assert found.is_sample and found.events == []
        assert (await store.logs.tail(["g"], found.place)).events == []
