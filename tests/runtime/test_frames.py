"""Frames in any pieces, any size, any order."""

import random
import struct

import pytest

from hanabi.runtime.frames import FRAME_LIMIT, OVERSIZE, RESULT, SKIP_LIMIT, TEXT_LIMIT, BrokenFrame, FrameReader, invoke_head
from tests.runtime.host import invocation


def frame(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<I", len(body) + 1) + kind + body


def read(reader: FrameReader, data: bytes, size: int) -> list[tuple[int, bytes]]:
    found = [reader.feed(data[start : start + size]) for start in range(0, len(data), size)]
    return [one for one in found if one is not None]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 100])
def test_pieces_of_any_size_make_the_same_frames(size: int) -> None:
    reader = FrameReader()
    for body in (b"", b"x", b"hello" * 7):
        assert read(reader, frame(b"o", body), size) == [(RESULT, body)]


def test_the_largest_frame_is_kept_and_one_more_byte_is_skipped() -> None:
    reader = FrameReader()
    body = bytes(FRAME_LIMIT - 1)
    assert read(reader, frame(b"o", body), 65536) == [(RESULT, body)]
    assert read(reader, frame(b"o", body + b"x"), 65536) == [(OVERSIZE, b"")]
    assert read(reader, frame(b"o", b"in step"), 3) == [(RESULT, b"in step")]


def test_a_skipped_frame_is_not_kept() -> None:
    reader = FrameReader()
    reader.feed(struct.pack("<I", SKIP_LIMIT) + b"f")
    chunk = bytes(1 << 20)
    for _ in range(63):
        assert reader.feed(chunk) is None
    assert reader._frame is None and not reader._head


@pytest.mark.parametrize(
    "data",
    [
        bytes(5),
        frame(b"o") + b"x",
        frame(b"o") * 2,
        struct.pack("<I", FRAME_LIMIT + 1) + b"r",
        struct.pack("<I", SKIP_LIMIT + 1) + b"o",
        b"\xff" * 64,
        struct.pack("<I", FRAME_LIMIT + 1) + b"o" + bytes(FRAME_LIMIT + 1),
    ],
)
def test_what_is_no_frame_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(BrokenFrame):
        FrameReader().feed(data)


def test_random_bytes_are_frames_or_broken_and_nothing_else() -> None:
    dice = random.Random(7)
    for _ in range(2000):
        reader = FrameReader()
        try:
            for _ in range(dice.randrange(1, 6)):
                small = bytes([dice.randrange(12), 0, 0, 0]) + dice.randbytes(dice.randrange(12))
                found = reader.feed(dice.choice([small, dice.randbytes(dice.randrange(1, 9))]))
                assert found is None or (0 <= found[0] <= 255 and len(found[1]) <= FRAME_LIMIT)
        except BrokenFrame:
            continue


def test_texts_in_an_invocation_are_bounded() -> None:
    head = invoke_head(invocation(b"12", trace="t" * 100_000, client_context="ü" * 100_000))
    length, kind, size = struct.unpack_from("<IBH", head)
    assert chr(kind) == "n"
    assert length == size + 3 + 2
    assert len(head) == 7 + size
    assert head.decode(errors="strict" if size else "replace").count("t" * TEXT_LIMIT) == 1
