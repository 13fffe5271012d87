"""The journal: nothing acknowledged is lost, everything counts once."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hanabi.base.clock import SystemClock
from hanabi.ledger.frames import FINISH, LINES, encode
from hanabi.ledger.report import report_line, text_events
from hanabi.ledger.segments import SegmentWriter, list_segments, segment_path
from hanabi.testing import ManualClock
from tests.unit.ledger.support import GROUP, STREAM, finish, make_record, open_record, record_events

pytestmark = pytest.mark.usefixtures("index_writer")


async def test_what_is_written_is_found(tmp_path: Path) -> None:
    async with open_record(tmp_path) as store:
        record = make_record()
        store.journal.log(GROUP, STREAM, [(record.started_ms - 5, "INIT_START")])
        finish(store, record, "hello", "multi\nline")
        assert await store.messages() == [
            "INIT_START\n",
            f"START RequestId: {record.request_id} Version: $LATEST\n",
            "hello\n",
            "multi\nline\n",
            f"END RequestId: {record.request_id}\n",
            report_line(record) + "\n",
        ]
        assert await store.sum_ledger() == (1, 2)


async def test_text_lines_are_those_that_were_written_before(tmp_path: Path) -> None:
    """The lines that the index makes of a record, and those that are in the journal, are the same, in the same order."""
    traced = "Root=1-5e34a614-10bdc0de;Parent=07f5;Sampled=1"
    failed = make_record(status="error", error_type="My\nError\té")
    for number, record in enumerate([make_record(), make_record(trace=traced), failed, make_record(init_ms=12.345)]):
        async with open_record(tmp_path / str(number)) as store:
            start_ms, end_ms = record.started_ms, record.started_ms + 7
            for printed in ([], [(start_ms + 3, "one"), (start_ms + 5, "two\nlines")]):
                for began_ms in (start_ms, None):
                    store.journal.finish(record, GROUP, "explicit", text_events(record, printed, began_ms, end_ms))
                    store.journal.finish_text(record, GROUP, "made", printed, began_ms, end_ms)
                    await store.journal.wait_indexed()
            pages = [await store.logs.find(GROUP, streams=[stream]) for stream in ("explicit", "made")]
            explicit, made = [[(event.time_ms, event.message) for event in page.events] for page in pages]
            assert explicit == made and len(made) == 3 + 2 + 5 + 4
            first, second = await store.logs.streams(GROUP)
            assert (first.first_ms, first.last_ms) == (second.first_ms, second.last_ms) == (start_ms, end_ms)


async def test_text_lines_of_a_clock_that_was_set_are_all_there(tmp_path: Path) -> None:
    record = make_record()
    now_ms, day_ms = record.started_ms, 86_400_000
    times = [(now_ms, now_ms + day_ms), (now_ms + day_ms, now_ms), (now_ms + 5, now_ms)]
    async with open_record(tmp_path) as store:
        for number, (start_ms, end_ms) in enumerate(times):
            stream = f"stream {number}"
            store.journal.finish_text(record, GROUP, stream, [(start_ms, "printed")], start_ms, end_ms)
            page = await store.logs.find(GROUP, streams=[stream])
            found = sorted((event.message.partition(" ")[0].strip(), event.time_ms) for event in page.events)
            assert found == [("END", end_ms), ("REPORT", end_ms), ("START", start_ms), ("printed", start_ms)]
        assert await store.sum_ledger() == (3, 6)


async def test_segments_go_once_indexed_and_nothing_counts_twice(tmp_path: Path) -> None:
    for round_ in range(3):
        async with open_record(tmp_path, segment_bytes=1500, kept_limit_bytes=4500) as store:
            for _ in range(50):
                record = make_record()
                finish(store, record, "x" * 100)
                await asyncio.sleep(0.001)
            assert await store.sum_ledger() == ((round_ + 1) * 50, (round_ + 1) * 100)
            await store.journal.wait_indexed()
            assert len(await store.messages()) == (round_ + 1) * 200
            await store.journal.retire()
    assert list_segments(tmp_path / "journal")[0] > 20


async def test_journal_left_by_a_crash_is_indexed_at_the_next_start(tmp_path: Path) -> None:
    """The first journal is never closed and never indexed, as after kill -9."""
    (tmp_path / "journal").mkdir()
    record = make_record()
    writer = SegmentWriter(tmp_path / "journal", 1, 1 << 20)
    for _ in range(10):
        writer.append(encode(FINISH, GROUP, STREAM, record_events(record), record))
    writer.append(encode(LINES, GROUP, STREAM, [(record.started_ms, "whole")]))
    path = segment_path(tmp_path / "journal", 1)
    with path.open("ab") as file:  # a power cut in the middle of the last write
        file.write(encode(LINES, GROUP, STREAM, [(record.started_ms, "torn")])[:-3])

    async def main() -> None:
        for _ in range(2):
            async with open_record(tmp_path, kept_limit_bytes=0) as store:
                messages = await store.messages()
                assert messages.count("whole\n") == 1 and "torn\n" not in messages
                assert (await store.sum_ledger())[0] == 10
                await store.journal.retire()

    await main()
    assert not path.exists()


CHILD = """
import asyncio, sys
from pathlib import Path
from hanabi.base.clock import SystemClock
from tests.unit.ledger.support import finish, make_record, open_record

