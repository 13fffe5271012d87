"""What a function is attached to besides its layers: networks of the host (VpcConfig) and its folders (FileSystemConfigs).

Which there are is told at the start (`--vpc`, `--filesystem`). The errors are those recorded from AWS where it has one for the case.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, collapse_addresses
from pathlib import Path
from typing import Any

from hanabi.control.arns import AccountRegion
from hanabi.control.model import FunctionSettings
from hanabi.errors import InvalidParameterValue

NO_VPC: Mapping[str, Any] = {"SubnetIds": [], "SecurityGroupIds": [], "VpcId": "", "Ipv6AllowedForDualStack": False}


@dataclass(frozen=True, slots=True)
class Subnet:
    id: str  # "subnet-..."
    vpc: str  # "vpc-..."
    network: str  # CIDR


@dataclass(frozen=True, slots=True)
class Attachments:
    """The networks and folders that functions may have."""

    subnets: Mapping[str, Subnet] = field(default_factory=dict)  # by their ids
    folders: Mapping[str, Path] = field(default_factory=dict)  # by the ARNs of access points

    def within(self, place: AccountRegion) -> "Attachments":
        """Return what functions of an account and region may have: access points are theirs alone, networks everybody's."""
        return replace(
            self, folders={arn: path for arn, path in self.folders.items() if arn.split(":")[3:5] == [place.region, place.account]}
        )

    def attach(self, settings: FunctionSettings, params: Mapping[str, Any]) -> FunctionSettings:
        """Change the attachments that CreateFunction's or UpdateFunctionConfiguration's `params` name; others stay."""
        if vpc := params.get("VpcConfig"):
            settings = replace(settings, vpc=self._find_vpc(vpc))
        if params.get("FileSystemConfigs") is not None:
            settings = replace(settings, file_systems={each["LocalMountPath"]: each["Arn"] for each in params["FileSystemConfigs"]})
        if settings.file_systems and (params.get("FileSystemConfigs") or params.get("VpcConfig") or params.get("SnapStart")):
            self._check_file_systems(settings)
        return settings

    def networks(self, settings: FunctionSettings) -> tuple[str, ...]:
        """Return the networks that a function may reach; those of subnets that are there no longer are none."""
        ids = settings.vpc["SubnetIds"] if settings.vpc else ()
        return tuple(map(str, collapse_addresses(IPv4Network(self.subnets[each].network) for each in ids if each in self.subnets)))

    def mounts(self, settings: FunctionSettings) -> tuple[tuple[str, Path | None, str], ...]:
        """Return (ARN, folder, path inside) of each file system; the folder is None where it is there no longer."""
        return tuple((arn, self.folders.get(arn), path) for path, arn in settings.file_systems.items())

    def _find_vpc(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        subnets, groups = config.get("SubnetIds") or [], config.get("SecurityGroupIds") or []
        if bool(subnets) != bool(groups):
            raise InvalidParameterValue("SubnetIds and SecurityIds must coexist or be both empty list.")
        if not subnets:
            return NO_VPC
        for each in subnets:
            if each not in self.subnets:
                raise InvalidParameterValue(
                    "Error occurred while DescribeSubnets. EC2 Error Code: InvalidSubnetID.NotFound. "
                    f"EC2 Error Message: The subnet ID '{each}' does not exist"
                )
        if config.get("Ipv6AllowedForDualStack"):
            raise InvalidParameterValue("Ipv6AllowedForDualStack: the networks of functions are IPv4 only here.")
        vpcs = {self.subnets[each].vpc for each in subnets}
        if len(vpcs) > 1:
            raise InvalidParameterValue(f"The subnets {', '.join(subnets)} are of different VPCs: {', '.join(sorted(vpcs))}.")
        return {**NO_VPC, "SubnetIds": list(subnets), "SecurityGroupIds": list(groups), "VpcId": vpcs.pop()}

    def _check_file_systems(self, settings: FunctionSettings) -> None:
        for arn in settings.file_systems.values():
            if arn not in self.folders:
                raise InvalidParameterValue(f"The access point {arn} does not exist. Start Hanabi with --filesystem {arn}=PATH.")
        if settings.snap_start:
            raise InvalidParameterValue("SnapStart does not support functions with file systems.")
        if self.subnets and not (settings.vpc and settings.vpc["SubnetIds"]):
            raise InvalidParameterValue("Function must be configured to execute in a VPC to reference access points.")


NOTHING = Attachments()
