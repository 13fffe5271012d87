"""Fixtures of the API tests: a live edge with fake services."""

from collections.abc import Iterator

import pytest

from tests.unit.edge.live import Live, live_edge


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_edge(tmp_path_factory.mktemp("edge")) as live:
        yield live
