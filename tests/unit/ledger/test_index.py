"""A damaged, lost or old index is made anew: nothing billed is forgotten, nothing counts twice, and it is said."""

import asyncio
import random
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from hanabi.errors import StateTooNew
from hanabi.ledger.frames import FINISH, HEAD_BYTES, VERSION, encode, encode_head
from hanabi.ledger.report import report_line
from hanabi.ledger.segments import list_segments, segment_path
from tests.unit.ledger.support import GROUP, STREAM, RecordStore, finish, make_record, open_record, record_events

pytestmark = pytest.mark.usefixtures("index_writer")

KEEP = {"segment_bytes": 20_000}
Bill = list[tuple[str, str, int, int]]


async def _run(store: RecordStore, count: int) -> None:
    for i in range(count):
        record = make_record(function=f"f{i % 3}", memory_mb=128 << i % 2, started_ms=1_795_000_000_000 + i * 1_000_000)
        finish(store, record, f"line {i}")
        await asyncio.sleep(0.001)


async def _bill(store: RecordStore) -> Bill:
    return [(row.period, row.function, row.requests, row.mb_ms) for row in await store.usage.rows("hour")]


def _garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(path.stat().st_size))


def _page(path: Path) -> None:
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xaa" * 512)


def _truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // 4096 * 4096 - 100)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "garbage": _garbage,
    "a page": _page,
    "truncated": _truncate,
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
}


