"""Layers as boto3 sees them."""

import json
import re
from typing import Any

from tests.server import zip_of
from tests.unit.control.support import ACCOUNT, REGION
from tests.unit.services.lambda_.support import Live, fails

LAYER = zip_of({"python/shared.py": "VALUE = 1"})
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer"


def publish(live: Live, name: str, **options: Any) -> dict[str, Any]:
    made: dict[str, Any] = live.client.publish_layer_version(LayerName=name, Content={"ZipFile": LAYER}, **options)
    return made


def test_the_life_of_a_layer(live: Live) -> None:
    client = live.client
    said = {
        "Description": "d", "LicenseInfo": "MIT", "CompatibleRuntimes": ["python3.13", "java8"], "CompatibleArchitectures": ["x86_64"],
    }  # fmt: skip
    first = publish(live, "life", **said)
    assert first.pop("ResponseMetadata")["HTTPStatusCode"] == 201
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", first["CreatedDate"])
    assert first["Content"].pop("CodeSize") == len(LAYER) and first["Content"].keys() == {"CodeSha256"}
    assert first == {
        **said,
        "Content": first["Content"],
        "LayerArn": f"{ARN}:life",
        "LayerVersionArn": f"{ARN}:life:1",
        "CreatedDate": first["CreatedDate"],
        "Version": 1,
    }
    second = publish(live, f"{ARN}:life")  # the same bytes, by ARN: a new version all the same
    assert (second["Version"], second["Description"]) == (2, "")
    assert second.keys().isdisjoint({"LicenseInfo", "CompatibleRuntimes", "CompatibleArchitectures"})
    for got in (
        client.get_layer_version(LayerName="life", VersionNumber=1),
        client.get_layer_version_by_arn(Arn=f"{ARN}:life:1"),
    ):
        assert got.pop("ResponseMetadata")["HTTPStatusCode"] == 200
        assert got["Content"].pop("CodeSize") == len(LAYER)
        assert got == first
    assert [each["Version"] for each in client.list_layer_versions(LayerName="life")["LayerVersions"]] == [2, 1]
    (listed,) = client.list_layer_versions(LayerName="life", CompatibleRuntime="java8")["LayerVersions"]
    assert listed == {member: value for member, value in first.items() if member not in ("Content", "LayerArn")}
    for number in (1, 2, 2):  # deleting again is no error
        assert client.delete_layer_version(LayerName="life", VersionNumber=number)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert client.list_layer_versions(LayerName="life")["LayerVersions"] == []
    assert publish(live, "life")["Version"] == 3


def test_lists_are_filtered_and_paged(live: Live) -> None:
    client = live.client
    for name in ("list-a", "list-b", "list-c"):
        publish(live, name, CompatibleRuntimes=["ruby3.4"], CompatibleArchitectures=["arm64"])
    publish(live, "list-b")
    publish(live, "list-c", CompatibleRuntimes=["ruby3.4"])
    client.delete_layer_version(LayerName="list-a", VersionNumber=1)
    listed = client.list_layers(CompatibleRuntime="ruby3.4")["Layers"]
    assert [(each["LayerName"], each["LayerArn"]) for each in listed] == [("list-b", f"{ARN}:list-b"), ("list-c", f"{ARN}:list-c")]
    assert [each["LatestMatchingVersion"]["Version"] for each in listed] == [1, 2]
    both = client.list_layers(CompatibleRuntime="ruby3.4", CompatibleArchitecture="arm64")["Layers"]
    assert [each["LatestMatchingVersion"]["Version"] for each in both] == [1, 1]
    pages = client.get_paginator("list_layers").paginate(PaginationConfig={"PageSize": 1})
    names = [each["LayerName"] for page in pages for each in page["Layers"]]
    assert names == sorted(names) and {"list-b", "list-c"} <= set(names) and "list-a" not in names
    for _ in range(3):
        publish(live, "list-a")
    pages = client.get_paginator("list_layer_versions").paginate(LayerName="list-a", PaginationConfig={"PageSize": 2})
    assert [[each["Version"] for each in page["LayerVersions"]] for page in pages] == [[4, 3], [2]]


