"""The networks and folders that functions may be attached to: `--vpc` and `--filesystem`, read and checked."""

import os
import re
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from hanabi.contracts.sandbox import Driver
from hanabi.errors import IsolationUnavailable

if TYPE_CHECKING:
    from hanabi.control.attachments import Attachments

_VPC = re.compile(r"(vpc-[0-9a-z]{1,64})|(?:(vpc-[0-9a-z]{1,64})/)?(subnet-[0-9a-z]{1,64})", re.ASCII)
_POINT = re.compile(r"arn:aws[a-z-]*:(elasticfilesystem|s3files):[a-z0-9-]+:\d{12}:[a-z0-9/-]*access-point/fsap-[0-9a-f]{17,40}", re.ASCII)
Vpcs = tuple[tuple[str, str, str], ...]  # (VPC, subnet, CIDR)
FileSystems = tuple[tuple[str, Path], ...]  # (ARN of an access point, folder)
_POINT_FORM = "arn:aws:elasticfilesystem:REGION:ACCOUNT:access-point/fsap-..."


def read_vpcs(value: str | list[str]) -> Vpcs:
    """Read ID=CIDR: repeated flags, or one variable with commas. ID: vpc-..., subnet-..., or both with a slash between.

    What is not named has the other one's digits: `vpc-1` has the subnet `subnet-1`.
    """
    read = []
    for each in _split(value):
        name, _, network = each.partition("=")
        found = _VPC.fullmatch(name.strip())
        if found is None:
            raise ValueError(f"{each!r} is not ID=CIDR with an ID such as vpc-1, subnet-1 or vpc-1/subnet-1")
        vpc = found[1] or found[2] or "vpc" + found[3][6:]
        subnet = found[3] or "subnet" + vpc[3:]
        read.append((vpc, subnet, str(IPv4Network(network.strip()))))
    if len({subnet for _, subnet, _ in read}) < len(read):
        raise ValueError("a subnet has one network")
    return tuple(read)


def read_filesystems(value: str | list[str]) -> FileSystems:
    """Read ARN=PATH: repeated flags, or one variable with commas."""
    read = []
    for each in _split(value):
        arn, _, path = (part.strip() for part in each.partition("="))
        if not _POINT.fullmatch(arn) or not path:
            raise ValueError(f"{each!r} is not ARN=PATH with the ARN of an access point, {_POINT_FORM}")
        read.append((arn, Path(os.path.realpath(Path(path).expanduser()))))
    if len({arn for arn, _ in read}) < len(read):
        raise ValueError("an access point has one path")
    return tuple(read)


def open_attachments(vpcs: Vpcs, filesystems: FileSystems, driver: Driver) -> "Attachments":
    """Make the attachments of a node. Raises `IsolationUnavailable`, with the fix, for what the driver or the host cannot do. Blocks."""
    from hanabi.control.attachments import Attachments, Subnet
    from hanabi.sandbox.host.shared_directory import SharedDirectory

    if vpcs and not driver.has_networks:
        raise IsolationUnavailable(f"--vpc: with --isolation {driver.name} functions have no network of their own; use --isolation oci")
    if filesystems and not driver.shares_directories:
        raise IsolationUnavailable(f"--filesystem: {driver.name} cannot mount folders of the host; use --isolation oci")
    for _, path in filesystems:
        SharedDirectory(path).check()
    return Attachments({subnet: Subnet(subnet, vpc, network) for vpc, subnet, network in vpcs}, dict(filesystems))


def _split(value: str | list[str]) -> list[str]:
    return [each.strip() for each in (value.split(",") if isinstance(value, str) else value) if each.strip()]
