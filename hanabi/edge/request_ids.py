"""Request ids, as AWS's: UUIDs of version 4."""

import os
from collections.abc import Iterator

_IDS = 256  # whose random bytes are had at a time: a system call for each would cost more than the rest
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def _make_ids() -> Iterator[str]:
    while True:
        digits = os.urandom(16 * _IDS).hex()
        for at in range(0, len(digits), 32):
            it = digits[at : at + 32]
            yield f"{it[:8]}-{it[8:12]}-4{it[13:16]}-{_VARIANT[it[16]]}{it[17:20]}-{it[20:]}"


make_request_id = _make_ids().__next__
