"""Every story runs on uvloop, and ends with as many open files as it began."""

import asyncio
import os
from collections.abc import Iterator

import pytest
import uvloop

from tests.conftest import UVLOOP, Loops


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Loops:
    """As in production; and asyncio's own loop forgets a socket that is accepted in the moment its server is closed."""
    return UVLOOP


async def nothing() -> None:
    """What the loop itself opens once, it opens here."""


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(nothing())
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before
