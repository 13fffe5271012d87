"""What every ledger does: `contracts.journal.Journal` written, `contracts.logs.Logs` and `contracts.usage.Usage` asked."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hanabi.contracts.journal import Journal
from hanabi.contracts.logs import FoundEvent, LogPage, Logs
from hanabi.contracts.usage import Usage
from hanabi.ledger.log_errors import AlreadyExists, NoSuchGroup, NoSuchStream
from hanabi.testing import ManualClock
from hanabi.testing.ledger import MemoryLedger
from tests.unit.ledger.support import make_record, open_record, record_events

HOUR_MS = 3_600_000


@dataclass
class Ledger:
    journal: Journal
    logs: Logs
    usage: Usage
    now_ms: int

    async def pages(self, **query: object) -> list[LogPage]:
        """All pages of the group "g"."""
        pages = [await self.logs.find("g", **query)]  # type: ignore[arg-type]
        while pages[-1].last is not None:
            pages.append(await self.logs.find("g", **{**query, "after": pages[-1].last}))  # type: ignore[arg-type]
        return pages

    async def messages(self, **query: object) -> list[str]:
        events: list[FoundEvent] = sum((page.events for page in await self.pages(**query)), [])
        return [event.message.rstrip("\n") for event in events]


@pytest.fixture(params=("file", "memory"))
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    clock = ManualClock()
    now_ms = int(clock.time() * 1000)
    if request.param == "memory":
        memory = MemoryLedger(clock)
        yield Ledger(memory, memory, memory, now_ms)
        return
    async with open_record(tmp_path, clock) as store:
        yield Ledger(store.journal, store.logs, store.usage, now_ms)


async def test_what_an_invocation_printed_is_found_when_it_is_indexed(ledger: Ledger) -> None:
    record = make_record(started_ms=ledger.now_ms)
    ledger.journal.log("g", "s", [(ledger.now_ms - 1, "before")])
    ledger.journal.finish(record, "g", "s", record_events(record, "hello"))
    await ledger.journal.wait_indexed()
    (page,) = await ledger.pages()
    assert [event.message for event in page.events[:3:2]] == ["before\n", "hello\n"] and len(page.events) == 5
    assert {event.stream for event in page.events} == {"s"} and page.events[0].time_ms == ledger.now_ms - 1
    (group,) = await ledger.logs.groups()
    assert (group.name, group.retention_days, group.tags) == ("g", None, {}) and group.stored_bytes > 0
    (stream,) = await ledger.logs.streams("g")
    assert (stream.name, stream.first_ms, stream.last_ms) == ("s", ledger.now_ms - 1, ledger.now_ms)


async def test_groups_and_streams_are_made_named_and_deleted(ledger: Ledger) -> None:
    logs = ledger.logs
    for name in ("b", "a/1", "a/2", "c"):
        await logs.create_group(name, {"k": name})
    with pytest.raises(AlreadyExists):
        await logs.create_group("b", {})
    assert [group.name for group in await logs.groups(prefix="a/")] == ["a/1", "a/2"]
    assert [group.name for group in await logs.groups(pattern="1")] == ["a/1"]
    assert [group.name for group in await logs.groups(after="a/1", limit=2)] == ["a/2", "b"]
    assert (await logs.group("c")).tags == {"k": "c"}
    for name in ("s2", "s1", "t"):
        await logs.create_stream("b", name)
    with pytest.raises(AlreadyExists):
        await logs.create_stream("b", "t")
    assert [stream.name for stream in await logs.streams("b", prefix="s")] == ["s1", "s2"]
    await logs.put("b", "t", [(ledger.now_ms, "x")])
    await logs.delete_stream("b", "t")
    assert (await logs.find("b")).events == [] and len(await logs.streams("b")) == 2
    await logs.delete_group("b")
    for call in (logs.group("b"), logs.delete_group("b"), logs.set_retention("b", 1), logs.streams("b"), logs.find("b")):
        with pytest.raises(NoSuchGroup):
            await call
    for call in (logs.delete_stream("c", "s"), logs.put("c", "s", []), logs.find("c", streams=["s"])):
        with pytest.raises(NoSuchStream):
            await call


async def test_tags_are_added_changed_and_removed(ledger: Ledger) -> None:
    await ledger.logs.create_group("g", {"a": "1", "b": "2"})
    await ledger.logs.change_tags("g", {"b": "3", "c": "4"}, ["a", "z"])
    assert (await ledger.logs.group("g")).tags == {"b": "3", "c": "4"}
    with pytest.raises(NoSuchGroup):
        await ledger.logs.change_tags("h", {}, [])


async def test_a_tail_is_what_came_in_since(ledger: Ledger) -> None:
    now_ms = ledger.now_ms
    ledger.journal.log("g", "a", [(now_ms, "before")])
    place = (await ledger.logs.tail(["g", "h"], None)).place
    assert (await ledger.logs.tail(["g", "h"], place)).events == []
    ledger.journal.log("g", "a", [(now_ms + 5, "1"), (now_ms + 6, "2")])
    ledger.journal.log("other", "a", [(now_ms, "x")])
    ledger.journal.log("h", "bc", [(now_ms - 5, "3")])  # made since

    async def tailed(**query: object) -> list[tuple[str, str, str]]:
        tail = await ledger.logs.tail(["g", "h"], place, **query)  # type: ignore[arg-type]
        assert tail.place > place and tail.is_sample is (query.get("limit") == 1)
        return [(group, event.stream, event.message) for group, event in tail.events]

    assert await tailed() == [("g", "a", "1\n"), ("g", "a", "2\n"), ("h", "bc", "3\n")]
    assert await tailed(limit=1) == [("g", "a", "1\n")]
    assert await tailed(streams=["a"]) == [("g", "a", "1\n"), ("g", "a", "2\n")]
    assert await tailed(prefixes=["b", "x"]) == [("h", "bc", "3\n")]
    assert await tailed(matches=lambda message: "2" in message) == [("g", "a", "2\n")]
    place = (await ledger.logs.tail(["g", "h"], place)).place
    assert (await ledger.logs.tail(["g", "h"], place)).events == []


async def test_events_are_found_in_order_of_time_by_pages_both_ways(ledger: Ledger) -> None:
    await ledger.logs.create_group("g", {})
    for stream in ("a", "b", "other"):
        await ledger.logs.create_stream("g", stream)
    now_ms = ledger.now_ms
    await ledger.logs.put("g", "a", [(now_ms, "0"), (now_ms + 2, "2"), (now_ms + 4, "4")])
    await ledger.logs.put("g", "b", [(now_ms + 1, "1"), (now_ms + 3, "3")])
    await ledger.logs.put("g", "other", [(now_ms + 2, "x")])
    for limit in (1, 2, 100):
        assert await ledger.messages(limit=limit, streams=["a", "b"]) == ["0", "1", "2", "3", "4"]
        assert await ledger.messages(limit=limit, streams=["a", "b"], backward=True) == ["4", "3", "2", "1", "0"]
    assert await ledger.messages(prefix="b") == ["1", "3"]
    assert await ledger.messages(start_ms=now_ms + 1, end_ms=now_ms + 3) in (["1", "2", "x"], ["1", "x", "2"])
    assert await ledger.messages(matches=lambda message: message in "13", limit=1) == ["1", "3"]


async def test_what_is_older_than_its_group_keeps_is_not_found(ledger: Ledger) -> None:
    await ledger.logs.create_group("g", {})
    await ledger.logs.create_stream("g", "s")
    await ledger.logs.put("g", "s", [(ledger.now_ms - 50 * HOUR_MS, "old"), (ledger.now_ms - 20 * HOUR_MS, "new")])
    await ledger.logs.set_retention("g", 1)
    assert await ledger.messages() == ["new"] and (await ledger.logs.group("g")).retention_days == 1
    await ledger.logs.set_retention("g", None)
    assert await ledger.messages() == ["old", "new"]


async def test_use_is_summed_by_function_and_period(ledger: Ledger) -> None:
    hour_ms = ledger.now_ms // (24 * HOUR_MS) * 24 * HOUR_MS
    for name, hours, status in (("f", 0, "success"), ("f", 0, "error"), ("f", 25, "success"), ("g", 1, "timeout")):
        record = make_record(function=name, started_ms=hour_ms + hours * HOUR_MS + 5, duration_ms=9.5, memory_mb=256, status=status)
        ledger.journal.finish(record, "g", "s", [])
    report = await ledger.usage.report("day")
    assert [(row.function, row.requests, row.errors, row.billed_ms, row.mb_ms) for row in report.rows] == [
        ("f", 2, 1, 20, 20 * 256),
        ("g", 1, 1, 10, 10 * 256),
        ("f", 1, 0, 10, 10 * 256),
    ]
    assert not report.lost and report.note == ""
    assert [row.period[-7:] for row in (await ledger.usage.report("hour", function="f")).rows] == ["T00:00Z", "T01:00Z"]
    assert [
        row.requests for row in (await ledger.usage.report("month", since_ms=hour_ms + HOUR_MS, until_ms=hour_ms + 2 * HOUR_MS)).rows
    ] == [1]
