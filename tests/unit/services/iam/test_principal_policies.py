"""What roles, users and groups have: attached policies, inline ones, boundaries; and their tags."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.support import ACCOUNT
from tests.unit.edge.world import open_world
from tests.unit.services.iam.support import TRUST, call, document, names, refusal

ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"
KINDS = [("Role", {"AssumeRolePolicyDocument": TRUST}), ("User", {}), ("Group", {})]
FORMS = pytest.mark.parametrize(("kind", "more"), KINDS)


@FORMS
async def test_attached_policies(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    async with open_world(tmp_path) as world:
        me = {f"{kind}Name": "me"}
        await call(world, f"Create{kind}", **me, **more)
        own = await world.policy("own", {"Effect": "Allow", "Action": "*", "Resource": "*"}, path="/x/")
        for arn in (ADMIN, own, ADMIN):
            await call(world, f"Attach{kind}Policy", PolicyArn=arn, **me)
        listed = (await call(world, f"ListAttached{kind}Policies", **me))["AttachedPolicies"]
        assert listed == [{"PolicyName": "own", "PolicyArn": own}, {"PolicyName": "AdministratorAccess", "PolicyArn": ADMIN}]
        by_path = (await call(world, f"ListAttached{kind}Policies", PathPrefix="/x/", **me))["AttachedPolicies"]
        assert names(by_path, "PolicyName") == ["own"]
        first = await call(world, f"ListAttached{kind}Policies", MaxItems=1, **me)
        rest = await call(world, f"ListAttached{kind}Policies", Marker=first["Marker"], **me)
        assert first["AttachedPolicies"] + rest["AttachedPolicies"] == listed
        assert (await refusal(world, f"Delete{kind}", **me))[2] == "Cannot delete entity, must detach all policies first."
        await call(world, f"Detach{kind}Policy", PolicyArn=own, **me)
        absent = await refusal(world, f"Detach{kind}Policy", PolicyArn=own, **me)
        assert absent == ("NoSuchEntity", 404, f"Policy {own} was not found.")
        unknown = f"arn:aws:iam::{ACCOUNT}:policy/unknown"
        refused = await refusal(world, f"Attach{kind}Policy", PolicyArn=unknown, **me)
        assert refused == ("NoSuchEntity", 404, f"Policy {unknown} does not exist or is not attachable.")
        malformed = await refusal(world, f"Attach{kind}Policy", PolicyArn="longpolicynamebutnoarn", **me)
        assert malformed == ("ValidationError", 400, "Invalid ARN:  Could not be parsed!")
        for number in range(9):
            await call(world, f"Attach{kind}Policy", PolicyArn=f"arn:aws:iam::aws:policy/NotServedHere{number}", **me)
        code, _, message = await refusal(world, f"Attach{kind}Policy", PolicyArn=own, **me)
        assert (code, message) == ("LimitExceeded", f"Cannot exceed quota for PoliciesPer{kind}: 10")


@FORMS
async def test_inline_policies(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    async with open_world(tmp_path) as world:
        me = {f"{kind}Name": "me"}
        await call(world, f"Create{kind}", **me, **more)
        text = document("s3:*", "arn:aws:s3:::b/a%2Fb")
        for name in ("b", "a"):
            await call(world, f"Put{kind}Policy", PolicyName=name, PolicyDocument=text, **me)
        assert (await call(world, f"List{kind}Policies", **me))["PolicyNames"] == ["a", "b"]
        first = await call(world, f"List{kind}Policies", MaxItems=1, **me)
        assert (await call(world, f"List{kind}Policies", Marker=first["Marker"], **me))["PolicyNames"] == ["b"]
        got = await call(world, f"Get{kind}Policy", PolicyName="a", **me)
        assert got[f"{kind}Name"] == "me" and "%252F" in got["PolicyDocument"]  # quoted once more than it was
        await call(world, f"Delete{kind}Policy", PolicyName="a", **me)
        for operation in (f"Get{kind}Policy", f"Delete{kind}Policy"):
            refused = await refusal(world, operation, PolicyName="a", **me)
            assert refused == ("NoSuchEntity", 404, f"The {kind.lower()} policy with name a cannot be found.")
        long = document([f"s3:Get{number:04}" for number in range(1000)])
        code, _, message = await refusal(world, f"Put{kind}Policy", PolicyName="long", PolicyDocument=long, **me)
        assert code == "LimitExceeded" and message.startswith("Maximum policy size of ") and message.endswith(f"{kind.lower()} me")
        wrong = await refusal(world, f"Put{kind}Policy", PolicyName="x", PolicyDocument="{", **me)
        assert wrong[0] == "MalformedPolicyDocument"
        for operation in (f"List{kind}Policies", f"ListAttached{kind}Policies"):
            code, _, message = await refusal(world, operation, **{f"{kind}Name": "nobody"})
            assert (code, message) == ("NoSuchEntity", f"The {kind.lower()} with name nobody cannot be found.")


@pytest.mark.parametrize(("kind", "more"), KINDS[:2])
async def test_boundaries(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    async with open_world(tmp_path) as world:
        me, edge = {f"{kind}Name": "me"}, await world.policy("edge", {"Effect": "Allow", "Action": "*", "Resource": "*"})
        shown = {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": edge}
        await call(world, f"Create{kind}", PermissionsBoundary=edge, **me, **more)
        assert (await call(world, f"Get{kind}", **me))[kind]["PermissionsBoundary"] == shown
        await call(world, f"Put{kind}PermissionsBoundary", PermissionsBoundary=ADMIN, **me)
        assert (await call(world, f"Get{kind}", **me))[kind]["PermissionsBoundary"]["PermissionsBoundaryArn"] == ADMIN
        await call(world, f"Delete{kind}PermissionsBoundary", **me)
        assert "PermissionsBoundary" not in (await call(world, f"Get{kind}", **me))[kind]
        assert (await refusal(world, f"Delete{kind}PermissionsBoundary", **me))[0] == "NoSuchEntity"
        unknown = "arn:aws:iam::aws:policy/NotServedHere"  # who knows what it would allow?
        code, _, message = await refusal(world, f"Put{kind}PermissionsBoundary", PermissionsBoundary=unknown, **me)
        assert (code, message) == ("NoSuchEntity", f"Scope ARN: {unknown} does not exist or is not attachable.")


async def test_tags(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await call(world, "CreateRole", RoleName="me", AssumeRolePolicyDocument=TRUST, Tags=[{"Key": "a", "Value": "1"}])
        await call(world, "TagRole", RoleName="me", Tags=[{"Key": f"k{number:02}", "Value": ""} for number in range(49)])
        code, _, message = await refusal(world, "TagRole", RoleName="me", Tags=[{"Key": "more", "Value": ""}])
        assert (code, message) == ("LimitExceeded", "The number of tags has reached the maximum limit of 50.")
        twice = await refusal(world, "TagRole", RoleName="me", Tags=[{"Key": "x", "Value": ""}, {"Key": "X", "Value": ""}])
        assert twice == ("InvalidInput", 400, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        first = await call(world, "ListRoleTags", RoleName="me", MaxItems=10)
        assert len(first["Tags"]) == 10 and first["IsTruncated"]
