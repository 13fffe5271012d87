"""The record's tests, with each of those who can write its index."""

import pytest

from hanabi.ledger.index_writer import ProcessIndexWriter
from tests.unit.ledger import support


@pytest.fixture(params=["thread", "process"])
def index_writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "process":
        monkeypatch.setattr(support, "make_index_writer", ProcessIndexWriter)
    return str(request.param)
