"""Everything here runs on uvloop."""

import pytest

from tests.conftest import UVLOOP, Loops


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Loops:
    """As in production; and asyncio's own loop forgets a socket that is accepted in the moment its server is closed."""
    return UVLOOP
