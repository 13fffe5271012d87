"""Frames in any pieces, any size, any order."""

import random
import struct
from dataclasses import replace

import pytest

from hanabi.runtime.frames import (
    ERROR,
    FRAME_LIMIT_BYTES,
    OVERSIZE,
    READY,
    RESULT,
    SKIP_LIMIT_BYTES,
    TEXT_LIMIT_BYTES,
    BrokenFrame,
    FrameReader,
    invoke_head,
)
from tests.unit.runtime.host import invocation


def frame(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<I", len(body) + 1) + kind + body


def read(reader: FrameReader, data: bytes, size: int) -> list[tuple[int, bytes]]:
    return [one for start in range(0, len(data), size) for one in reader.feed(data[start : start + size])]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 100])
def test_pieces_of_any_size_make_the_same_frames(size: int) -> None:
    reader = FrameReader()
    for body in (b"", b"x", b"hello" * 7):
        assert read(reader, frame(b"o", body), size) == [(RESULT, body)]


def test_the_largest_frame_is_kept_and_one_more_byte_is_skipped() -> None:
    reader = FrameReader()
    body = bytes(FRAME_LIMIT_BYTES - 1)
    assert read(reader, frame(b"o", body), 65536) == [(RESULT, body)]
    assert read(reader, frame(b"o", body + b"x"), 65536) == [(OVERSIZE, b"")]
    assert read(reader, frame(b"o", b"in step"), 3) == [(RESULT, b"in step")]


def test_a_skipped_frame_is_not_kept() -> None:
    reader = FrameReader()
    assert list(reader.feed(struct.pack("<I", SKIP_LIMIT_BYTES) + b"f")) == []
    chunk = bytes(1 << 20)
    for _ in range(63):
        assert list(reader.feed(chunk)) == []
    assert reader._frame is None and not reader._head


@pytest.mark.parametrize(
    "data",
    [
        bytes(5),
        struct.pack("<I", FRAME_LIMIT_BYTES + 1) + b"r",
        struct.pack("<I", SKIP_LIMIT_BYTES + 1) + b"o",
        b"\xff" * 64,
        struct.pack("<I", FRAME_LIMIT_BYTES + 1) + b"o" + bytes(FRAME_LIMIT_BYTES + 4),
    ],
)
def test_what_is_no_frame_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(BrokenFrame):
        list(FrameReader().feed(data))


@pytest.mark.parametrize("size", [1, 5, 6, 7, 9, 10, 1000, 1 << 20])
def test_an_answer_and_what_follows_it_may_come_in_one_piece(size: int) -> None:
    reader = FrameReader()
    large = bytes(FRAME_LIMIT_BYTES) if size == 1 << 20 else b"long"
    data = frame(b"o", b"1") + frame(b"r") + frame(b"f", large) + frame(b"r") + frame(b"o")
    expected = [(RESULT, b"1"), (READY, b""), (ERROR, large), (READY, b""), (RESULT, b"")]
    if size == 1 << 20:
        expected[2] = (OVERSIZE, b"")
    assert read(reader, data, size) == expected


def test_frames_are_cut_one_at_a_time() -> None:
    """Whoever floods the channel is stopped at the first frame that may not be there."""
    frames = FrameReader().feed(frame(b"o") * 50_000)
    assert next(frames) == (RESULT, b"") and next(frames) == (RESULT, b"")


def test_random_bytes_are_frames_or_broken_and_nothing_else() -> None:
    dice = random.Random(7)
    for _ in range(2000):
        reader = FrameReader()
        try:
            for _ in range(dice.randrange(1, 6)):
                small = bytes([dice.randrange(12), 0, 0, 0]) + dice.randbytes(dice.randrange(12))
                for kind, body in reader.feed(dice.choice([small, dice.randbytes(dice.randrange(1, 9))])):
                    assert 0 <= kind <= 255 and len(body) <= FRAME_LIMIT_BYTES
        except BrokenFrame:
            continue


def test_the_header_of_an_invocation() -> None:
    plain = invocation(b"12", trace="t", client_context='{"a":\n1}')
    route = replace(plain.route, version=replace(plain.route.version, tenant="blue"))
    for made, tenant in ((plain, ""), (replace(plain, route=route), "blue")):
        said = invoke_head(made)[7:].decode().split("\n", 5)
        assert said == [plain.request_id, str(plain.deadline_ms), plain.route.invoked_arn, "t", tenant, '{"a":\n1}']


def test_texts_in_an_invocation_are_bounded() -> None:
    head = invoke_head(invocation(b"12", trace="t" * 100_000, client_context="ü" * 100_000))
    length, kind, size = struct.unpack_from("<IBH", head)
    assert chr(kind) == "n"
    assert length == size + 3 + 2
    assert len(head) == 7 + size
    assert head.decode(errors="strict" if size else "replace").count("t" * TEXT_LIMIT_BYTES) == 1
