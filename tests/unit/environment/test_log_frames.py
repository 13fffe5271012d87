"""Frames and lines out of one stream of bytes, however it is cut."""

import random
import struct

import pytest

from hanabi.environment.log_frames import LogFrameReader
from hanabi.quotas import FUNCTION_LOG_LINE_BYTES

TEXT = 0xA55A0003


def frame(text: bytes, kind: int = TEXT, size: int | None = None) -> bytes:
    return struct.pack(">IIQ", kind, len(text) if size is None else size, 1) + text


def read_all(pieces: list[bytes]) -> list[bytes]:
    reader, rest, texts = LogFrameReader(), b"", []
    for piece in pieces:
        rest, more = reader.read(rest + piece)
        texts += more
    return [text for text in [*texts, *(reader.end() if reader.inside else []), rest] if text]


@pytest.mark.parametrize("step", [1, 3, 15, 16, 17, 1000])
def test_cut_anywhere(step: int) -> None:
    data = b"one\ntwo" + frame(b"three\nfour\n") + frame("fünf".encode(), 0xA55A0002) + b"six\n" + frame(b"") + b"seven"
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert read_all(pieces) == [b"one", b"two", b"three\nfour", "fünf".encode(), b"six", b"seven"]


@pytest.mark.parametrize("kind", [0xA55A0001, 0xA55A0004, 0xA55A001E, 0xA55A00FF])
def test_what_is_no_frame_is_text(kind: int) -> None:
    data = frame(b"text that is long enough", kind)
    assert b"".join(read_all([data])) == data.replace(b"\n", b"")


def test_a_long_text_goes_on_in_the_next_event() -> None:
    long = b"x" * (2 * FUNCTION_LOG_LINE_BYTES + 5)
    sizes = [len(text) for text in read_all([frame(long)[:100_000], frame(long)[100_000:]])]
    assert sizes == [FUNCTION_LOG_LINE_BYTES, FUNCTION_LOG_LINE_BYTES, 5]


def test_a_frame_that_lies_about_its_length_holds_little() -> None:
    reader = LogFrameReader()
    _, texts = reader.read(frame(b"y" * FUNCTION_LOG_LINE_BYTES * 3, size=0xFFFFFFFF))
    assert len(texts) == 2 and reader.inside
    assert [len(text) for text in reader.end()] == [FUNCTION_LOG_LINE_BYTES]
    assert reader.read(b"a line\n") == (b"", [b"a line"])


@pytest.mark.parametrize("seed", range(20))
def test_no_bytes_are_made_up(seed: int) -> None:
    chance = random.Random(seed)
    parts = [chance.randbytes(chance.randrange(40)).replace(b"\xa5", b"") for _ in range(20)]
    data = b"".join(frame(part) if number % 2 else part + b"\n" for number, part in enumerate(parts))
    step = chance.randrange(1, 50)
    texts = read_all([data[at : at + step] for at in range(0, len(data), step)])
    assert b"".join(texts).replace(b"\n", b"") == b"".join(parts).replace(b"\n", b"")
