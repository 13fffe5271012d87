"""The process that writes the index: its priority, its end, and that of the server; see also the tests with the fixture `index_writer`."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hanabi.base.clock import SystemClock
from hanabi.ledger.index_writer import LOWEST, ProcessIndexWriter
from tests.unit.ledger import support
from tests.unit.ledger.support import RecordStore, finish, make_record, open_record
from tests.waiting import until


@pytest.fixture(autouse=True)
def by_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "make_index_writer", ProcessIndexWriter)


def _finish(store: RecordStore) -> None:
    record = make_record()
    finish(store, record, "hello")


def _writer(store: RecordStore) -> ProcessIndexWriter:
    assert isinstance(store.index_writer, ProcessIndexWriter)
    return store.index_writer


def _pid(store: RecordStore) -> int:
    process = _writer(store)._process
    assert process is not None
    return process.pid


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def _wait_ended(pid: int) -> None:
    async with asyncio.timeout(20):
        while _is_running(pid):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)


async def test_its_priority_is_the_lowest_unless_somebody_waits(tmp_path: Path) -> None:
    async with open_record(tmp_path, SystemClock()) as store:
        _finish(store)
        assert await store.sum_ledger() == (1, 2)
        writer, pid = _writer(store), _pid(store)
        assert os.getpriority(os.PRIO_PROCESS, pid) == LOWEST
        writer.set_urgent(True)
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, pid) == (LOWEST if writer._is_held_low else own)
        writer.set_urgent(False)
        assert os.getpriority(os.PRIO_PROCESS, pid) == LOWEST
    assert not _is_running(pid)


async def test_one_that_may_not_be_raised_is_replaced_when_the_journal_runs_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_record(tmp_path, SystemClock(), segment_bytes=1500) as store:
        _finish(store)
        await store.journal.wait_indexed()
        pid, change = _pid(store), os.setpriority

        def set_priority(which: int, who: int, priority: int) -> None:
            if priority < os.getpriority(which, who):
                raise PermissionError
            change(which, who, priority)

        monkeypatch.setattr(os, "setpriority", set_priority)
        await store.journal.wait_indexed()
        _finish(store)
        await store.journal.wait_indexed()
        assert _pid(store) == pid
        for _ in range(40):
            _finish(store)
            await asyncio.sleep(0.002)
        assert await store.sum_ledger() == (42, 84)
        assert _pid(store) != pid


async def test_one_that_is_killed_is_begun_again_and_nothing_counts_twice(tmp_path: Path) -> None:
    async with open_record(tmp_path, SystemClock()) as store:
        for number in range(1, 4):
            _finish(store)
            assert await store.sum_ledger() == (number, 2 * number)
            pid = _pid(store)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: (process := _writer(store)._process) is None or process.returncode is not None)
        assert await store.sum_ledger() == (3, 6)
        _finish(store)
        await asyncio.sleep(0)
        assert await store.journal.try_wait_indexed() in ("", f"the process that writes {tmp_path / 'record.db'} has ended with -9")
        assert await store.sum_ledger() == (4, 8)


async def test_a_caller_who_goes_away_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    async with open_record(tmp_path, SystemClock()) as store:
        for number in range(20):
            _finish(store)
            caller = asyncio.create_task(store.journal.wait_indexed())
            await asyncio.sleep(number * 0.005)
            caller.cancel()
            await asyncio.wait([caller])
        assert await store.sum_ledger() == (20, 40)


async def test_one_that_cannot_be_begun_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_record(tmp_path, SystemClock()) as store:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(tmp_path / "nothing"))
            _finish(store)
            assert "nothing" in await store.journal.try_wait_indexed()
            assert "record-behind" in {problem.key for problem in store.health.problems}
        assert await store.sum_ledger() == (1, 2)


CHILD = """
import asyncio, sys
from pathlib import Path
from hanabi.base.clock import SystemClock
from hanabi.ledger.index_writer import ProcessIndexWriter
from tests.unit.ledger import support

async def main():
    support.make_index_writer = ProcessIndexWriter
    async with support.open_record(Path(sys.argv[1]), SystemClock()) as store:
        store.journal.finish(support.make_record(), support.GROUP, support.STREAM, [])
        await store.journal.wait_indexed()
        print(store.index_writer._process.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_it_ends_with_a_server_that_is_killed(tmp_path: Path, number: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    assert _is_running(pid)
    child.send_signal(number)
    child.wait(timeout=20)
    child.stdout.close()
    await _wait_ended(pid)
    async with open_record(tmp_path, SystemClock()) as store:
        assert await store.sum_ledger() == (1, 2)


async def test_damage_that_it_finds_is_mended(tmp_path: Path) -> None:
    async with open_record(tmp_path, SystemClock()) as store:
        for _ in range(50):
            _finish(store)
        assert await store.sum_ledger() == (50, 100)
        await _writer(store).close()
        await store.database.read(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
        (tmp_path / "record.db").write_bytes(bytes(range(256)) * 400)
        _finish(store)
        await store.journal.wait_indexed()
        assert "record-index" in {problem.key for problem in store.health.problems}
        assert await store.sum_ledger() == (51, 102)
