"""What of a function is mounted into its sandbox, and where."""

from pathlib import Path

import pytest

from tests.unit.fleet.rig import Rig


@pytest.mark.parametrize("opt", [None, Path("/merged")])
async def test_code_and_all_layers_are_one_directory_each(opt: Path | None) -> None:
    async with Rig() as rig:
        await rig.invoke(rig.version(opt=opt))
        assert rig.sandbox.mounts == [(Path("/nowhere"), "/var/task"), *([(opt, "/opt")] if opt else [])]
