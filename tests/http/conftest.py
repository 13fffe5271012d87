"""Everything here runs on asyncio's own loop and on uvloop, which the server uses: they differ in details."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop


@pytest.fixture(autouse=True, params=["asyncio", "uvloop"])
def loop_policy(request: pytest.FixtureRequest) -> Iterator[None]:
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy() if request.param == "uvloop" else None)
    yield
    asyncio.set_event_loop_policy(None)