async def main():
    async with open_record(Path(sys.argv[1]), SystemClock(), segment_bytes=20_000) as store:
        for i in range(100_000):
            record = make_record()
            finish(store, record, f"line {i}")
            sys.stdout.write(f"{record.request_id}\\n")
            sys.stdout.flush()
            if i % 20 == 0:
                await asyncio.sleep(0)
            if i % 200 == 100:
                await store.journal.wait_indexed()

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 150, 777])
async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, lines: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(lines)]
    os.kill(child.pid, signal.SIGKILL)
    acknowledged += child.stdout.read().split("\n")[:-1]
    child.stdout.close()
    child.wait(timeout=10)

    async with open_record(tmp_path) as store:
        await store.journal.wait_indexed()
        rows = await store.database.read(lambda c: c.execute("SELECT request_id FROM ledger ORDER BY id").fetchall())
        ids = [row[0] for row in rows]
        assert ids[: len(acknowledged)] == acknowledged
        assert len(set(ids)) == len(ids)
        assert len(ids) - len(acknowledged) <= 1  # written, but the word of it died with the process


async def test_the_keeper_indexes_and_syncs_by_itself(tmp_path: Path) -> None:
    async with open_record(tmp_path, SystemClock()) as store:
        store.journal.log(GROUP, STREAM, [(1_795_000_000_000, "x")])

        def count(connection: object) -> int:
            return int(connection.execute("SELECT count(*) FROM chunks").fetchone()[0])  # type: ignore[attr-defined]

        async with asyncio.timeout(20):
            while await store.database.read(count) == 0:
                pass


async def test_oversize_batches_are_split(tmp_path: Path) -> None:
    async with open_record(tmp_path) as store:
        record = make_record()
        start = record.started_ms
        store.journal.finish(record, GROUP, STREAM, [(start + i, f"{i:03d}" + "x" * 1_000_000) for i in range(20)])
        store.journal.put(GROUP, STREAM, [(start + i * 3_600_000, "spread") for i in range(20)])
        store.journal.finish_text(record, GROUP, "other", [(start + i, "y" * 1_000_000) for i in range(20)], start, start + 20)
        page = await store.logs.find(GROUP, streams=[STREAM])
        found = []
        while True:
            found += [event.message[:3] for event in page.events if event.message != "spread"]
            if page.last is None:
                break
            page = await store.logs.find(GROUP, streams=[STREAM], after=page.last)
        assert found == [f"{i:03d}" for i in range(20)]
        last = await store.logs.find(GROUP, streams=["other"], backward=True, limit=2)
        assert [event.message[:7] for event in last.events] == ["REPORT ", "END Req"]
        assert await store.sum_ledger() == (2, 4)


async def test_pruning_keeps_to_the_bounds(tmp_path: Path) -> None:
    clock = ManualClock()
    now = int(clock.time() * 1000)
    async with open_record(tmp_path, clock, log_limit_bytes=40_000, ledger_limit_records=5) as store:
        for i in range(30):
            record = make_record(started_ms=now)
            store.journal.finish(record, GROUP, f"stream-{i}", [(now, f"{i:02d}"), (now, os.urandom(2000).hex())])
            await store.journal.wait_indexed()
        await store.logs.create_group("other", {})
        await store.logs.set_retention(GROUP, 1)
        await store.journal.prune()
        stored = (await store.logs.group(GROUP), (await store.logs.groups())[0].stored_bytes)
        assert 30_000 < stored[1] <= 40_000
        messages = await store.messages()
        assert "29\n" in messages and "00\n" not in messages  # the oldest go first
        assert (await store.sum_ledger())[0] == 5
        assert (await store.usage.rows("month"))[0].requests == 30
        await clock.advance(2 * 86_400)
        assert await store.messages() == []  # hidden before they are deleted
        await store.journal.prune()
        assert (await store.logs.groups())[0].stored_bytes == 0
        assert await store.logs.streams(GROUP) == []
