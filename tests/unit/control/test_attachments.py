"""Networks and folders that functions are attached to: the rules, and what comes of those that are gone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hanabi.control.arns import AccountRegion
from hanabi.control.attachments import NO_VPC, Attachments, Subnet
from hanabi.control.settings import make_settings
from hanabi.errors import InvalidParameterValue
from tests.unit.control.support import create_params, open_plane

ARN = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0"
SUBNETS = {
    "subnet-1": Subnet("subnet-1", "vpc-1", "10.0.0.0/24"),
    "subnet-2": Subnet("subnet-2", "vpc-1", "10.0.1.0/24"),
    "subnet-3": Subnet("subnet-3", "vpc-2", "10.9.0.0/16"),
}
ATTACHMENTS = Attachments(SUBNETS, {ARN: Path("/srv/data")})
VPC = {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
FILES = [{"Arn": ARN, "LocalMountPath": "/mnt/data"}]


async def test_an_attached_function_survives_a_restart_and_is_detached(tmp_path: Path) -> None:
    both = {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    async with open_plane(tmp_path, attachments=ATTACHMENTS) as plane:
        await plane.create(VpcConfig=both, FileSystemConfigs=FILES)
        version = plane.catalog.resolve("f", None).version
        assert version.networks == ("10.0.0.0/23",) and version.file_systems == ((ARN, Path("/srv/data"), "/mnt/data"),)
    async with open_plane(tmp_path) as plane:  # without the flags: nothing is open, nothing is mounted
        version = plane.catalog.resolve("f", None).version
        assert version.networks == () and version.file_systems == ((ARN, None, "/mnt/data"),)
        settings = plane.functions.find("f").latest.settings
        assert settings.vpc == {**NO_VPC, **both, "VpcId": "vpc-1"} and settings.file_systems == {"/mnt/data": ARN}
        await plane.deployment.update_settings("f", {"Timeout": 4})  # what was attached stays as it is
        await plane.settle()
        await plane.deployment.update_settings("f", {"VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}, "FileSystemConfigs": []})
        settings = (await plane.settle()).latest.settings
        assert settings.vpc == NO_VPC and settings.file_systems == {}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"VpcConfig": {"SubnetIds": ["subnet-1"]}}, "SubnetIds and SecurityIds must coexist or be both empty list."),
        ({"VpcConfig": {"SecurityGroupIds": ["sg-1"], "SubnetIds": []}}, "SubnetIds and SecurityIds must coexist or be both empty list."),
        ({"VpcConfig": {**VPC, "SubnetIds": ["subnet-1", "subnet-9"]}}, "Error occurred while DescribeSubnets. EC2 Error Code: "
         "InvalidSubnetID.NotFound. EC2 Error Message: The subnet ID 'subnet-9' does not exist"),
        ({"VpcConfig": {**VPC, "SubnetIds": ["subnet-1", "subnet-3"]}}, "are of different VPCs: vpc-1, vpc-2"),
        ({"VpcConfig": {**VPC, "Ipv6AllowedForDualStack": True}}, "IPv4 only here"),
        ({"VpcConfig": VPC, "FileSystemConfigs": [{**FILES[0], "Arn": ARN + "1"}]}, "does not exist"),
        ({"FileSystemConfigs": FILES}, "Function must be configured to execute in a VPC to reference access points."),
        ({"VpcConfig": VPC, "FileSystemConfigs": FILES, "Runtime": "python3.12", "SnapStart": {"ApplyOn": "PublishedVersions"}},
         "SnapStart does not support functions with file systems."),
    ],
)  # fmt: skip
def test_what_cannot_be_attached(params: dict[str, Any], message: str) -> None:
    given = create_params(**params)
    with pytest.raises(InvalidParameterValue) as caught:
        ATTACHMENTS.attach(make_settings("f", given), given)
    assert message in caught.value.message


async def test_an_access_point_is_of_one_account_and_region(tmp_path: Path) -> None:
    """Another account's functions may not name it, nor have it mounted if they have its ARN stored."""
    for number, elsewhere in enumerate((ARN.replace("000000000000", "111122223333"), ARN.replace("us-east-1", "eu-west-1"))):
        (tmp_path / str(number)).mkdir()
        async with open_plane(tmp_path / str(number), attachments=Attachments({}, {elsewhere: Path("/srv/theirs")})) as plane:
            with pytest.raises(InvalidParameterValue, match="does not exist"):
                await plane.create(FileSystemConfigs=[{"Arn": elsewhere, "LocalMountPath": "/mnt/data"}])
    place = AccountRegion("000000000000", "us-east-1")
    given = Attachments(SUBNETS, {ARN: Path("/srv/data"), elsewhere: Path("/srv/theirs")}).within(place)
    settings = replace(make_settings("f", create_params()), file_systems={"/mnt/a": ARN, "/mnt/b": elsewhere})
    assert given.mounts(settings) == ((ARN, Path("/srv/data"), "/mnt/a"), (elsewhere, None, "/mnt/b"))


def test_without_any_vpc_a_file_system_asks_for_none() -> None:
    given = create_params(FileSystemConfigs=FILES)
    settings = Attachments({}, {ARN: Path("/srv/data")}).attach(make_settings("f", given), given)
    assert settings.file_systems == {"/mnt/data": ARN} and settings.vpc is None
