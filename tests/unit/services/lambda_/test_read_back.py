"""Every setting of a function as Terraform's `aws_lambda_function` writes it, reads it back, changes it in place and destroys it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hanabi.control.attachments import Attachments, Subnet
from hanabi.control.settings import ARCHITECTURES
from tests.unit.control.support import ROLE
from tests.unit.services.lambda_.support import CODE, Live, fails, live_lambda

POINT = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0"
SUBNETS = {f"subnet-{each}": Subnet(f"subnet-{each}", "vpc-1", f"10.0.{each}.0/24") for each in (1, 2)}
WRITTEN: dict[str, Any] = {
    "Description": "one",
    "Handler": "app.handler",
    "Runtime": "python3.11",
    "Role": ROLE,
    "MemorySize": 256,
    "Timeout": 7,
    "Architectures": ARCHITECTURES,
    "PackageType": "Zip",
    "EphemeralStorage": {"Size": 1024},
    "Environment": {"Variables": {"AB": "1"}},
    "KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k",
    "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:dead"},
    "TracingConfig": {"Mode": "Active"},
    "LoggingConfig": {"LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "INFO", "LogGroup": "/mine"},
    "VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"], "Ipv6AllowedForDualStack": False},
    "FileSystemConfigs": [{"Arn": POINT, "LocalMountPath": "/mnt/data"}],
}
CHANGED: dict[str, Any] = {
    "Description": "two",
    "MemorySize": 512,
    "Timeout": 8,
    "EphemeralStorage": {"Size": 512},
    "Environment": {"Variables": {"CD": "2"}},
    "KMSKeyArn": "",
    "DeadLetterConfig": {"TargetArn": ""},
    "TracingConfig": {"Mode": "PassThrough"},
    "VpcConfig": {"SubnetIds": ["subnet-2"], "SecurityGroupIds": ["sg-2"], "Ipv6AllowedForDualStack": False},
    "FileSystemConfigs": [],
}


@pytest.fixture(scope="module")
def attached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_lambda(tmp_path_factory.mktemp("lambda"), attachments=Attachments(SUBNETS, {POINT: Path("/srv")})) as live:
        yield live


def read_back(client: Any, name: str, written: dict[str, Any]) -> dict[str, Any]:
    """Read what is planned against; empty settings are absent."""
    found: dict[str, Any] = client.get_function(FunctionName=name)["Configuration"]
    for member, value in written.items():
        empty = value in ("", [], {"TargetArn": ""})
        shown = found.get(member)
        if member == "VpcConfig":
            shown = {key: each for key, each in found[member].items() if key != "VpcId"}
        assert shown == (None if empty else value), member
    return found


def test_what_is_written_is_read_back_changed_in_place_and_destroyed(attached: Live) -> None:
    client = attached.client
    attached.create("tf", Tags={"a": "b"}, **WRITTEN)
    first = read_back(client, "tf", WRITTEN)
    assert first["VpcConfig"]["VpcId"] == "vpc-1"
    got = client.get_function(FunctionName="tf")
    assert got["Tags"] == {"a": "b"} and got["Configuration"] == first  # a second plan sees no drift
    client.get_function_code_signing_config(FunctionName="tf")
    assert [each["Version"] for each in client.list_versions_by_function(FunctionName="tf")["Versions"]] == ["$LATEST"]

    assert client.update_function_code(FunctionName="tf", ZipFile=CODE, DryRun=True)["CodeSha256"] == first["CodeSha256"]
    assert read_back(client, "tf", WRITTEN) == first
    client.update_function_configuration(FunctionName="tf", RevisionId=first["RevisionId"], **CHANGED)
    attached.settle("tf")
    second = read_back(client, "tf", {**WRITTEN, **CHANGED})
    stale = "The Revision Id provided does not match the latest Revision Id."
    for change in (client.update_function_configuration, client.update_function_code, client.publish_version):
        given = {"ZipFile": CODE} if change == client.update_function_code else {}
        fails("PreconditionFailedException", 412, stale, change, FunctionName="tf", RevisionId=first["RevisionId"], **given)
    assert read_back(client, "tf", {**WRITTEN, **CHANGED}) == second

    client.update_function_configuration(FunctionName="tf", VpcConfig={"SubnetIds": [], "SecurityGroupIds": []}, Environment={})
    attached.settle("tf")
    last = client.get_function_configuration(FunctionName="tf")
    assert last["VpcConfig"] == {"SubnetIds": [], "SecurityGroupIds": [], "VpcId": "", "Ipv6AllowedForDualStack": False}
    assert last["Environment"] == {"Variables": {}}
    client.delete_function(FunctionName="tf")
    fails("ResourceNotFoundException", 404, "Function not found", client.get_function, FunctionName="tf")
