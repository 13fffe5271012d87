"""What `python -m hanabi.services` prints is what a server registers."""

from pathlib import Path

import pytest

from hanabi.edge.service import NOTHING
from hanabi.services.__main__ import main
from hanabi.services.listing import TABLES, known_operations, listed_operations
from tests.unit.edge.world import open_world


async def test_what_is_listed_is_what_is_served(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        served = world.edge.api.services.by_signing_name
        assert set(served) == set(TABLES)
        found = {(name, operation): each for name, service in served.items() for operation, each in service.operations.items()}
    listed = {(each.service, each.operation): each for each in listed_operations()}
    assert set(listed) == set(found)
    for key, operation in found.items():
        said = listed[key]
        assert (said.action, said.resource, said.body_bytes) == (operation.action, operation.resource, operation.body.limit_bytes)
        assert said.handler == operation.handler.__qualname__
        assert bool(operation.action) == (operation.permissions is not NOTHING), key


def test_every_operation_is_one_of_the_model_and_its_action_of_its_service() -> None:
    for each in listed_operations():
        assert each.operation in known_operations(each.service)
        assert each.action.startswith(f"{each.service}:") or each.operation in ("GetCallerIdentity", "GetSessionToken")


def test_it_prints_one_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("lambda: ") and lines[0].endswith(f" of {len(known_operations('lambda'))} operations")
    assert len(lines) == len(list(listed_operations())) + len(TABLES)
    assert any(
        line.split() == ["Invoke", "lambda:InvokeFunction", "function:NAME[:QUALIFIER]", "InvokeOperations.invoke"] for line in lines
    )
