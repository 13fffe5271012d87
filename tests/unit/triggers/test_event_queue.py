"""The durable queue: accepted means it runs, whatever happens in between."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hanabi.contracts.functions import EventRules
from hanabi.contracts.invocation import Invocation
from hanabi.contracts.lineage import extend
from hanabi.errors import InvalidRequestContent, ResourceConflict, SandboxError, ServiceError, TooManyRequests
from hanabi.testing import ManualClock
from hanabi.triggers.event_states import EventState
from hanabi.triggers.retry_policy import RetryPolicy
from tests.unit.triggers.support import FixedCatalog, make_route, open_queue

THROTTLE = TooManyRequests("ConcurrentInvocationLimitExceeded")


async def test_an_event_runs_once_as_it_was_put(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        await setting.queue.open()
        await setting.queue.put(make_route(), b'{"a": 1}', request_id="id-1", client_context='{"c": 1}', trace="Root=1", qualifier="prod")
        await setting.queue.wait_idle()
        ((_, invocation),) = setting.invoker.seen
        assert (invocation.request_id, invocation.payload, invocation.client_context) == ("id-1", b'{"a": 1}', '{"c": 1}')
        assert (invocation.trace, invocation.source, invocation.tail) == ("Root=1", "event", False)
        assert await setting.queue.backlog() == 0
        assert setting.queue.meter.ended[EventState.DONE] == 1


async def test_order_and_bounded_concurrency_through_a_small_window(tmp_path: Path) -> None:
    async with open_queue(tmp_path, concurrency=3, window=4, window_bytes=2000) as setting:
        for i in range(50):
            await setting.put(f"{i:02d}", payload=b"x" * 300)
        await setting.queue.open()
        await asyncio.gather(*(setting.put(f"{i:02d}", payload=b"x" * 300) for i in range(50, 100)))
        await setting.queue.wait_idle()
        assert setting.invoker.ids == [f"{i:02d}" for i in range(100)]
        assert setting.invoker.most_running <= 3
        assert await setting.queue.backlog() == 0


async def test_a_slow_function_does_not_hold_up_others(tmp_path: Path) -> None:
    async with open_queue(tmp_path, catalog=FixedCatalog("slow", "fast"), window=8) as setting:
        gate, fast = asyncio.Event(), asyncio.Event()

        def script(invocation: Invocation) -> asyncio.Event | None:
            if invocation.route.version.name == "slow":
                return gate
            fast.set()
            return None

        setting.invoker.script = script
        await setting.queue.open()
        for i in range(30):
            await setting.put(f"slow-{i}", "slow")
        await setting.put("fast", "fast")
        async with asyncio.timeout(10):
            await fast.wait()
        gate.set()
        await setting.queue.wait_idle()
        assert await setting.queue.backlog() == 0


async def test_six_hours_of_throttling(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_queue(tmp_path) as setting:
        setting.invoker.script = lambda invocation: THROTTLE
        await setting.queue.open()
        start = setting.clock.time()
        await setting.put("id-1")
        await setting.pass_time(7 * 3600)
        times = [when - start for when, _ in setting.invoker.seen]
        gaps = [round(b - a) for a, b in zip(times, times[1:], strict=False)]
        assert gaps[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
        assert set(gaps[9:]) == {300}
        assert 6 * 3600 - 300 <= times[-1] <= 6 * 3600
        assert await setting.queue.backlog() == 0
        assert setting.queue.meter.ended == {EventState.DONE: 0, EventState.DROPPED: 1}
    assert "id-1" in caplog.text and "too old" in caplog.text


async def test_throttled_events_run_when_there_is_room(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        open_at = setting.clock.time() + 100
        setting.invoker.script = lambda invocation: THROTTLE if setting.clock.time() < open_at else None
        await setting.queue.open()
        for i in range(40):
            await setting.put(f"{i}")
        await setting.pass_time(200)
        assert await setting.queue.backlog() == 0
        assert setting.queue.meter.ended[EventState.DONE] == 40


@pytest.mark.parametrize("trouble", [ServiceError("x"), ResourceConflict("pending"), SandboxError("x"), ValueError("a bug")])
async def test_trouble_of_ours_is_tried_again(tmp_path: Path, trouble: Exception) -> None:
    async with open_queue(tmp_path) as setting:
        setting.invoker.script = lambda invocation: trouble if len(setting.invoker.seen) < 3 else None
        await setting.queue.open()
        await setting.put("id-1")
        await setting.pass_time(10)
        assert setting.invoker.ids == ["id-1"] * 3
        assert setting.queue.meter.ended[EventState.DONE] == 1


@pytest.mark.parametrize(("policy", "runs"), [(RetryPolicy(error_delays=()), [0]), (RetryPolicy(), [0, 60, 180])])
async def test_function_errors_follow_the_policy(tmp_path: Path, policy: RetryPolicy, runs: list[int]) -> None:
    async with open_queue(tmp_path, policy=policy) as setting:
        setting.invoker.script = lambda invocation: "Unhandled"
        await setting.queue.open()
        start = setting.clock.time()
        await setting.put("id-1")
        await setting.pass_time(1000)
        assert [round(when - start) for when, _ in setting.invoker.seen] == runs
        assert set(setting.invoker.ids) == {"id-1"}
        assert [invocation.attempt for _, invocation in setting.invoker.seen] == list(range(1, len(runs) + 1))
        assert setting.queue.meter.ended == {EventState.DONE: 0, EventState.DROPPED: 1}
        assert await setting.queue.backlog() == 0


@pytest.mark.parametrize(
    ("rules", "runs"), [(EventRules(retries=0), [0]), (EventRules(retries=1), [0, 60]), (EventRules(age_s=90), [0, 60])]
)
async def test_a_function_sets_its_own_retries_and_age(tmp_path: Path, rules: EventRules, runs: list[int]) -> None:
    async with open_queue(tmp_path) as setting:
        setting.invoker.script = lambda invocation: "Unhandled"
        setting.catalog.rules["hello", "prod"] = rules
        await setting.queue.open()
        start = setting.clock.time()
        await setting.put("ruled", qualifier="prod")
        await setting.put("unruled")
        await setting.pass_time(1000)
        when = [(round(when - start), invocation.request_id) for when, invocation in setting.invoker.seen]
        assert [seconds for seconds, request_id in when if request_id == "ruled"] == runs
        assert [seconds for seconds, request_id in when if request_id == "unruled"] == [0, 60, 180]


async def test_new_rules_count_for_events_that_wait(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        setting.invoker.script = lambda invocation: THROTTLE
        await setting.queue.open()
        await setting.put("id-1")
        await setting.pass_time(30)
        assert await setting.queue.backlog() == 1
        setting.catalog.rules["hello", None] = EventRules(age_s=60)
        await setting.pass_time(120)
        assert await setting.queue.backlog() == 0
        assert setting.queue.meter.ended[EventState.DROPPED] == 1


async def test_an_event_of_a_recursive_loop_is_dropped_unless_the_function_allows_it(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        await setting.queue.open()
        arn, trace, allowed = make_route().version.arn, "Root=1-2-3", False
        for count in range(20):
            trace = extend(trace, arn)
            allowed = allowed or count == 18
            setting.catalog.rules["hello", None] = EventRules(may_recurse=allowed)
            await setting.queue.put(make_route(), b"{}", request_id=f"{count:02d}", client_context="", trace=trace, qualifier=None)
            await setting.queue.wait_idle()
        assert setting.invoker.ids == [f"{count:02d}" for count in range(20) if count not in (16, 17)]
        assert setting.queue.meter.ended == {EventState.DONE: 18, EventState.DROPPED: 2}


async def test_a_deleted_function_drops_its_events(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_queue(tmp_path) as setting:
        await setting.put("id-1")
        setting.catalog.routes.clear()
        await setting.queue.open()
        await setting.queue.wait_idle()
        assert setting.invoker.seen == []
        assert await setting.queue.backlog() == 0
    assert "Function not found" in caplog.text


async def test_what_can_never_run_is_dropped_at_once(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        setting.invoker.script = lambda invocation: InvalidRequestContent("no JSON")
        await setting.queue.open()
        await setting.put("id-1")
        await setting.pass_time(10)
        assert setting.invoker.ids == ["id-1"]
        assert setting.queue.meter.ended == {EventState.DONE: 0, EventState.DROPPED: 1}


async def test_a_restart_runs_what_is_left_and_keeps_the_waiting_waiting(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_queue(tmp_path, clock=clock, drain_s=0.01) as setting:
        never, stuck = asyncio.Event(), asyncio.Event()

        def script(invocation: Invocation) -> Exception | asyncio.Event | None:
            if invocation.request_id == "stuck":
                stuck.set()
                return never
            return THROTTLE if invocation.request_id == "throttled" else None

        setting.invoker.script = script
        await setting.queue.open()
        await setting.put("throttled")
        await setting.queue.wait_idle()
        await setting.put("done")
        await setting.queue.wait_idle()
        await setting.put("stuck")
        async with asyncio.timeout(10):
            await stuck.wait()
        await setting.queue.close()
        await setting.queue.close()
        await setting.put("late")  # accepted while closing: it waits for the next start
        assert setting.invoker.running == 0
    for _ in range(2):
        async with open_queue(tmp_path, clock=clock) as setting:
            setting.invoker.script = lambda invocation: None
            await setting.queue.open()
            await setting.queue.wait_idle()
            if setting.invoker.seen:
                assert setting.invoker.ids == ["stuck", "late"]
                assert await setting.queue.backlog() == 1
    async with open_queue(tmp_path, clock=clock) as setting:
        await setting.queue.open()
        await setting.pass_time(2)
        assert setting.invoker.ids == ["throttled"]
        assert await setting.queue.backlog() == 0


async def test_a_clock_that_was_set_back_holds_nothing_up(tmp_path: Path) -> None:
    async with open_queue(tmp_path, clock=ManualClock(start=2_000_000_000.0)) as setting:
        setting.invoker.script = lambda invocation: THROTTLE
        await setting.queue.open()
        await setting.put("throttled")
        await setting.queue.wait_idle()
        await setting.queue.close()
        await setting.put("unrun")
    async with open_queue(tmp_path, clock=ManualClock(start=1_795_000_000.0)) as setting:
        await setting.queue.open()
        await setting.queue.wait_idle()
        assert sorted(setting.invoker.ids) == ["throttled", "unrun"]
        assert await setting.queue.backlog() == 0


async def test_a_disk_that_does_not_take_it_is_no_202(tmp_path: Path) -> None:
    async with open_queue(tmp_path) as setting:
        await setting.queue.open()

        def fill(connection: sqlite3.Connection) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")

        await setting.database.write(fill)
        with pytest.raises(ServiceError):
            await setting.put("big", payload=b"x" * 1_000_000)
        await setting.queue.wait_idle()
        assert await setting.queue.backlog() == 0


CHILD = """
import asyncio, sys
from pathlib import Path
from tests.unit.triggers.support import open_queue

