"""One driver for all tests of a module."""

from collections.abc import Iterator

import pytest

from tests.system.sandbox.rig import Rig, unavailable


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    if reason := unavailable():
        pytest.skip(reason)
    made = Rig()
    yield made
    made.close()
