"""SimulatePrincipalPolicy and its sisters, as tools call them."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.unit.control.support import ACCOUNT
from tests.unit.edge.world import ROLE, allow, deny, open_world
from tests.unit.services.iam.support import call, document, names, refusal

BUCKET = "arn:aws:s3:::b"


async def test_a_principals_policies(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        arn = await world.policy("own", allow("s3:PutObject"))
        await world.role("r", allow("sqs:*"), path="/x/")
        await call(world, "AttachRolePolicy", RoleName="r", PolicyArn=arn)
        ask: dict[str, Any] = {"PolicySourceArn": f"{ROLE}/x/r", "ActionNames": ["s3:PutObject", "s3:GetObject", "sqs:SendMessage"]}
        found = (await call(world, "SimulatePrincipalPolicy", ResourceArns=[BUCKET], **ask))["EvaluationResults"]
        assert names(found, "EvalDecision") == ["allowed", "implicitDeny", "allowed"]
        assert [each["MatchedStatements"][0]["SourcePolicyId"] for each in found if each["MatchedStatements"]] == ["own", "role_r_p"]
        more = (await call(world, "SimulatePrincipalPolicy", PolicyInputList=[document("s3:*", effect="Deny")], **ask))["EvaluationResults"]
        assert names(more, "EvalDecision") == ["explicitDeny", "explicitDeny", "allowed"]
        inline = {"InlinePolicyIdentifier": {"PolicyName": "p", "AttachmentType": "role", "AttachmentName": "r"}}
        for without, decisions in (
            (inline, ["allowed", "implicitDeny", "implicitDeny"]),
            ({"PolicyType": "inline"}, ["allowed", "implicitDeny", "implicitDeny"]),
            ({"PolicyArn": arn.replace("own", "o*")}, ["implicitDeny", "implicitDeny", "allowed"]),
            ({"PolicyType": "user-managed"}, ["implicitDeny", "implicitDeny", "allowed"]),
            ({"PolicyType": "aws-managed"}, ["allowed", "implicitDeny", "allowed"]),
        ):
            less = (await call(world, "SimulatePrincipalPolicy", PolicyExclusionList=[without], **ask))["EvaluationResults"]
            assert names(less, "EvalDecision") == decisions, without
        await call(world, "PutRolePermissionsBoundary", RoleName="r", PermissionsBoundary=await world.policy("edge", allow("s3:*")))
        bound = (await call(world, "SimulatePrincipalPolicy", **ask))["EvaluationResults"]
        assert names(bound, "EvalDecision") == ["allowed", "implicitDeny", "implicitDeny"]
        assert bound[2]["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": False}
        instead = [document("sqs:*")]
        other = (await call(world, "SimulatePrincipalPolicy", PermissionsBoundaryPolicyInputList=instead, **ask))["EvaluationResults"]
        assert names(other, "EvalDecision") == ["implicitDeny", "implicitDeny", "allowed"]
        first = await call(world, "SimulatePrincipalPolicy", MaxItems=2, **ask)
        rest = await call(world, "SimulatePrincipalPolicy", Marker=first["Marker"], **ask)
        assert names(first["EvaluationResults"] + rest["EvaluationResults"], "EvalActionName") == ask["ActionNames"]


async def test_users_have_their_groups_policies(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await world.user("kai", deny("s3:Delete*"))
        await call(world, "CreateGroup", GroupName="g")
        await call(world, "AddUserToGroup", GroupName="g", UserName="kai")
        await call(world, "PutGroupPolicy", GroupName="g", PolicyName="s3", PolicyDocument=document("s3:*"))
        actions = ["s3:GetObject", "s3:DeleteObject"]
        for kind, name, decisions in (("user", "kai", ["allowed", "explicitDeny"]), ("group", "g", ["allowed", "allowed"])):
            source = f"arn:aws:iam::{ACCOUNT}:{kind}/{name}"
            found = await call(world, "SimulatePrincipalPolicy", PolicySourceArn=source, ActionNames=actions, ResourceArns=[BUCKET])
            assert names(found["EvaluationResults"], "EvalDecision") == decisions
        for source, code in (
            (f"arn:aws:iam::{ACCOUNT}:user/x/kai", "NoSuchEntity"),
            (f"arn:aws:iam::{ACCOUNT}:policy/kai", "ValidationError"),
        ):
            assert (await refusal(world, "SimulatePrincipalPolicy", PolicySourceArn=source, ActionNames=actions))[0] == code


async def test_custom_policies_context_and_resource_policies(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        text = document("s3:*", Condition={"StringEquals": {"aws:RequestedRegion": "us-east-1"}})
        ask: dict[str, Any] = {"PolicyInputList": [text], "ActionNames": ["s3:GetObject"], "ResourceArns": [BUCKET]}
        (found,) = (await call(world, "SimulateCustomPolicy", **ask))["EvaluationResults"]
        assert (found["EvalDecision"], found["MissingContextValues"]) == ("implicitDeny", ["aws:RequestedRegion"])
        entry = {"ContextKeyName": "aws:requestedregion", "ContextKeyType": "string"}
        for values, decision in ((["us-east-1"], "allowed"), (["eu-west-1"], "implicitDeny")):
            given = [entry | {"ContextKeyValues": values}]
            (found,) = (await call(world, "SimulateCustomPolicy", ContextEntries=given, **ask))["EvaluationResults"]
            assert found["EvalDecision"] == decision
        caller = f"arn:aws:iam::{ACCOUNT}:user/kai"
        resource = document("s3:*", Principal={"AWS": caller})
        for owner, decision in ((f"arn:aws:iam::{ACCOUNT}:root", "allowed"), ("arn:aws:iam::111111111111:root", "implicitDeny")):
            params = ask | {"ResourcePolicy": resource, "CallerArn": caller, "ResourceOwner": owner}
            (found,) = (await call(world, "SimulateCustomPolicy", **params))["EvaluationResults"]
            assert found["EvalDecision"] == decision
        keys = await call(world, "GetContextKeysForCustomPolicy", PolicyInputList=[text])
        assert keys["ContextKeyNames"] == ["aws:RequestedRegion"]
        await world.role("r", allow("s3:*", Condition={"Bool": {"aws:SecureTransport": "true"}}))
        keys = await call(world, "GetContextKeysForPrincipalPolicy", PolicySourceArn=f"{ROLE}/r", PolicyInputList=[text])
        assert keys["ContextKeyNames"] == ["aws:SecureTransport", "aws:RequestedRegion"]


async def test_what_cannot_be_simulated(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        assert (await refusal(world, "SimulateCustomPolicy", PolicyInputList=["{"], ActionNames=["s3:Get"]))[0] == "InvalidInput"
        assert (await refusal(world, "SimulateCustomPolicy", PolicyInputList=[document()], ActionNames=["nonsense"]))[0] == "InvalidInput"
        many: dict[str, Any] = {
            "ActionNames": [f"s3:Get{number}" for number in range(200)],
            "ResourceArns": [f"{BUCKET}{number}" for number in range(60)],
        }
        assert (await refusal(world, "SimulateCustomPolicy", PolicyInputList=[document()], **many))[0] == "InvalidInput"


async def test_large_policies_have_small_pages_and_stop_nobody(tmp_path: Path) -> None:
    """A page is bounded by its work, which is done beside the event loop."""
    large = json.dumps({"Version": "2012-10-17", "Statement": [allow("s3:Get*", f"{BUCKET}{number}/*") for number in range(1300)]})
    ask: dict[str, Any] = {
        "PolicyInputList": [large] * 5,
        "ActionNames": ["s3:GetObject"],
        "ResourceArns": [f"{BUCKET}{n}/k" for n in range(99)],
    }
    async with open_world(tmp_path) as world:
        turns, asked = 0, asyncio.ensure_future(call(world, "SimulateCustomPolicy", MaxItems=1000, **ask))
        while not asked.done():
            await asyncio.sleep(0)
            turns += 1
        first = await asked
        results = first["EvaluationResults"]
        assert turns > 20 and 1 <= len(results) < 20 and first["IsTruncated"]
        second = await call(world, "SimulateCustomPolicy", Marker=first["Marker"], **ask)
        assert names([*results, *second["EvaluationResults"]], "EvalResourceName") == ask["ResourceArns"][: 2 * len(results)]
        assert set(names(results, "EvalDecision")) == {"allowed"}


async def test_a_member_that_is_there_twice(tmp_path: Path) -> None:
    one, two = json.dumps([allow("s3:*")]), json.dumps([deny("s3:*"), allow("sqs:*")])
    twice = f'{{"Statement": {one}, "Version": "2012-10-17", "Statement": {two}}}'
    async with open_world(tmp_path) as world:
        found = await call(world, "SimulateCustomPolicy", PolicyInputList=[twice], ActionNames=["s3:GetObject", "sqs:SendMessage"])
        assert names(found["EvaluationResults"], "EvalDecision") == ["explicitDeny", "allowed"]