def _without_wal(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@pytest.mark.parametrize("kept_limit_bytes", [0, 1 << 30])
@pytest.mark.parametrize("kind", DAMAGE)
async def test_a_lost_index_is_made_anew(tmp_path: Path, kind: str, kept_limit_bytes: int) -> None:
    limits = KEEP | {"kept_limit_bytes": kept_limit_bytes}
    async with open_record(tmp_path, **limits) as store:
        await _run(store, 200)
        bill, messages = await _bill(store), await store.messages()
        await store.journal._save()
        await store.journal.retire()
        await _run(store, 30)  # these are in no copy yet
        bill, messages = await _bill(store), await store.messages()
    for again in range(2):
        DAMAGE[kind](tmp_path / "record.db")
        _without_wal(tmp_path / "record.db")
        async with open_record(tmp_path, **limits) as store:
            assert await _bill(store) == bill
            found = await store.messages()
            assert found == messages if kept_limit_bytes else set(found) <= set(messages)
            assert "record-index" in {problem.key for problem in store.health.problems}
            assert (tmp_path / f"record.db.damaged-{again + 1}").exists() == (kind not in ("missing", "empty"))
            await _run(store, 1)
            bill, messages = await _bill(store), await store.messages()


@pytest.mark.parametrize("kind", DAMAGE)
async def test_a_lost_copy_of_the_sums_is_made_anew(tmp_path: Path, kind: str) -> None:
    async with open_record(tmp_path, **KEEP) as store:
        await _run(store, 100)
        bill = await _bill(store)
    DAMAGE[kind](tmp_path / "usage.db")
    _without_wal(tmp_path / "usage.db")
    async with open_record(tmp_path, **KEEP) as store:
        assert await _bill(store) == bill
        await store.journal.wait_indexed()
    (tmp_path / "record.db").unlink()
    shutil.rmtree(tmp_path / "journal")  # the copy alone
    async with open_record(tmp_path, **KEEP) as store:
        assert await _bill(store) == bill
        await _run(store, 1)
        assert sum(row[2] for row in await _bill(store)) == 101


async def test_without_index_and_copy_the_kept_segments_count(tmp_path: Path) -> None:
    async with open_record(tmp_path, **KEEP) as store:
        await _run(store, 200)
        bill, rows = await _bill(store), await store.sum_ledger()
    for name in ("record.db", "usage.db"):
        (tmp_path / name).unlink()
    async with open_record(tmp_path, **KEEP) as store:
        assert (await _bill(store), await store.sum_ledger()) == (bill, rows)


async def test_an_old_index_put_back_is_brought_up_to_date(tmp_path: Path) -> None:
    async with open_record(tmp_path, **KEEP) as store:
        await _run(store, 80)
        await store.journal.wait_indexed()
    shutil.copy(tmp_path / "record.db", tmp_path / "old.db")
    async with open_record(tmp_path, **KEEP) as store:
        await _run(store, 150)
        bill, rows, messages = await _bill(store), await store.sum_ledger(), await store.messages()
    shutil.copy(tmp_path / "old.db", tmp_path / "record.db")
    for _ in range(2):
        async with open_record(tmp_path, **KEEP) as store:
            assert (await _bill(store), await store.sum_ledger(), await store.messages()) == (bill, rows, messages)


async def test_damage_found_while_it_runs_is_mended(tmp_path: Path) -> None:
    async with open_record(tmp_path, **KEEP) as store:
        await _run(store, 100)
        bill, messages = await _bill(store), await store.messages()

        def corrupt() -> Exception:
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            return error

        failing = iter([True, False, True])

        def work(connection: sqlite3.Connection) -> int:
            if next(failing):
                raise corrupt()
            return int(connection.execute("SELECT count(*) FROM ledger").fetchone()[0])

        assert await store.journal.read(work) == 100
        assert (await _bill(store), await store.messages()) == (bill, messages)
        assert (tmp_path / "record.db.damaged-1").exists()


async def test_deleted_logs_do_not_come_back(tmp_path: Path) -> None:
    async with open_record(tmp_path) as store:
        for group in ("/kept", "/deleted", "/emptied"):
            for stream in ("one", "two"):
                store.journal.log(group, stream, [(1_795_000_000_000, f"secret of {stream}")])
        await store.logs.delete_group("/deleted")
        await store.logs.delete_stream("/emptied", "one")
        store.journal.log("/deleted", "one", [(1_795_000_000_000, "new")])
    for _ in range(2):
        async with open_record(tmp_path) as store:
            assert await store.messages("/deleted") == ["new\n"]
            assert await store.messages("/emptied") == ["secret of two\n"]
            assert len(await store.messages("/kept")) == 2
            assert [stream.name for stream in await store.logs.streams("/emptied")] == ["two"]
        (tmp_path / "record.db").unlink()


@pytest.mark.parametrize("seed", range(6))
async def test_a_spoilt_segment_loses_what_was_spoilt_and_is_kept(tmp_path: Path, seed: int) -> None:
    """Seeded bytes of a segment are flipped: later frames are read, the segment stays in `damaged/`, and usage says so."""
    rng = random.Random(seed)
    (tmp_path / "journal").mkdir()
    records = [make_record() for _ in range(100)]
    frames = [encode(FINISH, GROUP, STREAM, record_events(record, "x" * rng.randrange(200)), record) for record in records]
    data = bytearray(encode_head() + b"".join(frames))
    touched = set()
    for _ in range(5):
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        end = HEAD_BYTES
        for index, frame in enumerate(frames):
            end += len(frame)
            if at < end:
                touched |= {index} if at >= end - len(frame) else set()  # or it was in the head
                break
    path = segment_path(tmp_path / "journal", 1)
    path.write_bytes(data)

    async with open_record(tmp_path, kept_limit_bytes=0) as store:
        await store.journal.wait_indexed()
        ids = {row[0] for row in await store.database.read(lambda c: c.execute("SELECT request_id FROM ledger").fetchall())}
        assert {record.request_id for index, record in enumerate(records) if index not in touched} <= ids
        assert len(ids) == 100 - len(touched)
        assert store.journal.tally.lost.damaged_bytes > 0
        assert {"record-damaged", "record-lost"} <= {problem.key for problem in store.health.problems}
        await store.journal._save()
        await store.journal.retire()
    assert not path.exists()
    assert segment_path(tmp_path / "journal" / "damaged", 1).read_bytes() == data


async def test_a_segment_of_before_versions_is_read(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    records = [make_record() for _ in range(3)]
    data = b""
    for record in records:
        frame = encode(FINISH, GROUP, STREAM, record_events(record, "old"), record)[12:].replace(b",null,null]\n", b"]\n", 1)
        data += struct.pack("<II", len(frame), zlib.crc32(frame)) + frame
    segment_path(tmp_path / "journal", 4).write_bytes(data)

    async with open_record(tmp_path) as store:
        assert (await store.messages()).count("old\n") == 3
        assert await store.sum_ledger() == (3, 6)
        assert not store.journal.tally.lost


async def test_a_segment_of_version_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    records = [make_record() for _ in range(3)]
    frames = [encode(FINISH, GROUP, STREAM, record_events(record, "old"), record) for record in records]
    segment_path(tmp_path / "journal", 4).write_bytes(encode_head(1) + b"".join(frames))

    async with open_record(tmp_path) as store:
        assert await store.messages() == [text + "\n" for record in records for _, text in record_events(record, "old")]
        assert await store.sum_ledger() == (3, 6)
        assert not store.journal.tally.lost


async def test_a_newer_segment_is_refused_by_name_and_stays(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    path = segment_path(tmp_path / "journal", 4)
    path.write_bytes(encode_head(VERSION + 1) + b"what nobody knows yet")

    with pytest.raises(StateTooNew, match="000000000004.journal"):
        async with open_record(tmp_path):
            raise AssertionError
    assert path.read_bytes() == encode_head(VERSION + 1) + b"what nobody knows yet"
    assert list_segments(tmp_path / "journal") == [4]


async def test_a_record_survives_the_index_with_every_field(tmp_path: Path) -> None:
    record = make_record(init_ms=80.5, status="error", error_type="Bad\tType", trace="Root=1", restore=(312.25, 12.007), source="url")
    plain = make_record()

    async with open_record(tmp_path) as store:
        for each in (record, plain):
            store.journal.finish(each, GROUP, STREAM, [])
        assert await store.journal.records() == [record, plain]
        assert [report_line(each) for each in await store.journal.records()] == [report_line(record), report_line(plain)]
