"""`--vpc` and `--filesystem`: how they are read, and what a driver or a folder cannot do."""

from pathlib import Path

import pytest

from hanabi.errors import IsolationUnavailable
from hanabi.node.config import SettingsError, load_settings
from hanabi.node.host_attachments import open_attachments, read_filesystems, read_vpcs
from hanabi.testing.sandbox import FakeDriver

ARN = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0"


def test_networks_are_named_by_vpc_or_subnet_or_both() -> None:
    read = read_vpcs(["vpc-1=10.0.0.0/16", "subnet-2=10.1.0.0/16", " vpc-a/subnet-b = 10.2.0.0/16"])
    assert read == (("vpc-1", "subnet-1", "10.0.0.0/16"), ("vpc-2", "subnet-2", "10.1.0.0/16"), ("vpc-a", "subnet-b", "10.2.0.0/16"))
    assert read_vpcs("vpc-1=10.0.0.0/16,vpc-2=10.1.0.0/16")[1][1] == "subnet-2"
    for wrong in (
        "=10.0.0.0/16",
        "vpc-1",
        "net-1=10.0.0.0/16",
        "vpc-1=10.0.0.1/16",
        "vpc-1=::/0",
        "vpc-1subnet-1=10.0.0.0/8",
        "vpc-1/=10.0.0.0/8",
    ):
        with pytest.raises(ValueError):
            read_vpcs([wrong])
    with pytest.raises(ValueError, match="a subnet has one network"):
        read_vpcs(["vpc-1=10.0.0.0/16", "subnet-1=10.1.0.0/16"])


def test_folders_are_named_by_access_points(tmp_path: Path) -> None:
    assert read_filesystems([f"{ARN}={tmp_path}/."]) == ((ARN, tmp_path),)
    for wrong in (ARN, f"{ARN}=", f"fsap-1={tmp_path}"):
        with pytest.raises(ValueError):
            read_filesystems([wrong])
    with pytest.raises(ValueError, match="an access point has one path"):
        read_filesystems([f"{ARN}=/a", f"{ARN}=/b"])


def test_what_a_driver_cannot_do_is_said_at_the_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    settings = load_settings({"vpc": ["vpc-1=10.0.0.0/16"], "filesystem": [f"{ARN}={tmp_path}"], "data_dir": str(tmp_path)}, {})
    attachments = open_attachments(settings.vpc, settings.filesystem, FakeDriver())
    assert attachments.subnets["subnet-1"].network == "10.0.0.0/16" and attachments.folders == {ARN: tmp_path}
    for able, message in (("has_networks", "--vpc: "), ("shares_directories", "--filesystem: ")):
        driver = FakeDriver()
        setattr(driver, able, False)
        with pytest.raises(IsolationUnavailable, match=message):
            open_attachments(settings.vpc, settings.filesystem, driver)
    with pytest.raises(SettingsError, match="contradict"):
        load_settings({"vpc": ["vpc-1=10.0.0.0/16"], "no_network": True, "data_dir": str(tmp_path)}, {})
