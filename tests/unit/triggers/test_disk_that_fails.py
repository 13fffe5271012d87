"""The event queue when its disk fails: nothing stands still, nothing runs twice in one life, nothing is lost."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hanabi.base.clock import SystemClock
from hanabi.errors import ServiceError, ShuttingDown, TooManyRequests
from hanabi.triggers.event_log import SqliteEventLog
from hanabi.triggers.event_queue import DurableQueue
from tests.unit.triggers.support import FixedCatalog, ScriptedInvoker, Setting, make_route, open_queue
from tests.waiting import until

THROTTLE = TooManyRequests("ConcurrentInvocationLimitExceeded")


def lock(directory: Path) -> sqlite3.Connection:
    """As another process that holds the file."""
    other = sqlite3.connect(directory / "events.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    return other


async def be_impatient(setting: Setting) -> None:
    await setting.database.write(lambda connection: connection.execute("PRAGMA busy_timeout = 20"))


async def test_a_locked_database_holds_up_no_event_and_none_runs_twice(tmp_path: Path) -> None:
    async with open_queue(tmp_path, window=4, concurrency=2, window_bytes=4000) as setting:
        await be_impatient(setting)
        for i in range(40):
            await setting.put(f"{i:02d}", payload=b"x" * 300)
        other = lock(tmp_path)
        await setting.queue.open()
        await until(lambda: len(setting.invoker.seen) == 40)
        assert setting.invoker.ids == [f"{i:02d}" for i in range(40)]
        await setting.queue.wait_idle()
        shown = setting.queue.meter.describe()
        assert (shown["backlog"], shown["unwritten"], shown["done"], shown["running"]) == (0, 40, 40, 0)
        assert setting.health.values()["hanabi_events_failed_writes_total"] >= 1
        assert "events.mark" in setting.problems
        for _ in range(5):
            await setting.clock.advance(30)
            await setting.queue.wait_idle()
        assert len(setting.invoker.ids) == 40
        assert await setting.queue.backlog() == 40  # as the disk knows it
        other.close()
        await until(lambda: not setting.problems, clock=setting.clock)
        assert await setting.queue.backlog() == 0
        assert len(setting.invoker.ids) == 40
        assert setting.queue.meter.describe()["unwritten"] == 0
    async with open_queue(tmp_path) as setting:
        await setting.queue.open()
        await setting.queue.wait_idle()
        assert setting.invoker.ids == []


async def test_a_postponement_that_cannot_be_written_is_kept(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        await be_impatient(setting)
        setting.invoker.script = lambda invocation: THROTTLE
        await setting.put("id-1")
        other = lock(tmp_path)
        await setting.queue.open()
        start = setting.clock.time()
        for _ in range(40):
            await setting.clock.advance(0.5)
            await until(lambda: setting.invoker.running == 0)
            await setting.queue.wait_idle()
        times = [when - start for when, _ in setting.invoker.seen]
        assert [round(b - a) for a, b in zip(times, times[1:], strict=False)] == [1, 2, 4, 8]
        setting.invoker.script = lambda invocation: None
        other.close()
        await until(lambda: not setting.problems, clock=setting.clock)
        rows = await setting.database.read(lambda c: c.execute("SELECT refusals FROM events").fetchall())
        assert rows in ([(5,)], [])
        await setting.pass_time(16)
        assert await setting.queue.backlog() == 0 == setting.queue.meter.backlog
        assert len(setting.invoker.ids) == 6


async def test_what_the_disk_does_not_know_is_written_at_the_end(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        await be_impatient(setting)
        await setting.put("id-1")
        other = lock(tmp_path)
        await setting.queue.open()
        await until(lambda: "events.mark" in setting.problems)
        other.close()
    async with open_queue(tmp_path) as setting:
        await setting.queue.open()
        await setting.queue.wait_idle()
        assert setting.invoker.ids == []


async def test_a_locked_database_is_no_202_and_said(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        await be_impatient(setting)
        await setting.queue.open()
        other = lock(tmp_path)
        async with asyncio.timeout(30):
            with pytest.raises(ServiceError, match="locked.*try again") as caught:
                await setting.put("id-1")
        assert (caught.value.code, caught.value.status) == ("ServiceException", 500)
        assert setting.problems == ["events.store"]
        other.close()
        await setting.put("id-2")
        assert setting.problems == []
        await setting.queue.wait_idle()
        assert setting.invoker.ids == ["id-2"]


async def test_an_event_that_is_stored_too_late_for_its_caller_runs(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        await setting.queue.open()
        await setting.queue.wait_idle()
        stuck, begun = threading.Event(), threading.Event()

        def hang(connection: sqlite3.Connection) -> None:
            begun.set()
            stuck.wait(60)

        hanging = asyncio.create_task(setting.database.write(hang))
        await asyncio.to_thread(begun.wait, 60)
        putting = asyncio.create_task(setting.put("late"))
        await asyncio.sleep(0)
        await setting.clock.advance(10)
        with pytest.raises(ServiceError, match="may run nevertheless"):
            await putting
        assert setting.problems == ["events.late"]
        stuck.set()
        await hanging
        await until(lambda: not setting.problems, clock=setting.clock)
        await until(lambda: setting.invoker.ids == ["late"])
        await setting.queue.wait_idle()
        assert setting.queue.meter.backlog == 0


async def test_reads_that_fail_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_queue(tmp_path) as setting:
        for i in range(3):
            await setting.put(f"{i}")
        read, failing, tries = setting.database.read, True, 0

        async def fail(work: Callable[[sqlite3.Connection], object]) -> object:
            nonlocal tries
            tries += 1
            if failing:
                raise sqlite3.OperationalError("disk I/O error")
            return await read(work)

        monkeypatch.setattr(setting.database, "read", fail)
        await setting.queue.open()
        await setting.clock.advance(200)
        assert setting.problems == ["events.read"]
        assert 5 <= tries <= 12
        failing = False
        await until(lambda: not setting.problems, clock=setting.clock)
        await setting.queue.wait_idle()
        assert setting.invoker.ids == ["0", "1", "2"]


async def test_dropped_events_are_counted_and_shown(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        setting.invoker.script = lambda invocation: "Unhandled"
        await setting.queue.open()
        await setting.put("id-1")
        await setting.pass_time(181)
        assert setting.health.values()["hanabi_events_dropped_total"] == 1
        assert setting.health.values()["hanabi_events_retried_total"] == 2
        (problem,) = setting.health.problems
        assert "1 event was dropped" in problem.text and "id-1 of hello" in problem.text and "Runtime.ExitError" in problem.text
        await setting.clock.advance(3600)
        assert setting.problems == []


async def test_what_the_stop_cut_runs_at_the_next_start(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        setting.invoker.script = lambda invocation: ShuttingDown()
        await setting.put("id-1")
        await setting.queue.open()
        await setting.queue.wait_idle()
        assert setting.invoker.ids == ["id-1"]
    async with open_queue(tmp_path) as setting:
        await setting.queue.open()
        await setting.queue.wait_idle()
        assert setting.invoker.ids == ["id-1"]
        assert await setting.queue.backlog() == 0


async def test_what_waits_is_measured(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        gate = asyncio.Event()
        setting.invoker.script = lambda invocation: gate if invocation.request_id == "slow" else THROTTLE
        await setting.put("slow")
        await setting.clock.advance(5)
        await setting.put("waits")
        await setting.queue.open()
        await until(lambda: len(setting.invoker.seen) == 2 and setting.queue.meter.describe()["running"] == 1)
        values = setting.health.values()
        assert (values["hanabi_events_backlog"], values["hanabi_events_running"], values["hanabi_events_waiting"]) == (2, 1, 1)
        assert values["hanabi_events_oldest_age_seconds"] == 5
        gate.set()
        await setting.queue.wait_idle()
        assert setting.health.values()["hanabi_events_oldest_age_seconds"] == 0
        assert setting.health.values()["hanabi_events_done_total"] == 1


HOLDER = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def hold(path: Path) -> "subprocess.Popen[bytes]":
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    return holder


async def test_another_process_that_holds_the_file_longer_than_anybody_waits(tmp_path: Path) -> None:
    """With the real clock, and SQLite's own five seconds."""

    clock = SystemClock()
    log, invoker = SqliteEventLog(tmp_path / "events.db"), ScriptedInvoker(clock)
    queue = DurableQueue(log, FixedCatalog(), invoker, clock, window=4, concurrency=2)

    async def put(request_id: str) -> None:
        await queue.put(make_route(), b"{}", request_id=request_id, client_context="", trace="", qualifier=None)

    for i in range(20):
        await put(f"{i:02d}")
    holder = hold(tmp_path / "events.db")
    try:
        await queue.open()
        await until(lambda: len(invoker.seen) == 20)
        holder.communicate(timeout=30)
        await put("after")
        await until(lambda: len(invoker.seen) == 21 and queue.meter.describe()["unwritten"] == 0)
        assert await queue.backlog() == 0
        assert invoker.ids == [*(f"{i:02d}" for i in range(20)), "after"]
    finally:
        holder.kill()
        holder.communicate()
        await queue.close()
        await log.close()


async def test_on_a_full_disk_events_wait_and_run_soon_after(tmp_path: Path) -> None:
    """None is begun, refused and put off further and further: an hour of a full disk costs them a second."""

    full = True
    async with open_queue(tmp_path, is_full=lambda: full) as setting:
        for i in range(10):
            await setting.put(f"{i:02d}")
        await setting.queue.open()
        for _ in range(60):
            await setting.clock.advance(60)
            await asyncio.sleep(0)
        assert setting.invoker.ids == []
        full = False
        await setting.clock.advance(1)
        await setting.queue.wait_idle()
        assert len(setting.invoker.ids) == 10
        assert await setting.queue.backlog() == 0
