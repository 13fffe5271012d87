"""The table of IAM's operations."""

from pathlib import Path

from hanabi.edge.protocols.model import load
from tests.unit.edge.world import open_world


async def test_each_is_one_of_awss_and_wants_a_permission_of_its_own_name(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        table = world.iam.operations
        assert table.keys() <= set(load("iam").operation_names) and len(table) > 100
        assert {name for name, operation in table.items() if operation.action != f"iam:{name}"} == set()
        assert all(operation.resource for operation in table.values())
