"""Functions and versions as boto3 sees them; what is expected was recorded from AWS."""

import base64
import hashlib
import re
from typing import Any

from hanabi.control.settings import ARCHITECTURES
from hanabi.errors import ImageError
from tests.server import zip_of
from tests.unit.control.support import ARN, ROLE
from tests.unit.services.lambda_.support import CODE, Live, fails

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
SHA = base64.b64encode(hashlib.sha256(CODE).digest()).decode()
RUNTIME = {"RuntimeVersionArn": "arn:aws:lambda:us-east-1::runtime:python3.11"}


def strip(answer: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from call to call, which is checked for its form."""
    answer = dict(answer)
    answer.pop("ResponseMetadata", None)
    assert UUID.fullmatch(answer.pop("RevisionId"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", answer.pop("LastModified"))
    return answer


def configuration(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "Architectures": ARCHITECTURES,
        "CodeSha256": SHA,
        "CodeSize": len(CODE),
        "Description": "",
        "EphemeralStorage": {"Size": 512},
        "FunctionArn": f"{ARN}:{name}",
        "FunctionName": name,
        "Handler": "app.handler",
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"},
        "MemorySize": 128,
        "PackageType": "Zip",
        "Role": ROLE,
        "Runtime": "python3.11",
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "Timeout": 3,
        "TracingConfig": {"Mode": "PassThrough"},
        "Version": "$LATEST",
    } | changes


PENDING = {"State": "Pending", "StateReason": "The function is being created.", "StateReasonCode": "Creating"}
ACTIVE = {"State": "Active", "LastUpdateStatus": "Successful", "RuntimeVersionConfig": RUNTIME}


def test_the_life_of_a_function(live: Live) -> None:
    client = live.client
    made = live.create("life", Environment={"Variables": {}}, Tags={"team": "blue"})
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert strip(made) == configuration("life", Environment={"Variables": {}}, RuntimeVersionConfig=RUNTIME, **PENDING)
    got = client.get_function(FunctionName="life")
    assert strip(got["Configuration"]) == configuration("life", Environment={"Variables": {}}, **ACTIVE)
    assert (got["Code"], got["Tags"], "Concurrency" in got) == ({"RepositoryType": "S3"}, {"team": "blue"}, False)

    changes = {"Description": "Changed", "Timeout": 10, "MemorySize": 512, "Environment": {"Variables": {"ENV_A": "a"}}}
    updated = client.update_function_configuration(FunctionName="life", **changes)
    in_progress = {
        "State": "Active",
        "LastUpdateStatus": "InProgress",
        "LastUpdateStatusReason": "The function is being created.",
        "LastUpdateStatusReasonCode": "Creating",
        "RuntimeVersionConfig": RUNTIME,
    }
    assert strip(updated) == configuration("life", **changes, **in_progress)
    live.settle("life")
    new = zip_of({"app.py": "def handler(event, context): return 2"})
    dry = client.update_function_code(FunctionName="life", ZipFile=new, DryRun=True)
    assert dry["CodeSha256"] != SHA
    assert client.get_function_configuration(FunctionName="life")["CodeSha256"] == SHA
    coded = client.update_function_code(FunctionName="life", ZipFile=new)
    assert (coded["CodeSha256"], coded["CodeSize"], coded["LastUpdateStatus"]) == (dry["CodeSha256"], len(new), "InProgress")
    live.settle("life")
    assert strip(client.get_function_configuration(FunctionName=f"{ARN}:life")) == configuration(
        "life", **changes, **ACTIVE, CodeSha256=dry["CodeSha256"], CodeSize=len(new)
    )
    assert client.delete_function(FunctionName="life")["ResponseMetadata"]["HTTPStatusCode"] == 204
    for call in (client.delete_function, client.get_function, client.get_function_configuration, client.invoke):
        fails("ResourceNotFoundException", 404, f"Function not found: {ARN}:life", call, FunctionName="life")


def test_versions(live: Live) -> None:
    client = live.client
    made = live.create("versions", Publish=True)
    assert strip(made) == configuration("versions", Version="1", RuntimeVersionConfig=RUNTIME, **PENDING)
    version = client.get_function(FunctionName="versions", Qualifier="1")["Configuration"]
    assert strip(version) == configuration("versions", Version="1", FunctionArn=f"{ARN}:versions:1", **ACTIVE)
    latest = client.get_function_configuration(FunctionName="versions:$LATEST")
    assert strip(latest) == configuration("versions", FunctionArn=f"{ARN}:versions:$LATEST", **ACTIVE)
    again = client.publish_version(FunctionName="versions")
    assert (again["Version"], again["RevisionId"], again["ResponseMetadata"]["HTTPStatusCode"]) == ("1", version["RevisionId"], 201)
    coded = client.update_function_code(FunctionName="versions", ZipFile=zip_of({"app.py": "x"}), Publish=True)
    assert (coded["Version"], coded["FunctionArn"], coded["State"]) == ("2", f"{ARN}:versions:2", "Pending")
    assert "LastUpdateStatus" not in coded
    live.settle("versions")
    listed = client.list_versions_by_function(FunctionName="versions")["Versions"]
    assert [each["FunctionArn"] for each in listed] == [f"{ARN}:versions:{number}" for number in ("$LATEST", "1", "2")]
    assert strip(listed[1]) == configuration("versions", Version="1", FunctionArn=f"{ARN}:versions:1")
    assert client.delete_function(FunctionName="versions", Qualifier="1")["ResponseMetadata"]["HTTPStatusCode"] == 204
    fails("ResourceNotFoundException", 404, f"Function not found: {ARN}:versions:1", client.get_function, FunctionName="versions:1")
    fails("InvalidParameterValueException", 400, "$LATEST version cannot be deleted without deleting the function.",
          client.delete_function, FunctionName="versions", Qualifier="$LATEST")  # fmt: skip
    fails("InvalidParameterValueException", 400, "Deletion of aliases is not currently supported.",
          client.delete_function, FunctionName="versions", Qualifier="live")  # fmt: skip
    fails("InvalidParameterValueException", 400, "The derived qualifier from the function name does not match the specified qualifier.",
          client.get_function, FunctionName="versions:1", Qualifier="2")  # fmt: skip


def test_lists_come_in_pages(live: Live) -> None:
    client = live.client
    names = ["page", "page-a", "page-b", "page_c", "page0"]
    for name in names:
        live.create(name, Publish=True)
    for _ in range(11):
        client.update_function_configuration(FunctionName="page", Timeout=5)
        live.settle("page")
        client.update_function_configuration(FunctionName="page", Timeout=6)
        live.settle("page")
        client.publish_version(FunctionName="page")
    pages = list(client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2}))
    assert all(len(page["Functions"]) <= 2 for page in pages)
    found = [function["FunctionName"] for page in pages for function in page["Functions"]]
    assert sorted(found) == found and len(set(found)) == len(found) and set(names) <= set(found)
    everything = client.get_paginator("list_functions").paginate(FunctionVersion="ALL", PaginationConfig={"PageSize": 3})
    arns = [function["FunctionArn"] for page in everything for function in page["Functions"]]
    assert len(set(arns)) == len(arns) and f"{ARN}:page-a:$LATEST" in arns and f"{ARN}:page-a:1" in arns
    versions = client.get_paginator("list_versions_by_function").paginate(FunctionName="page", PaginationConfig={"PageSize": 1})
    assert [version["Version"] for page in versions for version in page["Versions"]][:2] == ["$LATEST", "1"]
    fails("InvalidParameterValueException", 400, "Marker", client.list_functions, Marker="!")


def test_a_large_upload(live: Live) -> None:
    live.create("large")
    big = zip_of({"app.py": "x", "noise": hashlib.shake_128(b"x").digest(3_000_000)})
    updated = live.client.update_function_code(FunctionName="large", ZipFile=big)
    assert updated["CodeSize"] == len(big) > 2_900_000
    live.settle("large")


def test_what_is_refused(live: Live) -> None:
    client = live.client
    good = {"Runtime": "python3.11", "Handler": "app.handler", "Role": ROLE, "Code": {"ZipFile": CODE}}

    def create(**changes: Any) -> Any:
        params = {"FunctionName": "refused"} | good | changes
        return client.create_function(**{name: value for name, value in params.items() if value is not None})

    fails("ValidationException", 400, "Value 'r1' at 'role' failed to satisfy constraint", create, Role="r1")
    fails("InvalidParameterValueException", 400, "Value cobol at 'runtime' failed to satisfy constraint", create, Runtime="cobol")
    fails("InvalidParameterValueException", 400, "Could not unzip uploaded file", create, Code={"ZipFile": b"this is not a zip"})
    fails("ValidationException", 400, "at 'timeout' failed to satisfy constraint", create, Timeout=901)
    fails("ValidationException", 400, "at 'memorySize' failed to satisfy constraint", create, MemorySize=127)
    fails(
        "InvalidParameterValueException",
        400,
        "python3.11 is not supported for SnapStart enabled functions.",
        create,
        SnapStart={"ApplyOn": "PublishedVersions"},
    )
    fails(
        "InvalidParameterValueException",
        400,
        "cannot run here: this host is",
        create,
        Architectures=["arm64" if ARCHITECTURES == ["x86_64"] else "x86_64"],
    )
    fails("InvalidParameterValueException", 400, "less than or equal to 64", create, FunctionName="a" * 65)
    fails("InvalidParameterValueException", 400, "Number of tags exceeds", create, Tags={str(n): "x" for n in range(51)})
    fails("InvalidParameterValueException", 400, "Please don't provide ImageConfig", create, ImageConfig={"Command": ["x"]})
    image: dict[str, Any] = {"PackageType": "Image", "Code": {"ImageUri": "r.example/i:1"}}
    fails("InvalidParameterValueException", 400, "Please don't provide Handler or Runtime or Layer", create, **image)
    live.containers.refuse = ImageError("401", "denied")
    fails(
        "AccessDeniedException", 403, "Lambda does not have permission to access the ECR image", create, **image, Runtime=None, Handler=None
    )
    live.containers.refuse = None
    fails("ResourceNotFoundException", 404, "Function not found", client.get_function, FunctionName="refused")
    live.create("taken")
    fails("ResourceConflictException", 409, "Function already exist: taken", create, FunctionName="taken")
    fails("InvalidParameterValueException", 400, "This operation is permitted on Lambda functions only.",
          client.update_function_configuration, FunctionName="taken:1", Timeout=4)  # fmt: skip
    fails("PreconditionFailedException", 412, "The Revision Id provided does not match the latest Revision Id.",
          client.update_function_configuration, FunctionName="taken", Timeout=4, RevisionId="x")  # fmt: skip


def test_defaults_that_tools_read(live: Live) -> None:
    live.create("defaults")
    assert live.client.get_runtime_management_config(FunctionName="defaults")["UpdateRuntimeOn"] == "Auto"
    assert live.client.get_function_recursion_config(FunctionName="defaults")["RecursiveLoop"] == "Terminate"
    assert "CodeSigningConfigArn" not in live.client.get_function_code_signing_config(FunctionName="defaults")
    fails("NotImplementedException", 501, "ListDurableExecutionsByFunction", live.client.list_durable_executions_by_function,
          FunctionName="defaults")  # fmt: skip


def test_a_function_from_an_image(live: Live) -> None:
    """What AWS was recorded answering for one."""
    config = {"Command": ["-c", "x"], "WorkingDirectory": "/a"}
    image = {"PackageType": "Image", "Code": {"ImageUri": "r.example/app:1"}, "ImageConfig": config}
    made = live.create("image", Runtime=None, Handler=None, **image)
    digest = made["CodeSha256"]
    assert (made["PackageType"], made["CodeSize"], len(digest)) == ("Image", 0, 64)
    assert made["ImageConfigResponse"] == {"ImageConfig": config}
    assert not {"Runtime", "Handler", "RuntimeVersionConfig", "Layers"} & made.keys()
    got = live.client.get_function(FunctionName="image")
    assert got["Code"] == {"RepositoryType": "ECR", "ImageUri": "r.example/app:1", "ResolvedImageUri": f"r.example/app@sha256:{digest}"}
    assert "RuntimeVersionConfig" not in got["Configuration"]
    tried = live.client.update_function_code(FunctionName="image", ImageUri="r.example/app:2", DryRun=True)
    assert tried["CodeSha256"] != digest == live.client.get_function_configuration(FunctionName="image")["CodeSha256"]
    live.client.update_function_configuration(FunctionName="image", ImageConfig={})
    live.settle("image")
    listed = next(each for each in live.client.list_functions()["Functions"] if each["FunctionName"] == "image")
    assert listed["PackageType"] == "Image" and "ImageConfigResponse" not in listed
    fails(
        "InvalidParameterValueException", 400, "is different from current CodeSHA256", live.client.publish_version,
        FunctionName="image", CodeSha256="a" * 64,
    )  # fmt: skip
    assert live.client.publish_version(FunctionName="image", CodeSha256=digest)["CodeSha256"] == digest