def test_what_is_refused(live: Live) -> None:
    client = live.client
    publish(live, "refused", CompatibleRuntimes=[], CompatibleArchitectures=[])
    assert client.list_layer_versions(LayerName="layerdoesnotexist")["LayerVersions"] == []
    missing = ("ResourceNotFoundException", 404, "The resource you requested does not exist.")
    fails(*missing, client.get_layer_version, LayerName="layerdoesnotexist", VersionNumber=1)
    fails(*missing, client.get_layer_version, LayerName="refused", VersionNumber=2)
    fails(*missing, client.get_layer_version_by_arn, Arn=f"{ARN}:refused:2")
    fails(*missing, client.get_layer_version_by_arn, Arn=f"arn:aws:lambda:eu-west-1:{ACCOUNT}:layer:refused:1")
    for call in (client.get_layer_version, client.delete_layer_version):
        for number in (0, -1):
            fails("InvalidParameterValueException", 400, "Layer Version Cannot be less than 1", call, LayerName="refused",
                  VersionNumber=number)  # fmt: skip
    fails("ValidationException", 400, f"1 validation error detected: Value '{ARN}:refused' at 'arn' failed to satisfy constraint: Member "
          r"must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:"
          r"\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)",
          client.get_layer_version_by_arn, Arn=f"{ARN}:refused")  # fmt: skip
    fails("ValidationException", 400, "1 validation error detected: Value 'runtimedoesnotexist' at 'compatibleRuntime' failed to satisfy "
          "constraint: Member must satisfy enum value set: [ruby3.5, ruby2.6,", client.list_layers,
          CompatibleRuntime="runtimedoesnotexist")  # fmt: skip
    fails("ValidationException", 400, "Value 'archdoesnotexist' at 'compatibleArchitecture' failed to satisfy constraint: Member must "
          "satisfy enum value set: [x86_64, arm64]", client.list_layers, CompatibleArchitecture="archdoesnotexist")  # fmt: skip
    fails("ValidationException", 400, "2 validation errors detected: Value '[invalidruntime, nodejs20.x]' at 'compatibleRuntimes' failed "
          "to satisfy constraint: Member must satisfy enum value set: [nodejs20.x, python3.14, provided.al2023,", publish, live=live,
          name="refused", CompatibleRuntimes=["invalidruntime", "nodejs20.x"], CompatibleArchitectures=["invalidarch"])  # fmt: skip
    fails("InvalidParameterValueException", 400, "Could not unzip uploaded file. Please check your file, then try to upload again.",
          client.publish_layer_version, LayerName="refused", Content={"ZipFile": b"no zip"})  # fmt: skip
    hostile_zips: list[dict[str, str | bytes]] = [{"../outside": ""}, {"/absolute": ""}, {"link": "..", "link/file": ""}]
    for hostile in hostile_zips:
        fails("InvalidParameterValueException", 400, "Could not unzip uploaded file. Please check your file, then try to upload again.",
              client.publish_layer_version, LayerName="refused", Content={"ZipFile": zip_of(hostile, links=["link"])})  # fmt: skip
    fails("InvalidParameterValueException", 400, "Missing Content",
          client.publish_layer_version, LayerName="refused", Content={})  # fmt: skip
    fails("InvalidParameterValueException", 400, "S3Bucket: this Hanabi knows no S3", client.publish_layer_version,
          LayerName="refused", Content={"S3Bucket": "bucket", "S3Key": "key"})  # fmt: skip
    foreign = "arn:aws:lambda:us-east-1:123456789012:layer:theirs"
    for call, params in (
        (client.delete_layer_version, {"VersionNumber": 1}),
        (client.publish_layer_version, {"Content": {"ZipFile": LAYER}}),
    ):
        fails("AccessDeniedException", 403, "is not authorized to perform: lambda:", call, LayerName=foreign, **params)
    assert [each["Version"] for each in client.list_layer_versions(LayerName="refused")["LayerVersions"]] == [1]


