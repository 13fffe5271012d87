"""What of a function is mounted into its sandbox, and where."""

from pathlib import Path

import pytest

from hanabi.errors import EFSMountFailure, SandboxError
from tests.unit.fleet.rig import Rig

ARN = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0"


@pytest.mark.parametrize("opt", [None, Path("/merged")])
async def test_code_and_all_layers_are_one_directory_each(opt: Path | None) -> None:
    async with Rig() as rig:
        await rig.invoke(rig.version(opt=opt))
        assert rig.sandbox.mounts == [(Path("/nowhere"), "/var/task"), *([(opt, "/opt")] if opt else [])]


async def test_file_systems_and_networks_are_there_before_the_function_starts(tmp_path: Path) -> None:
    async with Rig() as rig:
        await rig.invoke(rig.version(file_systems=((ARN, tmp_path, "/mnt/data"),), networks=("10.0.0.0/16",)))
        assert rig.sandbox.mounts == [(Path("/nowhere"), "/var/task"), (tmp_path, "/mnt/data")]
        history = rig.sandbox.history
        assert history.index("share /mnt/data") + 1 == history.index("reach 10.0.0.0/16")


async def test_a_file_system_that_cannot_be_mounted_fails_the_invocation(tmp_path: Path) -> None:
    message = f"The function could not mount the EFS file system with access point {ARN}"
    async with Rig() as rig:
        with pytest.raises(EFSMountFailure, match=message):
            await rig.invoke(rig.version(file_systems=((ARN, None, "/mnt/data"),)))
        rig.driver.share_errors.append(SandboxError("no"))
        with pytest.raises(EFSMountFailure, match=message):
            await rig.invoke(rig.version(file_systems=((ARN, tmp_path, "/mnt/data"),)))
        await rig.invoke(rig.version(file_systems=((ARN, tmp_path, "/mnt/data"),)))
