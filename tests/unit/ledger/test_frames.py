"""Frames: what goes in comes out, and what is torn or spoilt does not."""

import itertools
import json
import random
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, fields

import pytest

from hanabi.contracts.journal import LogEvent, Record
from hanabi.ledger import frames
from hanabi.ledger.frames import (
    EXACT,
    FINISH,
    LINES,
    MARK,
    RECORD_FIELDS,
    VERSION,
    FrameTooLarge,
    complete,
    decode,
    decode_events,
    decode_record,
    encode,
    encode_head,
    encode_text,
    frame_size,
    version_of,
)
from hanabi.ledger.report import report_line, text_events
from hanabi.quotas import LOG_EVENT_BYTES
from tests.unit.ledger.support import make_record

TEXTS = [
    "",
    " ",
    "plain",
    "two\nlines",
    "\nfirst empty",
    "last empty\n",
    "\n\n \n",
    "123 looks like an event",
    "tab\there",
    "ünï\u2028çødé ☃",
    "\r\n",
]


def test_round_trip() -> None:
    events = [(1000 + i, text) for i, text in enumerate(TEXTS)]
    frame = encode(EXACT, "g", "s", events)
    ((header, body, end),) = decode(frame)
    assert header == ["P", "g", "s", "1000", str(1000 + len(TEXTS) - 1), ""]
    assert list(decode_events(body)) == events
    assert end == len(frame) == frame_size(frame)


