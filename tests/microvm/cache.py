"""Where what the microVM tests need is kept between runs: outside the repository, by the digest of what it is made from."""

import os
from pathlib import Path

CACHE = Path(os.environ.get("HANABI_TEST_CACHE", "/var/cache/hanabi"))


def place(name: str, digest: str) -> Path:
    return CACHE / f"{name}-{digest[:16]}"
