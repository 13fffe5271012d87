"""Every async test here runs on asyncio's own loop and on uvloop, which the server uses: they differ in details."""

import pytest

from tests.conftest import ASYNCIO, UVLOOP, Loops


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Loops:
    return ASYNCIO | UVLOOP
