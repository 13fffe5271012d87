"""Fixtures of the Lambda API tests: the control plane behind a live edge."""

from collections.abc import Iterator

import pytest

from tests.unit.edge.conftest import live as small_edge
from tests.unit.services.lambda_.support import Live, live_lambda

__all__ = ["live", "small_edge"]


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One service for all tests here; they name their functions differently."""
    with live_lambda(tmp_path_factory.mktemp("lambda")) as live:
        yield live