async def main():
    async with open_queue(Path(sys.argv[1]), concurrency=2) as setting:
        never = asyncio.Event()
        setting.invoker.script = lambda invocation: never if int(invocation.request_id) % 5 == 0 else None
        await setting.queue.open()

        async def produce(first):
            for i in range(first, 100_000, 4):
                await setting.put(str(i))
                sys.stdout.write(f"{i}\\n")
                sys.stdout.flush()

        await asyncio.gather(*(produce(first) for first in range(4)))

asyncio.run(main())
"""


@pytest.mark.parametrize("count", [1, 60, 250])
async def test_kill_9_loses_no_accepted_event(tmp_path: Path, count: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    accepted = [child.stdout.readline().strip() for _ in range(count)]
    os.kill(child.pid, signal.SIGKILL)
    accepted += child.stdout.read().split("\n")[:-1]
    child.stdout.close()
    child.wait(timeout=10)

    async with open_queue(tmp_path) as setting:
        rows = await setting.database.read(lambda c: c.execute("SELECT request_id FROM events ORDER BY id").fetchall())
        left = [row[0] for row in rows]
        finished_by_child = [i for i in accepted if i not in left]
        assert all(int(i) % 5 for i in finished_by_child)  # those that never ended are all there
        await setting.queue.open()
        await setting.queue.wait_idle()
        assert setting.invoker.ids == left
        assert await setting.queue.backlog() == 0
