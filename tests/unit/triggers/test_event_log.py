"""What every `contracts.events.EventLog` does; and the queue on each of them."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hanabi.contracts.events import Backlog, Event, EventChange, EventLog
from hanabi.errors import StorageFailed
from hanabi.testing import ManualClock
from hanabi.testing.event_log import MemoryEventLog
from hanabi.triggers.event_log import SqliteEventLog
from hanabi.triggers.event_queue import DurableQueue
from tests.unit.triggers.support import FixedCatalog, ScriptedInvoker, make_route


@pytest.fixture(params=("sqlite", "memory"))
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
    if request.param == "memory":
        yield MemoryEventLog()
        return
    log = SqliteEventLog(tmp_path / "events.db")
    await log.open()
    yield log
    await log.close()


def event(accepted_ms: int = 100, payload: bytes = b"{}", **more: object) -> Event:
    values = {
        "id": 0,
        "attempts": 0,
        "refusals": 0,
        "request_id": "r",
        "function": "f",
        "qualifier": None,
        "client_context": "",
        "trace": "t",
    }
    return Event(**{**values, "accepted_ms": accepted_ms, "payload": payload, "trace": "t", **more})  # type: ignore[arg-type]


async def test_what_is_added_is_due_at_once_whole_and_in_order(log: EventLog) -> None:
    ids = [await log.add(event(100 + n, bytes([n]), request_id=f"r{n}", qualifier="q" if n else None)) for n in range(3)]
    assert ids == sorted(set(ids))
    due = await log.load_due(1000, [], 10, 1000)
    assert due.events == [event(100 + n, bytes([n]), id=ids[n], request_id=f"r{n}", qualifier="q" if n else None) for n in range(3)]
    assert due.next_ms is None and await log.count() == 3
    assert (await log.load_due(100, [], 10, 1000)).next_ms == 101


async def test_a_follow_up_takes_the_place_of_what_has_ended_once(log: EventLog) -> None:
    ended = await log.add(event(100))
    follow_up = event(200, b"next", function="g")
    for _ in range(2):  # a write may be repeated that was done
        await log.apply([EventChange(ended, None, 0, 0, follow_up), EventChange(99, None, 0, 0, follow_up)])
    (found,) = (await log.load_due(500, [], 10, 1000)).events
    assert (found.function, found.payload, found.accepted_ms) == ("g", b"next", 200) and found.id > ended


async def test_what_has_ended_is_gone_and_what_is_postponed_is_due_then(log: EventLog) -> None:
    ids = [await log.add(event(100 + n)) for n in range(3)]
    oldest = await log.apply([EventChange(ids[0], None, 0, 0), EventChange(ids[1], 900, 1, 2), EventChange(99, 900, 1, 1)])
    assert oldest == 101 and await log.count() == 2
    due = await log.load_due(500, [], 10, 1000)
    assert ([each.id for each in due.events], due.next_ms) == ([ids[2]], 900)
    (postponed,) = (await log.load_due(900, [ids[2]], 10, 1000)).events
    assert (postponed.id, postponed.attempts, postponed.refusals) == (ids[1], 1, 2)
    assert await log.apply([EventChange(each, None, 0, 0) for each in ids]) is None
    assert await log.load_due(10_000, [], 10, 1000) == await log.load_due(0, [], 10, 1000)
    assert await log.add(event()) > ids[2]  # no id comes again


async def test_no_more_is_loaded_than_asked_for(log: EventLog) -> None:
    ids = [await log.add(event(100 + n, b"x" * 10)) for n in range(5)]
    due = await log.load_due(1000, [], 2, 1000)
    assert ([each.id for each in due.events], due.next_ms) == (ids[:2], 102)
    due = await log.load_due(1000, [ids[0]], 10, 25)
    assert ([each.id for each in due.events], due.next_ms) == (ids[1:3], 103)
    due = await log.load_due(1000, [], 10, 1)  # the first, however large it is
    assert ([each.id for each in due.events], due.next_ms) == (ids[:1], 101)


async def test_some_are_asked_for_by_name(log: EventLog) -> None:
    ids = [await log.add(event(100 + n)) for n in range(3)]
    await log.apply([EventChange(ids[2], 5000, 1, 0)])
    due = await log.load_due(1000, ids[1:], 10, 1000, [ids[2], 99])
    assert [each.id for each in due.events] == [ids[2], ids[0]] and due.next_ms is None


async def test_times_of_a_clock_that_was_set_back_are_mended(log: EventLog) -> None:
    ids = [await log.add(event(accepted_ms)) for accepted_ms in (100, 900, 100)]
    await log.apply([EventChange(ids[2], 800, 1, 0)])
    assert await log.repair_times(500, 400) == Backlog(3, 100)
    due = await log.load_due(500, [], 10, 1000)
    assert [(each.id, each.accepted_ms) for each in due.events] == [(ids[0], 100), (ids[1], 500)] and due.next_ms == 800
    assert await log.repair_times(50, 400) == Backlog(3, 50)
    assert len((await log.load_due(50, [], 10, 1000)).events) == 3
    await log.probe()


async def test_the_queue_runs_on_it(log: EventLog) -> None:
    clock = ManualClock()
    invoker = ScriptedInvoker(clock)
    fail_once = {"b"}

    def script(invocation: object) -> str | None:
        request_id = invocation.request_id  # type: ignore[attr-defined]
        if request_id in fail_once:
            fail_once.discard(request_id)
            return "Unhandled"
        return None

    invoker.script = script
    queue = DurableQueue(log, FixedCatalog(), invoker, clock)
    await queue.open()
    for request_id in "abc":
        await queue.put(make_route(), b"{}", request_id=request_id, client_context="", trace="", qualifier=None)
    await queue.wait_idle()
    assert invoker.ids == ["a", "b", "c"] and await log.count() == 1
    await clock.advance(60)
    await queue.wait_idle()
    assert invoker.ids == ["a", "b", "c", "b"] and await log.count() == 0
    await queue.close()


async def test_sqlite_s_errors_become_hanabi_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SqliteEventLog(tmp_path / "events.db")

    async def fail(work: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(log.database, "write", fail)
    monkeypatch.setattr(log.database, "read", fail)
    for call in (log.add(event()), log.apply([]), log.load_due(0, [], 1, 1), log.repair_times(0, 0), log.count(), log.probe()):
        with pytest.raises(StorageFailed, match="disk is full"):
            await call
    await log.close()
