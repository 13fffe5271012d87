"""Frames: what goes in comes out, and what is torn or spoilt does not."""

import json
import random

import pytest

from hanabi.ledger.codec import EVENT_LIMIT, EXACT, FINISH, LINES, RECORD_FIELDS, FrameTooLarge, decode, decode_events, encode, frame_size
from tests.ledger.support import make_record, record_events

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


def test_record_in_the_header() -> None:
    record = make_record(init_ms=80.5, status="error", error_type="Bad\tType\nX", trace="Root=1-a")
    ((header, body, _),) = decode(encode(FINISH, "g", "s", record_events(record, "x"), record))
    fields = dict(zip(RECORD_FIELDS, json.loads(header[5]), strict=True))
    assert fields["request_id"] == record.request_id
    assert (fields["duration_ms"], fields["init_ms"]) == (1.234, 80.5)
    assert (fields["error_type"], fields["trace"]) == (record.error_type, "Root=1-a")
    assert len(list(decode_events(body))) == 4


def test_lone_surrogates_and_long_texts_are_cut_down() -> None:
    ((_, body, _),) = decode(encode(LINES, "g", "s", [(1, "a\ud800b"), (2, "é" * EVENT_LIMIT)]))
    (_, first), (_, second) = decode_events(body)
    assert first == "a?b"
    assert second == "é" * (EVENT_LIMIT // 2)


def test_too_much_for_one_frame() -> None:
    with pytest.raises(FrameTooLarge):
        encode(LINES, "g", "s", [(1, "x" * EVENT_LIMIT)] * 9)
    with pytest.raises(FrameTooLarge):
        encode(LINES, "g", "s", [(1, "x"), (3_600_002, "y")])


def test_any_damage_ends_the_reading() -> None:
    frames = [encode(LINES, "g", "s", [(i, f"event {i}")]) for i in range(4)]
    data = b"".join(frames)
    for cut in range(len(data)):
        assert len(list(decode(data[:cut]))) == cut // len(frames[0])
    random.seed(1)
    for _ in range(200):
        spoilt = bytearray(data)
        position = random.randrange(len(data))
        spoilt[position] ^= 1 << random.randrange(8)
        assert len(list(decode(bytes(spoilt)))) == position // len(frames[0])
    assert list(decode(b"\0" * 100)) == []
