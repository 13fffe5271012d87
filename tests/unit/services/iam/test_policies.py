"""Managed policies: the account's with their versions, AWS's as they are, and who has them."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.unit.control.support import ACCOUNT
from tests.unit.edge.world import open_world
from tests.unit.services.iam.support import TRUST, call, document, names, refusal

ARN = f"arn:aws:iam::{ACCOUNT}:policy"
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


async def test_the_life_of_a_policy(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        made = (await call(world, "CreatePolicy", PolicyName="p", Path="/a/", PolicyDocument=document(), Description="d"))["Policy"]
        assert made["Arn"] == (arn := f"{ARN}/a/p") and made["PolicyId"].startswith("ANPA")
        assert (made["DefaultVersionId"], made["AttachmentCount"], made["PermissionsBoundaryUsageCount"]) == ("v1", 0, 0)
        assert made["IsAttachable"] is True and "Description" not in made and "Tags" not in made
        assert (await call(world, "GetPolicy", PolicyArn=arn))["Policy"] == made | {"Description": "d", "Tags": []}
        taken = await refusal(world, "CreatePolicy", PolicyName="P", PolicyDocument=document())
        assert taken == ("EntityAlreadyExists", 409, "A policy called P already exists. Duplicate names are not allowed.")
        await call(world, "TagPolicy", PolicyArn=arn, Tags=[{"Key": "k", "Value": "v"}])
        assert (await call(world, "ListPolicyTags", PolicyArn=arn))["Tags"] == [{"Key": "k", "Value": "v"}]
        await call(world, "UntagPolicy", PolicyArn=arn, TagKeys=["k"])
        await call(world, "CreateUser", UserName="kai")
        await call(world, "AttachUserPolicy", UserName="kai", PolicyArn=arn)
        assert (await call(world, "GetPolicy", PolicyArn=arn))["Policy"]["AttachmentCount"] == 1
        assert await refusal(world, "DeletePolicy", PolicyArn=arn) == (
            "DeleteConflict",
            409,
            "Cannot delete a policy attached to entities.",
        )
        await call(world, "DetachUserPolicy", UserName="kai", PolicyArn=arn)
        await call(world, "DeletePolicy", PolicyArn=arn)
        for operation in ("GetPolicy", "DeletePolicy", "ListPolicyVersions", "ListEntitiesForPolicy", "ListPolicyTags"):
            assert await refusal(world, operation, PolicyArn=arn) == ("NoSuchEntity", 404, f"Policy {arn} was not found."), operation


async def test_versions(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await call(world, "CreatePolicy", PolicyName="p", PolicyDocument=document("s3:*"))
        arn = f"{ARN}/p"
        for number in range(2, 6):
            made = await call(
                world, "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=document(f"s3:Get{number}"), SetAsDefault=number == 3
            )
            assert (made["PolicyVersion"]["VersionId"], made["PolicyVersion"]["IsDefaultVersion"]) == (f"v{number}", number == 3)
        code, _, message = await refusal(world, "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=document())
        assert code == "LimitExceeded" and message.startswith("A managed policy can have up to 5 versions. Before you create")
        versions = (await call(world, "ListPolicyVersions", PolicyArn=arn))["Versions"]
        assert names(versions, "VersionId") == ["v5", "v4", "v3", "v2", "v1"]
        first = await call(world, "ListPolicyVersions", PolicyArn=arn, MaxItems=3)
        rest = await call(world, "ListPolicyVersions", PolicyArn=arn, Marker=first["Marker"])
        assert names(first["Versions"] + rest["Versions"], "VersionId") == names(versions, "VersionId")
        assert await refusal(world, "DeletePolicyVersion", PolicyArn=arn, VersionId="v3") == (
            "DeleteConflict",
            409,
            "Cannot delete the default version of a policy.",
        )
        await call(world, "SetDefaultPolicyVersion", PolicyArn=arn, VersionId="v5")
        await call(world, "DeletePolicyVersion", PolicyArn=arn, VersionId="v3")
        found = (await call(world, "GetPolicyVersion", PolicyArn=arn, VersionId="v2"))["PolicyVersion"]
        assert json.loads(unquote(found["Document"]))["Statement"][0]["Action"] == "s3:Get2"
        made = await call(world, "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=document())
        assert made["PolicyVersion"]["VersionId"] == "v6"  # no number comes twice
        code, _, message = await refusal(world, "DeletePolicy", PolicyArn=arn)
        assert code == "DeleteConflict" and message.startswith("This policy has more than one version. Before you delete a policy")
        for operation in ("GetPolicyVersion", "SetDefaultPolicyVersion", "DeletePolicyVersion"):
            code, _, message = await refusal(world, operation, PolicyArn=arn, VersionId="v9")
            assert (code, message) == ("NoSuchEntity", f"Policy {arn} version v9 does not exist or is not attachable.")
        assert (await refusal(world, "GetPolicyVersion", PolicyArn=arn, VersionId="nine"))[0] == "ValidationError"


async def test_policies_of_aws(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        found = (await call(world, "GetPolicy", PolicyArn=BASIC))["Policy"]
        assert (found["PolicyName"], found["Path"]) == ("AWSLambdaBasicExecutionRole", "/service-role/")
        version = (await call(world, "GetPolicyVersion", PolicyArn=BASIC, VersionId=found["DefaultVersionId"]))["PolicyVersion"]
        statement = json.loads(unquote(version["Document"]))["Statement"][0]
        assert statement["Action"] == ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
        assert names((await call(world, "ListPolicyVersions", PolicyArn=BASIC))["Versions"], "VersionId") == ["v1"]
        assert (await refusal(world, "GetPolicyVersion", PolicyArn=BASIC, VersionId="v2"))[0] == "NoSuchEntity"
        before = repr(world.store.rows)
        changes: list[tuple[str, dict[str, Any]]] = [
            ("DeletePolicy", {}),
            ("CreatePolicyVersion", {"PolicyDocument": document()}),
            ("SetDefaultPolicyVersion", {"VersionId": "v1"}),
        ]
        changes += [("TagPolicy", {"Tags": [{"Key": "k", "Value": "v"}]}), ("DeletePolicyVersion", {"VersionId": "v1"})]
        for operation, more in changes:
            assert (await refusal(world, operation, PolicyArn=BASIC, **more))[0] == "NoSuchEntity", operation
        assert repr(world.store.rows) == before


async def test_lists_and_who_has_a_policy(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        for name, path in (("a", "/"), ("b", "/x/"), ("edge", "/x/")):
            await call(world, "CreatePolicy", PolicyName=name, Path=path, PolicyDocument=document())
        await call(world, "CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST, PermissionsBoundary=f"{ARN}/x/edge")
        await call(world, "CreateUser", UserName="u", Path="/x/")
        await call(world, "CreateGroup", GroupName="g")
        for operation, member in (("AttachRolePolicy", {"RoleName": "r"}), ("AttachUserPolicy", {"UserName": "u"})):
            await call(world, operation, PolicyArn=f"{ARN}/a", **member)
        await call(world, "AttachGroupPolicy", GroupName="g", PolicyArn=BASIC)

        async def listed(**params: Any) -> list[str]:
            return names((await call(world, "ListPolicies", MaxItems=1000, **params))["Policies"], "PolicyName")

        assert await listed(Scope="Local") == ["a", "b", "edge"]
        assert await listed(Scope="Local", PathPrefix="/x/") == ["b", "edge"]
        assert await listed(OnlyAttached=True) == ["a", "edge", "AWSLambdaBasicExecutionRole"]
        assert await listed(PolicyUsageFilter="PermissionsBoundary") == ["edge"]
        assert await listed(PolicyUsageFilter="PermissionsPolicy") == ["a", "AWSLambdaBasicExecutionRole"]
        ofaws = await listed(Scope="AWS")
        assert "AdministratorAccess" in ofaws and "a" not in ofaws and await listed(Scope="AWS", PathPrefix="/job-function/") == []
        pages = await call(world, "ListPolicies", Scope="Local", MaxItems=2)
        rest = await call(world, "ListPolicies", Scope="Local", Marker=pages["Marker"])
        assert names(pages["Policies"] + rest["Policies"], "PolicyName") == ["a", "b", "edge"]
        found = await call(world, "ListEntitiesForPolicy", PolicyArn=f"{ARN}/a")
        assert (names(found["PolicyRoles"], "RoleName"), names(found["PolicyUsers"], "UserName"), found["PolicyGroups"]) == (
            ["r"],
            ["u"],
            [],
        )
        found = await call(world, "ListEntitiesForPolicy", PolicyArn=f"{ARN}/a", EntityFilter="User")
        assert found["PolicyRoles"] == [] and len(found["PolicyUsers"]) == 1
        found = await call(world, "ListEntitiesForPolicy", PolicyArn=f"{ARN}/a", PathPrefix="/x/")
        assert found["PolicyRoles"] == [] and len(found["PolicyUsers"]) == 1
        edge = await call(world, "ListEntitiesForPolicy", PolicyArn=f"{ARN}/x/edge", PolicyUsageFilter="PermissionsBoundary")
        assert names(edge["PolicyRoles"], "RoleName") == ["r"]
        none = await call(world, "ListEntitiesForPolicy", PolicyArn=f"{ARN}/x/edge", PolicyUsageFilter="PermissionsPolicy")
        assert none["PolicyRoles"] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}', "Policy document must be version 2012-10-17 or greater."),
        (document("s3:List:Bucket"), "Actions/Condition can contain only one colon."),
        (document(resource="arn:aws:s3::b"), "The policy failed legacy parsing"),
    ],
)
async def test_malformed_documents(tmp_path: Path, text: str, message: str) -> None:
    async with open_world(tmp_path) as world:
        assert await refusal(world, "CreatePolicy", PolicyName="p", PolicyDocument=text) == ("MalformedPolicyDocument", 400, message)


async def test_documents_that_are_too_long(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        spaced = document().replace(" ", " " * 3000)
        await call(world, "CreatePolicy", PolicyName="spaces", PolicyDocument=spaced)  # white space does not count
        long = document([f"s3:Get{number:04}" for number in range(600)])
        code, _, message = await refusal(world, "CreatePolicy", PolicyName="long", PolicyDocument=long)
        assert (code, message) == ("LimitExceeded", "Cannot exceed quota for PolicySize: 6144")