def test_policies(live: Live) -> None:
    client = live.client
    publish(live, "shared")
    version: dict[str, Any] = {"LayerName": "shared", "VersionNumber": 1}
    allowed = {**version, "Action": "lambda:GetLayerVersion", "Principal": "*"}
    none = ("ResourceNotFoundException", 404, "No policy is associated with the given resource.")
    fails(*none, client.get_layer_version_policy, **version)
    added = client.add_layer_version_permission(**allowed, StatementId="s1")
    assert added["ResponseMetadata"]["HTTPStatusCode"] == 201
    statement = {"Sid": "s1", "Effect": "Allow", "Principal": "*", "Action": "lambda:GetLayerVersion", "Resource": f"{ARN}:shared:1"}
    assert json.loads(added["Statement"]) == statement
    policy = client.get_layer_version_policy(**version)
    assert json.loads(policy["Policy"]) == {"Version": "2012-10-17", "Id": "default", "Statement": [statement]}
    assert policy["RevisionId"] == added["RevisionId"]
    second = client.add_layer_version_permission(
        **{**allowed, "Principal": "123456789012"}, StatementId="s2", OrganizationId="o-1234567890", RevisionId=added["RevisionId"]
    )
    assert json.loads(second["Statement"]) | {"Sid": 1, "Resource": 1} == {
        "Sid": 1, "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "lambda:GetLayerVersion",
        "Resource": 1, "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1234567890"}},
    }  # fmt: skip
    assert second["RevisionId"] != added["RevisionId"]
    fails("ResourceConflictException", 409, "The statement id (s1) provided already exists.", client.add_layer_version_permission,
          **allowed, StatementId="s1")  # fmt: skip
    wrong = ("PreconditionFailedException", 412, "does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the")
    fails(*wrong, client.add_layer_version_permission, **allowed, StatementId="s3", RevisionId="wrong")
    fails(*wrong, client.remove_layer_version_permission, **version, StatementId="s1", RevisionId="wrong")
    fails("ValidationException", 400, "Value '*' at 'action' failed to satisfy constraint: Member must satisfy regular expression pattern: "
          "lambda:GetLayerVersion", client.add_layer_version_permission, **{**allowed, "Action": "*"}, StatementId="s3")  # fmt: skip
    fails("ResourceNotFoundException", 404, "Statement s9 is not found in resource policy.", client.remove_layer_version_permission,
          **version, StatementId="s9")  # fmt: skip
    for name, number in (("shared", 2), ("nowhere", 1)):
        absent = ("ResourceNotFoundException", 404, f"Layer version {ARN}:{name}:{number} does not exist.")
        place: dict[str, Any] = {"LayerName": name, "VersionNumber": number}
        fails(*absent, client.get_layer_version_policy, **place)
        fails(*absent, client.remove_layer_version_permission, **place, StatementId="s1")
        fails(*absent, client.add_layer_version_permission, **{**allowed, **place}, StatementId="s1")
    for sid in ("s2", "s1"):
        removed = client.remove_layer_version_permission(**version, StatementId=sid)
        assert removed["ResponseMetadata"]["HTTPStatusCode"] == 204
    fails(*none, client.get_layer_version_policy, **version)


def test_functions_with_layers(live: Live) -> None:
    client = live.client
    arns = [publish(live, name)["LayerVersionArn"] for name in ("with-a", "with-b")]
    used = client.get_account_settings()["AccountUsage"]["TotalCodeSize"]
    publish(live, "with-c")
    assert client.get_account_settings()["AccountUsage"]["TotalCodeSize"] == used + len(LAYER)
    shown = [{"Arn": arn, "CodeSize": len(LAYER)} for arn in arns]
    assert live.create("layered", Layers=arns)["Layers"] == shown
    assert client.get_function_configuration(FunctionName="layered")["Layers"] == shown
    (listed,) = [each for each in client.list_functions()["Functions"] if each["FunctionName"] == "layered"]
    assert listed["Layers"] == shown
    updated = client.update_function_configuration(FunctionName="layered", Layers=arns[:1])
    assert (updated["Layers"], updated["LastUpdateStatus"]) == (shown[:1], "InProgress")
    live.settle("layered")
    client.delete_layer_version(LayerName="with-a", VersionNumber=1)
    assert client.get_function_configuration(FunctionName="layered")["Layers"] == shown[:1]
    assert "Layers" not in client.update_function_configuration(FunctionName="layered", Layers=[])
    live.settle("layered")
    fails("ValidationException", 400, f"1 validation error detected: Value '[{ARN}:with-b]' at 'layers' failed to satisfy constraint: "
          "Member must satisfy constraint: [Member must have length less than or equal to 2048, Member must have length greater than or "
          "equal to 1, Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:", client.update_function_configuration,
          FunctionName="layered", Layers=[f"{ARN}:with-b"])  # fmt: skip
