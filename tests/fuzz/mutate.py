"""Mutated bytes, one after another, for HANABI_FUZZ_S seconds (2 unless set)."""

import os
import random
import time
from collections.abc import Iterator, Sequence

SECONDS = float(os.environ.get("HANABI_FUZZ_S", "2"))
SEED = int(os.environ.get("HANABI_FUZZ_SEED", "9"))
_WORDS = (b"\0", b"\xff", b"\r\n", b"\r\n\r\n", b"/", b"..", b"%", b"%2f", b":", b",", b"=", b"&", b" ", b"\t", b"0", b"-1", b"99999999999")


def mutations(corpus: Sequence[bytes], dice: random.Random) -> Iterator[bytes]:
    """What is right, then that with a few bytes changed, dropped, doubled, or spliced from another, until the time is over."""
    yield from corpus
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        data = bytearray(dice.choice(corpus))
        for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
            _change(data, corpus, dice)
        yield bytes(data)


def pieces(data: bytes, dice: random.Random) -> Iterator[bytes]:
    """The same bytes, as a socket may bring them."""
    while data:
        size = dice.choice((1, 2, 3, 7, 64, 1 << 16))
        yield data[:size]
        data = data[size:]


def _change(data: bytearray, corpus: Sequence[bytes], dice: random.Random) -> None:
    at = dice.randrange(len(data) + 1)
    until = min(len(data), at + dice.choice((0, 1, 1, 2, 4, 16, 256)))
    match dice.randrange(6):
        case 0:
            data[at:until] = bytes(dice.randrange(256) for _ in range(until - at))
        case 1:
            del data[at:until]
        case 2:
            data[at:at] = data[at:until]
        case 3:
            data[at:until] = dice.choice(_WORDS)
        case 4 if at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        case _:
            other = dice.choice(corpus)
            start = dice.randrange(len(other) + 1)
            data[at:until] = other[start : start + dice.choice((1, 4, 32, 1024))]
