"""Full and broken disks: what runs is recorded, nothing more is begun, and what is lost is counted."""

import asyncio
import errno
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hanabi.base.health import Health
from hanabi.contracts.http import HttpRequest
from hanabi.contracts.usage import Losses
from hanabi.ledger import segments
from hanabi.ledger.disk_space import reserve
from hanabi.ledger.losses import LossCounter
from hanabi.services.own.usage import UsageEndpoint
from hanabi.testing import ManualClock
from tests.unit.ledger.support import GROUP, STREAM, RecordStore, finish, make_record, open_record
from tests.waiting import until

SEGMENT = 40_000


class Disk:
    """Stands between the journal and the disk. `faults` is asked at each write: (what, bytes) -> an errno or 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.faults: Callable[[str, int], int] = lambda what, size: 0
        self.supported = True
        self.free = 1 << 40
        pwrite = os.pwrite

        def write(fd: int, data: bytes, offset: int) -> int:
            if number := self.faults("write", len(data)):
                pwrite(fd, data[: len(data) // 2], offset)  # the first half has gone through
                raise OSError(number, os.strerror(number))
            return pwrite(fd, data, offset)

        def have(fd: int, size: int) -> bool:
            if number := self.faults("reserve", size):
                raise OSError(number, os.strerror(number))
            return self.supported and reserve(fd, size)

        monkeypatch.setattr(os, "pwrite", write)
        monkeypatch.setattr(segments, "reserve", have)
        monkeypatch.setattr(segments, "free_bytes", lambda directory: self.free)

    def fill(self) -> None:
        """No more room is to be had; what was reserved can be written."""
        self.faults = lambda what, size: errno.ENOSPC if what == "reserve" else 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def _finish(store: RecordStore, *texts: str) -> None:
    record = make_record()
    finish(store, record, *texts)


def _problems(store: RecordStore) -> set[str]:
    return {problem.key for problem in store.health.problems}


async def _run_until_full(store: RecordStore, texts: Callable[[], tuple[str, ...]] = tuple) -> int:
    finished = 0
    while not store.journal.full:
        _finish(store, *texts())
        finished += 1
        await asyncio.sleep(0.001)
        assert finished < 10_000
    return finished


async def test_new_invocations_are_refused_before_a_record_is_lost(tmp_path: Path, disk: Disk) -> None:
    clock = ManualClock()
    async with open_record(tmp_path, clock, segment_bytes=SEGMENT) as store:
        _finish(store)
        disk.fill()
        finished = 1 + await _run_until_full(store, lambda: ("printed " * 20,))
        assert _problems(store) == {"record-room"}
        for _ in range(20):  # they ran when the rest was refused, and print more than there is room for
            store.journal.log(GROUP, STREAM, [(1_795_000_000_000, "x" * 3000)])
            _finish(store, *["y" * 1000] * 10)
        assert store.journal.full
        lost = store.journal.tally.lost
        assert lost.invocations == 0 and lost.log_lines > 200
        assert (await store.sum_ledger())[0] == finished + 20
        assert sum(message.startswith("REPORT") for message in await store.messages()) == finished + 20
        disk.faults = lambda what, size: 0
        await until(lambda: not store.journal.full, clock=clock)
        assert _problems(store) == {"record-lost"}
        for _ in range(300):
            _finish(store, "more")
            await asyncio.sleep(0)
        assert not store.journal.full
        assert (await store.sum_ledger())[0] == finished + 320


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("at", [0, 1, 7])
@pytest.mark.parametrize("times", [1, 2, 40])
async def test_every_invocation_is_counted_or_counted_as_lost(tmp_path: Path, disk: Disk, number: int, at: int, times: int) -> None:
    """Some writes fail half-way. One or two in a row cost nothing: the next segment is there already."""

    clock = ManualClock()
    async with open_record(tmp_path, clock, segment_bytes=SEGMENT) as store:
        writes = 0

        def faults(what: str, size: int) -> int:
            nonlocal writes
            writes += what == "write" and size != 512  # but the count of what is lost
            return number if what == "write" and size != 512 and at < writes <= at + times else 0

        disk.faults = faults
        for _ in range(60):
            _finish(store, "printed")
            await asyncio.sleep(0)
        lost = store.journal.tally.lost
        if times == 1:
            assert not lost
        disk.faults = lambda what, size: 0
        await until(lambda: not store.journal.full, clock=clock)
        _finish(store, "after")
        assert (await store.sum_ledger())[0] + lost.invocations == 61
        assert (await store.messages())[-3] == "after\n"
        assert lost.damaged_bytes == 0
    async with open_record(tmp_path, clock) as store:
        assert store.journal.tally.lost == lost
        assert (await store.sum_ledger())[0] + lost.invocations == 61


async def test_where_nothing_can_be_reserved_free_room_is_watched(tmp_path: Path, disk: Disk) -> None:
    clock = ManualClock()
    disk.supported = False
    async with open_record(tmp_path, clock, segment_bytes=SEGMENT) as store:
        for _ in range(200):
            _finish(store, "printed")
            await asyncio.sleep(0)
        assert not store.journal.full
        disk.free = SEGMENT
        await until(lambda: store.journal.full, clock=clock)
        _finish(store, "it ran")
        disk.free = 1 << 40
        await until(lambda: not store.journal.full, clock=clock)
        assert (await store.sum_ledger())[0] == 201 and not store.journal.tally.lost


async def test_a_start_on_a_full_disk_refuses_until_there_is_room(tmp_path: Path, disk: Disk) -> None:
    clock = ManualClock()
    disk.fill()
    async with open_record(tmp_path, clock, segment_bytes=SEGMENT) as store:
        assert store.journal.full
        disk.faults = lambda what, size: 0
        await until(lambda: not store.journal.full, clock=clock)
        _finish(store)
        assert (await store.sum_ledger())[0] == 1


async def test_reserved_room_is_given_back(tmp_path: Path) -> None:
    size = 1 << 20
    async with open_record(tmp_path, segment_bytes=size) as store:
        _finish(store)
        (present, following) = sorted((tmp_path / "journal").glob("*.journal"))
        if not store.journal._writer or not store.journal._writer.reserves:
            pytest.skip("this file system cannot reserve room")
        assert present.stat().st_blocks * 512 >= size > present.stat().st_size
        assert following.stat().st_blocks * 512 >= size
    assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "journal").glob("*.journal")) <= 8192


async def _get_usage(store: RecordStore) -> tuple[int, dict[str, Any]]:
    response = await UsageEndpoint(store.usage).handle(HttpRequest("GET", "/_hanabi/usage", "/_hanabi/usage", "", [], b""))
    assert isinstance(response.body, bytes)
    return response.status, json.loads(response.body)


def _fail(message: str) -> Any:
    async def work(*_: object) -> None:
        raise sqlite3.OperationalError(message)

    return work


async def test_usage_is_whole_though_the_index_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_record(tmp_path, segment_bytes=4000) as store:
        for _ in range(20):
            _finish(store, "before")
        await store.journal.wait_indexed()
        with monkeypatch.context() as patch:
            patch.setattr(store.database, "write", _fail("database or disk is full"))
            for _ in range(30):
                _finish(store, "since")
                await asyncio.sleep(0.001)
            status, body = await _get_usage(store)
            assert status == 200 and body["total"]["requests"] == 50
            assert body["total"]["billed_ms"] == 100
            assert "database or disk is full" in body["notes"][0] and "nothing is missing" in body["notes"][0]
            assert (await store.messages()).count("before\n") == 20  # what is indexed is found
            assert "record-behind" in _problems(store)
        status, body = await _get_usage(store)
        assert body["total"]["requests"] == 50 and body["notes"] == []


async def test_usage_says_up_to_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_record(tmp_path) as store:
        monkeypatch.setattr("hanabi.ledger.usage.UNINDEXED_LIMIT_BYTES", 3000)
        monkeypatch.setattr("hanabi.ledger.indexer.READ_BYTES", 2000)
        with monkeypatch.context() as patch:
            patch.setattr(store.database, "write", _fail("database or disk is full"))
            for _ in range(30):
                _finish(store, "since")
            _, body = await _get_usage(store)
        assert 0 < body["total"]["requests"] < 30
        assert body["notes"][0].endswith("these sums are whole up to 2026-11-18 11:06:40 UTC only")


async def test_usage_never_says_only_500(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_record(tmp_path) as store:
        for error in (sqlite3.OperationalError("disk I/O error"), OSError(errno.EIO, "Input/output error")):

            async def work(*_: object, error: Exception = error) -> None:
                raise error

            with monkeypatch.context() as patch:
                patch.setattr(store.database, "read", work)
                status, body = await _get_usage(store)
            assert status == 503 and str(error) in body["message"]


async def test_what_is_lost_is_shown_and_remembered(tmp_path: Path, disk: Disk) -> None:
    clock = ManualClock()
    async with open_record(tmp_path, clock, segment_bytes=SEGMENT) as store:
        disk.faults = lambda what, size: errno.EIO if size != 512 else 0
        for _ in range(3):
            _finish(store, "printed")
        assert store.journal.full
        disk.faults = lambda what, size: 0
        _, body = await _get_usage(store)
        assert body["lost"]["invocations"] == 3 and body["lost"]["log_lines"] == 12
        assert body["notes"][0].startswith("3 invocations were not counted, 12 log lines were lost, between 2026-")
        metrics = store.health.values()
        assert (metrics["hanabi_record_lost_invocations_total"], metrics["hanabi_record_lost_log_lines_total"]) == (3, 12)
        assert "record-lost" in _problems(store)
    async with open_record(tmp_path, clock) as store:
        _, body = await _get_usage(store)
        assert body["lost"]["invocations"] == 3
        assert "record-lost" in _problems(store)


def test_a_damaged_count_is_kept_aside_and_said(tmp_path: Path) -> None:
    for text in (b"{", b"[]", b'{"version": 9}', b'{"version": 1}', b"\xff" * 600):
        path = tmp_path / "lost.json"
        path.write_bytes(text)
        health = Health(ManualClock())
        tally = LossCounter(path, health, ManualClock())
        tally.open()
        assert [problem.key for problem in health.problems] == ["record-tally"]
        assert path.with_suffix(".damaged").read_bytes() == text
        tally.add(5, invocations=1)
        tally.close()
        again = LossCounter(path, Health(ManualClock()), ManualClock())
        again.open()
        assert again.lost == Losses(1, 0, 0, 5, 5)
        again.close()
