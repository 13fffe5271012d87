"""One fork server of stand-ins for all tests of the driver, and one driver for the tests of a module, which share its event loop."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from hanabi.testing.firecracker.fork_server import ForkServer
from tests.system.firecracker.rig import Rig, unavailable
from tests.system.sandbox.conftest import pytest_pycollect_makeitem
from tests.system.sandbox.rig import enter_private_mounts

__all__ = ["pytest_pycollect_makeitem"]


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    if reason := unavailable():
        pytest.skip(reason)
    enter_private_mounts()
    with tempfile.TemporaryDirectory(prefix="hanabi-test-", dir="/var/tmp") as name, ForkServer(Path(name)) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_rig(fork_server: ForkServer) -> AsyncIterator[Rig]:
    async with Rig(fork_server) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def rig(shared_rig: Rig) -> AsyncIterator[Rig]:
    """Every test begins without faults, and ends without sandboxes."""
    shared_rig.play()
    await shared_rig.begin_test()
    yield shared_rig
    await shared_rig.destroy_all()
