"""As for the fleet: uvloop, and as many open files at the end as at the beginning."""

import pytest

from tests.conftest import UVLOOP, Loops
from tests.unit.fleet.conftest import nothing_stays_open

__all__ = ["nothing_stays_open"]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Loops:
    """As in production; and asyncio's own loop forgets a socket that is accepted in the moment its server is closed."""
    return UVLOOP