def test_lone_surrogates_and_long_texts_are_cut_down() -> None:
    ((_, body, _),) = decode(encode(LINES, "g", "s", [(1, "a\ud800b"), (2, "é" * LOG_EVENT_BYTES)]))
    (_, first), (_, second) = decode_events(body)
    assert first == "a?b"
    assert second == "é" * (LOG_EVENT_BYTES // 2)


def test_too_much_for_one_frame() -> None:
    with pytest.raises(FrameTooLarge):
        encode(LINES, "g", "s", [(1, "x" * LOG_EVENT_BYTES)] * 9)
    with pytest.raises(FrameTooLarge):
        encode(LINES, "g", "s", [(1, "x"), (3_600_002, "y")])


def _lines(data: bytes, version: int = VERSION) -> list[str]:
    return [body.decode().partition(" ")[2].strip() for header, body, _ in decode(data, version) if header is not None]


def test_a_record_survives_the_journal_with_every_field() -> None:
    full = make_record(
        init_ms=80.5,
        status="error",
        error_type="Bad\tType",
        trace="Root=1",
        restore=(312.25, 12.007),
        source="url",
        attempt=3,
        extensions_ms=1.5,
        tenant='blue"1',
    )
    for record in (
        full,
        make_record(tenant="blue"),
        make_record(),
        make_record(restore=(0.0, 0.0), duration_ms=0.1 + 0.2),
        make_record(extensions_ms=0.0),
    ):
        ((header, _, _),) = decode(encode(FINISH, "g", "s", [], record))
        assert header is not None
        found = decode_record(header[5])
        assert {field.name: getattr(found, field.name) for field in fields(Record)} == asdict(record)
        assert report_line(found) == report_line(record)
    assert {f.name for f in fields(Record)} - {"restore"} == set(RECORD_FIELDS) - {"restore_ms", "restore_hooks_ms"}


def test_a_torn_end_loses_the_torn_frame_only() -> None:
    frames = [encode(LINES, "g", "s", [(i, f"event {i}")]) for i in range(4)]
    data = b"".join(frames)
    for cut in range(len(data)):
        assert len(_lines(data[:cut])) == cut // len(frames[0])
    assert list(decode(b"\0" * 100)) == []
    assert _lines(data + b"\0" * 100) == [f"event {i}" for i in range(4)]


def _damage(data: bytearray, rng: random.Random) -> tuple[int, int]:
    """Spoil some bytes; returns from where to where."""
    start = rng.randrange(len(data))
    kind = rng.choice(["flip", "byte", "hole", "garbage"])
    if kind == "flip":
        data[start] ^= 1 << rng.randrange(8)
        return start, start + 1
    if kind == "byte":
        data[start] = rng.randrange(256)
        return start, start + 1
    end = min(len(data), start + rng.randrange(1, 300))
    data[start:end] = bytes(end - start) if kind == "hole" else rng.randbytes(end - start)
    return start, end


@pytest.mark.parametrize("seed", range(20))
def test_damage_loses_the_frames_it_touched_and_no_other(seed: int) -> None:
    rng = random.Random(seed)
    hostile = b"\xff\xfe\xfd\xfc".decode("latin-1") + "\x7f\x7e\x7d\x7c" + encode(LINES, "g", "s", [(1, "forged")]).decode("latin-1")
    for _ in range(40):
        texts = [f"{i}:" + rng.choice(["x" * rng.randrange(50), hostile, hostile * 20, ""]) for i in range(rng.randrange(1, 30))]
        frames = [encode(LINES, "g", "s", [(i, text)]) for i, text in enumerate(texts)]
        data = bytearray(b"".join(frames))
        ends = list(itertools.accumulate(map(len, frames)))
        touched = set()
        for _ in range(rng.randrange(1, 4)):
            start, end = _damage(data, rng)
            touched |= {i for i, stop in enumerate(ends) if start < stop and end > stop - len(frames[i])}
        found = [int(line.partition(":")[0]) for line in _lines(bytes(data)) if not line.startswith("forged")]
        assert sorted(found) == found and len(set(found)) == len(found)
        assert set(range(len(texts))) - set(found) <= touched
        assert not any("forged" in line for line in _lines(bytes(data)) if line.startswith("forged"))
        taken = [0, *(end for _, _, end in decode(bytes(data)))]
        assert taken == sorted(taken)


def test_reading_damaged_lengths_takes_linear_time() -> None:
    """Every length says 16 MB: no checksum is made of more than lies before the next mark."""
    sizes = (2_000, 16_000)
    times = []
    for count in sizes:
        frame = encode(LINES, "g", "s", [(1, "x" * 400)])
        data = (frame[:4] + (16 * 1024 * 1024).to_bytes(4, "little") + frame[8:]) * count
        began = time.process_time()
        assert _lines(data) == []
        times.append(time.process_time() - began)
    assert times[1] < max(times[0], 0.01) * 8 * 8  # 8 times as much; it was squared before


def test_segments_of_version_0_are_read() -> None:
    values = list(_encode_record_0(make_record(trace="Root=1")))
    payload = f"F\tg\ts\t5\t5\t{json.dumps(values)}\n5 line\n".encode()
    frame = struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
    assert version_of(frame) == 0
    (first, second) = decode(frame * 2, 0)
    assert first[0] == second[0] and first[0] is not None
    assert decode_record(first[0][5]) == make_record(trace="Root=1", request_id=values[0])
    assert frame_size(frame, 0) == len(frame)


@pytest.mark.parametrize("seed", range(20))
def test_text_lines_are_made_of_the_record_to_the_byte(seed: int) -> None:
    """A frame without START, END and REPORT is completed to what a frame with them holds."""
    rng = random.Random(seed)
    pieces = ["a", "é", "\n", "\r", "\t", " ", "\0", "𝄞", "\ud800", '"', "\\", "x" * 1000]
    start = 1_795_000_000_000

    def odd() -> str:
        return "".join(rng.choices(pieces, k=rng.randrange(12)))

    for _ in range(50):
        events = [(start + rng.randrange(1000), odd()) for _ in range(rng.randrange(5))]
        record = make_record(
            duration_ms=rng.randrange(10**7) / 1000,
            init_ms=rng.choice([None, rng.randrange(10**6) / 1000]),
            status=rng.choice(["success", "error", "timeout"]),
            error_type=rng.choice([None, odd(), "E" * LOG_EVENT_BYTES]),
            trace=rng.choice(["", f"Root={odd()};Parent=07f5;Sampled=1"]),
            restore=rng.choice([None, (312.25, 12.007)]),
        )
        start_ms, end_ms = rng.choice([None, start]), start + rng.randrange(1000)
        ((header, body, _),) = decode(encode_text(record, "g", "s", events, start_ms, end_ms))
        ((wanted, lines, _),) = decode(encode(FINISH, "g", "s", text_events(record, events, start_ms, end_ms), record))
        assert header is not None and wanted is not None
        assert complete(header, body) == (int(wanted[3]), int(wanted[4]), lines)
        assert header[5] == wanted[5]


def test_heads_tell_versions() -> None:
    assert version_of(encode_head()) == VERSION == 2
    assert version_of(encode_head(1)) == 1
    assert version_of(encode_head(7)) == 7
    rng = random.Random(5)
    for _ in range(300):  # one that is damaged is taken for the present one: it is never refused, nor read as version 0
        head = bytearray(encode_head())
        head[rng.randrange(len(head))] ^= 1 << rng.randrange(8)
        assert version_of(bytes(head) + encode(LINES, "g", "s", [(1, "x")])) == VERSION
    assert version_of(b"") == VERSION


def _encode_record_0(record: Record) -> Iterator[object]:
    for name in RECORD_FIELDS[:14]:
        yield getattr(record, name)


def _encode_one_by_one(kind: str, group: str, stream: str, events: list[LogEvent], record: Record | None) -> bytes:
    """What `encode` does, event by event."""
    times = [when for when, _ in events] or [0]
    header = f"{kind}\t{group}\t{stream}\t{min(times)}\t{max(times)}\t{'' if record is None else frames._encode_record(record)}\n"
    lines = [f"{when} {text.encode('utf-8', 'replace')[:LOG_EVENT_BYTES].decode('utf-8', 'ignore')}" for when, text in events]
    payload = (header + "".join(line.replace("\n", "\n ") + "\n" for line in lines)).encode("utf-8", "replace")
    return MARK + struct.pack("<II", len(payload), zlib.crc32(payload)) + payload


@pytest.mark.parametrize("seed", range(20))
def test_all_events_at_once_are_the_bytes_of_one_after_the_other(seed: int) -> None:
    rng = random.Random(seed)
    pieces = ["a", "é", "\n", "\r", "\t", " ", "\0", "𝄞", "\ud800", '"', "\\", "x" * 1000]
    for _ in range(50):
        events = [
            (1_795_000_000_000 + rng.randrange(1000), "".join(rng.choices(pieces, k=rng.randrange(12)))) for _ in range(rng.randrange(8))
        ]
        record = make_record(duration_ms=rng.randrange(10**7) / 1000) if rng.random() < 0.5 else None
        assert encode(FINISH, "g", "s", events, record) == _encode_one_by_one(FINISH, "g", "s", events, record)
    for size in (LOG_EVENT_BYTES // 4, LOG_EVENT_BYTES // 4 + 1, LOG_EVENT_BYTES + 5):
        events = [(1, "é" * (size // 2)), (2, "short")]
        assert encode(LINES, "g", "s", events) == _encode_one_by_one(LINES, "g", "s", events, None)


@pytest.mark.parametrize("field", ["request_id", "function", "version", "status", "environment", "source", "trace", "error_type"])
def test_a_record_of_odd_texts_is_json_all_the_same(field: str) -> None:
    for text in ("plain", "", 'a"b', "a\\", "\n", "é", "\ud800", "\x7f", "\0"):
        record = make_record(**{field: text})
        encoded = json.loads(frames._encode_record(record))
        assert encoded == [getattr(record, name, None) for name in RECORD_FIELDS[:-5]] + [None, None, record.attempt]
