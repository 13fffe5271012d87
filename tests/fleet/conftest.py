"""Every story ends with as many open files as it began."""

import os
from collections.abc import Iterator

import pytest

from tests.fleet.rig import run


async def nothing() -> None:
    """What the loop itself opens once, it opens here."""


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    run(nothing)
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before
