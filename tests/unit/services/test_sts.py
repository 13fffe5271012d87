"""STS: what sessions may, for how long, as whom."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.support import ACCOUNT
from tests.unit.edge.signing import sign
from tests.unit.edge.world import ENDPOINT, ROLE, World, allow, open_world
from tests.unit.services.iam.support import Refused, call, document

STS = f"arn:aws:sts::{ACCOUNT}"


def trust(*actions: str, **more: Any) -> dict[str, Any]:
    return {"Statement": {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": ["sts:AssumeRole", *actions], **more}}


async def sts(world: World, operation: str, key: Any = None, **params: Any) -> dict[str, Any]:
    return await call(world, operation, key, service="sts", **params)


def key_of(world: World, answer: dict[str, Any]) -> Any:
    return world.keys.lookup(answer["Credentials"]["AccessKeyId"])


async def assume(world: World, role: str, key: Any = None, **params: Any) -> Any:
    answer = await sts(world, "AssumeRole", key, **{"RoleArn": f"{ROLE}/{role}", "RoleSessionName": "me"} | params)
    return key_of(world, answer)


async def may(world: World, key: Any, service: str = "lambda", operation: str = "ListFunctions", **params: Any) -> bool:
    return not (await world.ask(key, service, operation, **params)).denied


async def test_session_policies_cap(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await world.role("r", allow("lambda:*", "*"), trust=trust())
        own = await world.policy("own", allow("lambda:ListFunctions"))
        cases: list[tuple[dict[str, Any], bool]] = [
            ({}, True),
            ({"Policy": document("lambda:List*")}, True),
            ({"Policy": document("logs:*")}, False),
            ({"PolicyArns": [{"arn": own}]}, True),
            ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/AWSDenyAll"}]}, False),
            ({"Policy": document("logs:*"), "PolicyArns": [{"arn": own}]}, True),  # together they say what may be
        ]
        for params, allowed in cases:
            assert await may(world, await assume(world, "r", **params)) is allowed, params
        wide = await assume(world, "r", Policy=document("*"))
        assert not await may(world, wide, "logs", "DescribeLogGroups")  # the role itself may not
        refused = await world.ask(await assume(world, "r", Policy=document("logs:*")), "lambda", "ListFunctions")
        assert refused.message.endswith(" because no session policy allows the lambda:ListFunctions action")
        for params, code in (
            ({"Policy": "{"}, "MalformedPolicyDocument"),
            ({"PolicyArns": [{"arn": f"arn:aws:iam::{ACCOUNT}:policy/absent"}]}, "ValidationError"),
            ({"SerialNumber": "arn:aws:iam::1:mfa/x"}, "ValidationError"),
        ):
            with pytest.raises(Refused) as caught:
                await assume(world, "r", **params)
            assert caught.value.code == code


async def test_session_tags(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        red = {"StringEquals": {"aws:PrincipalTag/team": "red"}}
        await world.role("r", allow("lambda:*", Condition=red), trust=trust("sts:TagSession"))
        await world.role("plain", allow("*"), trust=trust())
        tags = [{"Key": "team", "Value": "red"}]
        assert await may(world, await assume(world, "r", Tags=tags))
        assert not await may(world, await assume(world, "r"))
        with pytest.raises(Refused, match="AccessDenied"):
            await assume(world, "plain", Tags=tags)  # its trust policy does not let sessions be tagged
        for params, text in (
            ({"Tags": tags, "TransitiveTagKeys": ["other"]}, "The specified transitive tag key must be included in the requested tags."),
            ({"Tags": [*tags, {"Key": "TEAM", "Value": ""}]}, "Duplicate tag keys found. Please note that Tag keys are case insensitive."),
        ):
            with pytest.raises(Refused) as caught:
                await assume(world, "r", **params)
            assert (caught.value.code, caught.value.status, caught.value.message) == ("InvalidParameterValue", 400, text)


async def test_transitive_tags_go_on(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        red = {"StringEquals": {"aws:PrincipalTag/team": "red"}, "Null": {"aws:PrincipalTag/job": "true"}}
        await world.role("first", allow("sts:*"), trust=trust("sts:TagSession"))
        await world.role("second", allow("lambda:*", Condition=red), trust=trust("sts:TagSession"))
        tags = [{"Key": "team", "Value": "red"}, {"Key": "job", "Value": "x"}]
        first = await assume(world, "first", Tags=tags, TransitiveTagKeys=["team"])
        assert await may(world, await assume(world, "second", first))
        with pytest.raises(Refused) as caught:
            await assume(world, "second", first, Tags=[{"Key": "Team", "Value": "blue"}])
        assert caught.value.message.startswith("One of the specified transitive tag keys can't be set because it conflicts")


async def test_a_source_identity_stays(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        kai = {"StringEquals": {"aws:SourceIdentity": "kai"}}
        for name in ("first", "second"):
            await world.role(name, allow("*", Condition=kai), trust=trust("sts:SetSourceIdentity"))
        await world.role("plain", allow("*"), trust=trust())
        first = await assume(world, "first", SourceIdentity="kai")
        assert await may(world, first) and await may(world, await assume(world, "second", first))
        for role, identity, key in (("second", "bo", first), ("plain", "kai", None)):
            with pytest.raises(Refused, match="AccessDenied"):
                await assume(world, role, key, SourceIdentity=identity)


async def test_sessions_of_users(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        kai = await world.user("kai", allow(["lambda:*", "sts:*"]))
        session = key_of(world, await sts(world, "GetSessionToken", kai))
        assert (await sts(world, "GetCallerIdentity", session))["Arn"] == kai.principal.arn
        assert await may(world, session) and not await may(world, session, "logs", "DescribeLogGroups")
        await world.role("r", allow("*"), trust=trust())
        for key in (session, await assume(world, "r"), world.keys.issue(f"{ROLE}/r", "in-a-function")):
            for operation, params in (("GetSessionToken", {}), ("GetFederationToken", {"Name": "x1"})):
                with pytest.raises(Refused) as caught:
                    await sts(world, operation, key, **params)
                assert caught.value.message == f"Cannot call {operation} with session credentials"


async def test_federated_users(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        kai = await world.user("kai", allow(["lambda:*", "sts:GetFederationToken"]))
        answer = await sts(world, "GetFederationToken", kai, Name="bo", Policy=document(["lambda:*", "logs:*"]))
        assert answer["FederatedUser"] == {"FederatedUserId": f"{ACCOUNT}:bo", "Arn": f"{STS}:federated-user/bo"}
        bo = key_of(world, answer)
        assert (await sts(world, "GetCallerIdentity", bo))["Arn"] == f"{STS}:federated-user/bo"
        assert await may(world, bo) and not await may(world, bo, "logs", "DescribeLogGroups")  # what both let it
        without = await sts(world, "GetFederationToken", kai, Name="bo")
        assert without["PackedPolicySize"] == 0 and not await may(world, key_of(world, without))
        managed = [{"arn": "arn:aws:iam::aws:policy/AWSLambda_ReadOnlyAccess"}]
        of_owner = await sts(world, "GetFederationToken", Name="bo", PolicyArns=managed)
        assert await may(world, key_of(world, of_owner)) and not await may(world, key_of(world, of_owner), "iam", "ListUsers")
        nobody = await world.user("nobody")
        refused = await world.ask(nobody, "sts", "GetFederationToken", Name="bo", Policy=document())
        assert refused.denied and f"on resource: {STS}:federated-user/bo " in refused.message


async def test_how_long_sessions_last(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        kai = await world.user("kai", allow("sts:*"))
        now = time.time()
        for key, operation, params, seconds in (
            (kai, "GetSessionToken", {}, 43200),
            (kai, "GetSessionToken", {"DurationSeconds": 900}, 900),
            (kai, "GetFederationToken", {"Name": "bo", "DurationSeconds": 129600}, 129600),
            (None, "GetSessionToken", {"DurationSeconds": 43200}, 3600),  # the owner's
            (None, "GetFederationToken", {"Name": "bo"}, 3600),
        ):
            answer = await sts(world, operation, key, **params)
            assert abs(answer["Credentials"]["Expiration"] - now - seconds) < 60, (operation, params)


async def test_revoking_older_sessions(tmp_path: Path) -> None:
    """What AWS's console writes to end the sessions of a role."""
    async with open_world(tmp_path) as world:
        await world.role("r", allow("*"), trust=trust())
        session = await assume(world, "r")
        for before, allowed in (("2020-01-01T00:00:00Z", True), ("2100-01-01T00:00:00Z", False)):
            revoke = document(effect="Deny", Condition={"DateLessThan": {"aws:TokenIssueTime": before}})
            await call(world, "PutRolePolicy", RoleName="r", PolicyName="AWSRevokeOlderSessions", PolicyDocument=revoke)
            assert await may(world, session) is allowed


@pytest.mark.parametrize("operation", ["AssumeRoleWithWebIdentity", "AssumeRoleWithSAML"])
async def test_what_is_not_served_is_named_without_a_signature(tmp_path: Path, operation: str) -> None:
    async with open_world(tmp_path) as world:
        form = f"Action={operation}&Version=2011-06-15&RoleArn=x".encode()
        signed = sign(world.keys.root, "POST", f"{ENDPOINT}/", form, service="sts")
        for drop, status in (("authorization", 501), ("", 501)):
            headers = [(name, value) for name, value in signed.headers if name.lower() != drop]
            request = type(signed)("POST", "/", "/", "", headers, form, "127.0.0.1")
            answer = await world.send(request, "sts")
            assert (answer.status, answer.code) == (status, "NotImplemented") and operation in answer.message
        plain = [(name, value) for name, value in signed.headers if name.lower() != "authorization"]
        other = await world.send(type(signed)("POST", "/", "/", "", plain, b"Action=AssumeRole&Version=2011-06-15", "127.0.0.1"), "sts")
        assert (other.status, other.code) == (403, "MissingAuthenticationToken")
