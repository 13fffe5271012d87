"""Folders of the host in functions, and networks that only some may reach: `--filesystem` and `--vpc`."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import needs_root
from tests.server import Server, create_function

pytestmark = needs_root
ARN = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0"
OWNER = (4321, 4322)
CODE = """
import os

def lambda_handler(event, context):
    path = "/mnt/data/" + event["name"]
    before = open(path).read() if os.path.exists(path) else None
    try:
        with open(path, "w") as file:
            file.write(event["text"])
    except OSError as error:
        return repr(error)
    return [before, os.stat(path).st_uid == os.getuid(), os.listdir("/mnt")]
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hanabi-folder-", dir="/var/tmp") as made:
        os.chown(made, *OWNER)
        yield Path(made)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server("--filesystem", f"{ARN}={folder}", "--vpc", "vpc-1/subnet-1=198.18.0.0/24", "--pool-size", "0") as running:
        yield running


def test_a_folder_is_read_and_written_by_functions_and_by_the_host(server: Server, folder: Path) -> None:
    client = server.client("lambda")
    (folder / "of-the-host").write_text("before")
    os.chown(folder / "of-the-host", *OWNER)
    vpc = {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    settings: dict[str, Any] = {"VpcConfig": vpc, "FileSystemConfigs": [{"Arn": ARN, "LocalMountPath": "/mnt/data"}]}
    for name in ("one", "two"):
        create_function(client, name, CODE, **settings)
    described = client.get_function_configuration(FunctionName="one")
    assert described["FileSystemConfigs"] == settings["FileSystemConfigs"]
    assert described["VpcConfig"] == {**vpc, "VpcId": "vpc-1", "Ipv6AllowedForDualStack": False}

    def call(function: str, **event: str) -> Any:
        with client.invoke(FunctionName=function, Payload=json.dumps(event))["Payload"] as payload:
            return json.load(payload)

    assert call("one", name="of-the-host", text="one") == ["before", True, ["data"]]
    assert call("two", name="of-the-host", text="two") == ["one", True, ["data"]]
    assert call("one", name="new", text="new") == [None, True, ["data"]]
    found = (folder / "new").stat()
    assert (found.st_uid, found.st_gid, (folder / "new").read_text()) == (*OWNER, "new")
    os.symlink("/etc/passwd", folder / "link")  # leads to the sandbox's own file, which is read-only
    assert "root:" not in (folder / "of-the-host").read_text() and "Error" in call("one", name="link", text="x")
    folder.rename(moved := folder.with_name(f"{folder.name}-moved"))
    try:
        client.update_function_configuration(FunctionName="two", Timeout=9)
        client.get_waiter("function_updated_v2").wait(FunctionName="two", WaiterConfig={"Delay": 0.1, "MaxAttempts": 300})
        with pytest.raises(ClientError) as caught:
            call("two", name="new", text="x")
        assert caught.value.response["Error"]["Code"] == "EFSMountFailureException"
    finally:
        moved.rename(folder)
