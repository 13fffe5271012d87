"""Mutated bytes for the reader of the runtime channel: in any pieces they are the same frames, or are broken at the same one."""

import random
import struct
from collections.abc import Iterable

from hanabi.runtime.frames import SKIP_LIMIT_BYTES, BrokenFrame, FrameReader
from tests.fuzz.mutate import SEED, mutations, pieces


def frame(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<I", len(body) + 1) + kind + body


CORPUS = [
    frame(b"r"),
    frame(b"o", b'{"a": 1}') + frame(b"r"),
    frame(b"e", b'{"errorType": "X"}'),
    frame(b"l") + frame(b"r") + frame(b"f", b"x" * 300) + frame(b"r"),
    struct.pack("<I", SKIP_LIMIT_BYTES) + b"o" + bytes(64),
]


def read(reader: FrameReader, data: Iterable[bytes]) -> tuple[list[tuple[int, bytes]], bool]:
    found: list[tuple[int, bytes]] = []
    try:
        for piece in data:
            found.extend(reader.feed(piece))
    except BrokenFrame:
        return found, True
    return found, False


def one_by_one(reader: FrameReader, data: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    found: list[tuple[int, bytes]] = []
    try:
        for each in reader.feed(data):
            found.append(each)
    except BrokenFrame:
        return found, True
    return found, False


def test_mutated_frames() -> None:
    dice = random.Random(SEED)
    for data in mutations(CORPUS, dice):
        whole = one_by_one(FrameReader(), data)
        assert read(FrameReader(), pieces(data, dice)) == whole, data
