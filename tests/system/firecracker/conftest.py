"""One nursery of stand-ins for all tests of the driver, and one driver for the tests of a module."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanabi.testing.firecracker.nursery import ForkServer
from tests.system.firecracker.rig import Rig, unavailable
from tests.system.sandbox.rig import enter_private_mounts


@pytest.fixture(scope="session")
def nursery() -> Iterator[ForkServer]:
    if reason := unavailable():
        pytest.skip(reason)
    enter_private_mounts()
    with tempfile.TemporaryDirectory(prefix="hanabi-test-", dir="/var/tmp") as name, ForkServer(Path(name)) as made:
        yield made


@pytest.fixture(scope="module")
def rig(nursery: ForkServer) -> Iterator[Rig]:
    made = Rig(nursery)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test begins without faults, and ends without sandboxes."""
    rig: Rig | None = request.getfixturevalue("rig") if "rig" in request.fixturenames else None
    if rig is not None:
        rig.play()
        rig.run(rig.begin_test())
    yield
    if rig is not None:
        rig.run(rig.destroy_all())
