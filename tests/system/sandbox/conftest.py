"""One driver for all tests of a module, which share its event loop."""

import inspect
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.system.sandbox.rig import Rig, unavailable


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(obj: object) -> None:
    """A test with a rig runs on the rig's loop."""
    if inspect.iscoroutinefunction(obj) and "rig" in inspect.signature(obj).parameters:
        pytest.mark.asyncio(loop_scope="module")(obj)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    if reason := unavailable():
        pytest.skip(reason)
    async with Rig() as made:
        yield made
