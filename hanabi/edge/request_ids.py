"""Request ids, as AWS's: UUIDs of version 4."""

import os
from collections.abc import Iterator

_IDS = 256  # whose random bytes are had at a time: a system call for each would cost more than the rest


def _make_ids() -> Iterator[str]:
    while True:
        digits = os.urandom(16 * _IDS).hex()
        for at in range(0, len(digits), 32):
            first, variant = digits[at : at + 12], "89ab"[int(digits[at + 16], 16) & 3]
            yield f"{first[:8]}-{first[8:]}-4{digits[at + 13 : at + 16]}-{variant}{digits[at + 17 : at + 20]}-{digits[at + 20 : at + 32]}"


make_request_id = _make_ids().__next__
