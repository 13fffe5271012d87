"""Ways to gain what one was not given: the published escalation paths of AWS, for the operations that are here.

After the public catalogues of such paths: passing roles, changing functions that run as stronger ones, writing one's own policies, trust
policies, chains of roles, resource policies.
"""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hanabi.edge.auth.managed_policies import MANAGED
from hanabi.edge.auth.policy_documents import check_document
from tests.unit.control.support import ACCOUNT, create_params
from tests.unit.edge.answers import answer_of
from tests.unit.edge.signing import sign
from tests.unit.edge.world import (
    ENDPOINT,
    FUNCTION,
    GROUP,
    ROLE,
    TRUST_ACCOUNT,
    TRUST_LAMBDA,
    World,
    allow,
    deny,
    open_world,
)

ADMIN = "AdministratorAccess"
Attack = Callable[[World], Awaitable[None]]


@asynccontextmanager
async def play(directory: Path, **options: Any) -> AsyncIterator[World]:
    async with open_world(directory, **options) as world:
        await world.role("admin", attached=ADMIN)
        yield world


def create(name: str, role: str) -> dict[str, Any]:
    return create_params(name) | {"Role": f"{ROLE}/{role}"}


async def forbids(world: World, key: Any, service: str, operation: str, action: str = "", **params: Any) -> None:
    answer = await world.ask(key, service, operation, **params)
    assert answer.denied, (operation, answer)
    assert f"is not authorized to perform: {action or f'{service}:{operation}'} on resource: " in answer.message


async def test_passing_a_role_takes_a_permission_on_that_role(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        key = await world.session("maker", allow("lambda:*"))
        await world.function("own", Role=f"{ROLE}/maker")
        await forbids(world, key, "lambda", "CreateFunction", "iam:PassRole", **create("new", "admin"))
        change = {"FunctionName": "own", "Role": f"{ROLE}/admin"}
        await forbids(world, key, "lambda", "UpdateFunctionConfiguration", "iam:PassRole", **change)
        assert world.control.functions.get("new") is None
        found = world.control.functions.get("own")
        assert found is not None and found.latest.settings.role == f"{ROLE}/maker"
        update = await world.ask(key, "lambda", "UpdateFunctionConfiguration", FunctionName="own", Timeout=5)
        assert update.status == 200  # without a role there is nothing to pass


@pytest.mark.parametrize(
    ("statement", "role", "passes"),
    [
        (allow("iam:PassRole", f"{ROLE}/weak"), "weak", True),
        (allow("iam:PassRole", f"{ROLE}/weak"), "admin", False),
        (allow("iam:PassRole", f"{ROLE}/team/*"), "team/weak", True),
        (allow("iam:PassRole", f"{ROLE}/weak"), "team/weak", False),
        (allow("iam:PassRole", Condition={"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}), "admin", True),
        (allow("iam:PassRole", Condition={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}), "admin", False),
        (allow("iam:PassRole", Condition={"ArnLike": {"iam:AssociatedResourceArn": f"{FUNCTION}:new"}}), "admin", True),
        (allow("iam:PassRole", Condition={"ArnLike": {"iam:AssociatedResourceArn": f"{FUNCTION}:old"}}), "admin", False),
        (allow("iam:passrole"), "admin", True),
        (allow("iam:Get*"), "admin", False),
        (allow("lambda:PassRole"), "admin", False),
    ],
)
async def test_which_roles_may_be_passed(tmp_path: Path, statement: dict[str, Any], role: str, passes: bool) -> None:
    async with play(tmp_path) as world:
        await world.role("weak", path="/team/" if role.startswith("team/") else "/")
        key = await world.session("maker", allow("lambda:CreateFunction"), statement)
        answer = await world.ask(key, "lambda", "CreateFunction", **create("new", role))
        assert answer.status == 201 if passes else answer.denied, answer
        await world.control.wait_idle()


async def test_a_role_of_another_account_or_partition_is_not_passed(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        key = await world.session("maker", allow("lambda:*"), allow("iam:PassRole", f"{ROLE}/*"))
        for arn in ("arn:aws:iam::111111111111:role/admin", f"arn:aws-cn:iam::{ACCOUNT}:role/admin", f"arn:aws:iam::{ACCOUNT}:roleadmin"):
            answer = await world.ask(key, "lambda", "CreateFunction", **create("new", "x") | {"Role": arn})
            assert answer.denied, arn
        session = world.keys.issue("arn:aws:iam::111111111111:role/admin", "new")
        assert (await world.ask(session, "lambda", "ListFunctions")).denied
        session = world.keys.issue(f"{ROLE}/other/path/admin", "new")  # the admin that is there has no path
        assert (await world.ask(session, "lambda", "ListFunctions")).denied


async def test_the_ways_to_change_a_stronger_function_take_their_own_permission(tmp_path: Path) -> None:
    """Whoever may change the code of a function may do what its role may: so each way is a permission on that function."""

    async with play(tmp_path) as world:
        await world.function("strong", Role=f"{ROLE}/admin")
        await world.function("other")
        key = await world.session("weak", allow("lambda:*", [f"{FUNCTION}:other", f"{FUNCTION}:other:*"]), allow("iam:PassRole"))
        before = world.describe("strong")
        ways: list[tuple[str, dict[str, Any]]] = [
            ("UpdateFunctionCode", {"ZipFile": b"evil"}),
            ("UpdateFunctionConfiguration", {"Environment": {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/tmp/x"}}}),
            ("UpdateFunctionConfiguration", {"Handler": "evil.handler"}),
            ("AddPermission", {"StatementId": "s", "Action": "lambda:*", "Principal": "*"}),
            ("CreateFunctionUrlConfig", {"AuthType": "NONE"}),
            ("PublishVersion", {}),
            ("UpdateAlias", {"Name": "live", "FunctionVersion": "$LATEST"}),
            ("DeleteFunction", {}),
            ("PutFunctionConcurrency", {"ReservedConcurrentExecutions": 0}),
        ]
        for operation, params in ways:
            await forbids(world, key, "lambda", operation, FunctionName="strong", **params)
        await forbids(world, key, "lambda", "Invoke", "lambda:InvokeFunction", FunctionName="strong")
        await forbids(world, key, "lambda", "InvokeAsync", "lambda:InvokeFunction", FunctionName="strong", InvokeArgs=b"{}")
        await forbids(world, key, "lambda", "TagResource", Resource=f"{FUNCTION}:strong", Tags={"team": "weak"})
        assert world.describe("strong") == before
        assert (await world.ask(key, "lambda", "UpdateFunctionCode", FunctionName="other", ZipFile=b"mine")).status == 200
        await world.control.wait_idle()


async def test_layers_from_elsewhere_are_refused(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        await world.function("own")
        layers = [f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:evil:1"]
        answer = await world.ask(world.keys.root, "lambda", "UpdateFunctionConfiguration", FunctionName="own", Layers=layers)
        assert (answer.status, answer.code) == (400, "InvalidParameterValueException")


async def test_nobody_writes_policies_without_a_permission_on_that_role(tmp_path: Path) -> None:
    document = json.dumps({"Statement": allow("*")})
    ways: list[tuple[str, dict[str, Any]]] = [
        ("PutRolePolicy", {"PolicyName": "p", "PolicyDocument": document}),
        ("AttachRolePolicy", {"PolicyArn": f"arn:aws:iam::aws:policy/{ADMIN}"}),
        ("DetachRolePolicy", {"PolicyArn": f"arn:aws:iam::aws:policy/{ADMIN}"}),
        ("DeleteRolePolicy", {"PolicyName": "p"}),
        ("UpdateAssumeRolePolicy", {"PolicyDocument": json.dumps(TRUST_ACCOUNT)}),
        ("UpdateRole", {"MaxSessionDuration": 43200}),
        ("TagRole", {"Tags": [{"Key": "team", "Value": "admin"}]}),
        ("UntagRole", {"TagKeys": ["team"]}),
        ("DeleteRole", {}),
    ]

    async with play(tmp_path) as world:
        await world.role("helper", allow("logs:*"))
        key = await world.session("weak", allow("iam:*", f"{ROLE}/helper"), allow(["lambda:*", "sts:*", "iam:Get*"]))
        before = repr(world.store.rows)
        for role in ("weak", "admin"):
            for operation, params in ways:
                await forbids(world, key, "iam", operation, RoleName=role, **params)
        await forbids(world, key, "iam", "CreateRole", RoleName="mine", AssumeRolePolicyDocument=json.dumps(TRUST_ACCOUNT))
        assert repr(world.store.rows) == before
        attach = {"RoleName": "helper", "PolicyArn": f"arn:aws:iam::aws:policy/{ADMIN}"}
        assert (await world.ask(key, "iam", "AttachRolePolicy", **attach)).status == 200  # that is what it was given


async def test_nobody_changes_users_groups_keys_or_policies_without_a_permission_on_them(tmp_path: Path) -> None:
    """The catalogue's paths through users: policies of oneself and others, groups of administrators, keys of others."""
    document = json.dumps({"Version": "2012-10-17", "Statement": allow("*")})
    admin = {"PolicyArn": f"arn:aws:iam::aws:policy/{ADMIN}"}
    async with play(tmp_path) as world:
        await world.user("boss", allow("*"))
        await world.ask(world.keys.root, "iam", "CreateGroup", GroupName="bosses")
        await world.ask(world.keys.root, "iam", "AttachGroupPolicy", GroupName="bosses", **admin)
        shared = await world.policy("shared", allow("s3:*"))
        own = f"arn:aws:iam::{ACCOUNT}:user/helper"
        key = await world.user("weak", allow("iam:*", own), allow(["lambda:*", "iam:Get*", "sts:*"]))
        await world.ask(world.keys.root, "iam", "AttachUserPolicy", UserName="weak", PolicyArn=shared)
        ways: list[tuple[str, dict[str, Any]]] = [
            *((f"{verb}UserPolicy", {"UserName": name, "PolicyName": "p", "PolicyDocument": document, **admin})
              for verb in ("Put", "Attach", "Detach", "Delete") for name in ("weak", "boss")),
            *((f"{verb}GroupPolicy", {"GroupName": "bosses", "PolicyName": "p", "PolicyDocument": document, **admin})
              for verb in ("Put", "Attach", "Detach", "Delete")),
            ("AddUserToGroup", {"GroupName": "bosses", "UserName": "weak"}),
            ("CreateAccessKey", {"UserName": "boss"}),
            ("CreateAccessKey", {}),
            ("UpdateUser", {"UserName": "weak", "NewUserName": "helper"}),
            ("UpdateUser", {"UserName": "boss", "NewUserName": "helper"}),
            ("TagUser", {"UserName": "weak", "Tags": [{"Key": "team", "Value": "admin"}]}),
            ("PutUserPermissionsBoundary", {"UserName": "weak", "PermissionsBoundary": admin["PolicyArn"]}),
            ("DeleteUserPermissionsBoundary", {"UserName": "weak"}),
            ("CreatePolicyVersion", {"PolicyArn": shared, "PolicyDocument": document, "SetAsDefault": True}),
            ("SetDefaultPolicyVersion", {"PolicyArn": shared, "VersionId": "v1"}),
            ("DeletePolicy", {"PolicyArn": shared}),
            ("CreatePolicy", {"PolicyName": "mine", "PolicyDocument": document}),
            ("CreateUser", {"UserName": "other"}),
            ("DeleteUser", {"UserName": "boss"}),
            ("AddRoleToInstanceProfile", {"InstanceProfileName": "any", "RoleName": "admin"}),
        ]  # fmt: skip
        before = repr(world.store.rows)
        for operation, params in ways:
            await forbids(world, key, "iam", operation, **params)
        assert repr(world.store.rows) == before
        made = await world.ask(key, "iam", "CreateUser", UserName="helper")
        assert made.status == 200  # that is what it was given, and whoever may do all to a user is that user
        assert (await world.ask(key, "iam", "AttachUserPolicy", UserName="helper", **admin)).status == 200


async def test_a_key_that_was_taken_back_is_nobodys(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        key = await world.user("kai", allow("*"))
        assert (await world.ask(key, "lambda", "ListFunctions")).status == 200
        await world.ask(world.keys.root, "iam", "DeleteUserPolicy", UserName="kai", PolicyName="p")
        assert (await world.ask(key, "lambda", "ListFunctions")).denied
        await world.ask(world.keys.root, "iam", "DeleteAccessKey", UserName="kai", AccessKeyId=key.access_key)
        assert (await world.ask(key, "lambda", "ListFunctions")).code == "UnrecognizedClientException"


async def test_which_policies_may_be_attached_can_be_said(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        basic = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
        condition = {"ArnEquals": {"iam:PolicyARN": basic}}
        key = await world.session("maker", allow(["iam:CreateRole", "iam:PassRole"]), allow("iam:AttachRolePolicy", Condition=condition))
        made = await world.ask(key, "iam", "CreateRole", RoleName="new", AssumeRolePolicyDocument=json.dumps(TRUST_LAMBDA))
        assert made.status == 200
        await forbids(world, key, "iam", "AttachRolePolicy", RoleName="new", PolicyArn=f"arn:aws:iam::aws:policy/{ADMIN}")
        assert (await world.ask(key, "iam", "AttachRolePolicy", RoleName="new", PolicyArn=basic)).status == 200


async def test_what_policies_of_aws_give(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        for policy, document in MANAGED.items():
            check_document(document.text, trust=False, managed=True)
            assert policy.startswith("arn:aws:iam::aws:policy/")
        maker = await world.session("maker", attached="AWSLambda_FullAccess")
        assert (await world.ask(maker, "lambda", "CreateFunction", **create("new", "admin"))).status == 201  # AWS gives it PassRole
        await world.control.wait_idle()
        await forbids(world, maker, "logs", "FilterLogEvents", logGroupName="/elsewhere")
        await forbids(world, maker, "iam", "CreateRole", RoleName="x", AssumeRolePolicyDocument=json.dumps(TRUST_LAMBDA))
        power = await world.session("power", attached="PowerUserAccess")
        assert (await world.ask(power, "lambda", "ListFunctions")).status == 200
        assert (await world.ask(power, "iam", "ListRoles")).status == 200
        attach = {"RoleName": "power", "PolicyArn": f"arn:aws:iam::aws:policy/{ADMIN}"}
        await forbids(world, power, "iam", "AttachRolePolicy", **attach)
        await forbids(world, power, "lambda", "CreateFunction", "iam:PassRole", **create("other", "admin"))
        unknown = await world.session("unknown", attached="SomethingNewFromAWS")
        await forbids(world, unknown, "lambda", "ListFunctions")
        insights = await world.session("insights", attached="CloudWatchLambdaInsightsExecutionRolePolicy")
        await forbids(world, insights, "logs", "CreateLogStream", logGroupName="/aws/lambda/new", logStreamName="s")


async def test_a_permissions_boundary_caps_what_policies_give(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        owner = world.keys.root
        await world.function("f")
        boundary = await world.policy("only-reading", allow("lambda:Get*"), allow("iam:*"))
        params = {"RoleName": "r", "AssumeRolePolicyDocument": json.dumps(TRUST_LAMBDA)}
        absent = await world.ask(owner, "iam", "CreateRole", **params, PermissionsBoundary="arn:aws:iam::aws:policy/NotOfAws")
        assert (absent.status, absent.code) == (404, "NoSuchEntity")
        key = await world.session("bound", allow("*"))
        assert (await world.ask(key, "lambda", "ListFunctions")).status == 200
        await world.ask(owner, "iam", "PutRolePermissionsBoundary", RoleName="bound", PermissionsBoundary=boundary)
        assert (await world.ask(key, "lambda", "GetFunction", FunctionName="f")).status == 200
        refused = await world.ask(key, "lambda", "ListFunctions")
        assert refused.denied and refused.message.endswith(" because no permissions boundary allows the lambda:ListFunctions action")
        await world.ask(owner, "iam", "AttachRolePolicy", RoleName="bound", PolicyArn=f"arn:aws:iam::aws:policy/{ADMIN}")
        assert (await world.ask(key, "lambda", "ListFunctions")).denied  # no policy leads out of it
        assert (await world.ask(owner, "iam", "DeletePolicy", PolicyArn=boundary)).code == "DeleteConflict"
        await world.ask(owner, "iam", "DeleteRolePermissionsBoundary", RoleName="bound")
        assert (await world.ask(key, "lambda", "ListFunctions")).status == 200


async def test_who_may_make_roles_only_with_a_boundary_makes_none_without(tmp_path: Path) -> None:
    """AWS's way to delegate: every role and user made has the boundary, and keeps it."""
    async with play(tmp_path) as world:
        owner = world.keys.root
        boundary, wide = await world.policy("edge", allow("logs:*")), await world.policy("wide", allow("*"))
        bound = {"StringEquals": {"iam:PermissionsBoundary": boundary}}
        making = ["iam:CreateRole", "iam:CreateUser", "iam:Put*Policy", "iam:Attach*Policy", "iam:Put*PermissionsBoundary"]
        key = await world.session("maker", allow(making, Condition=bound), allow("iam:DeleteRolePermissionsBoundary"))
        trust = {"AssumeRolePolicyDocument": json.dumps(TRUST_ACCOUNT)}
        await forbids(world, key, "iam", "CreateRole", RoleName="free", **trust)
        await forbids(world, key, "iam", "CreateRole", RoleName="free", PermissionsBoundary=wide, **trust)
        await forbids(world, key, "iam", "CreateUser", UserName="free")
        assert (await world.ask(key, "iam", "CreateRole", RoleName="bound", PermissionsBoundary=boundary, **trust)).status == 200
        assert (await world.ask(key, "iam", "CreateUser", UserName="bound", PermissionsBoundary=boundary)).status == 200
        admin = {"PolicyArn": f"arn:aws:iam::aws:policy/{ADMIN}"}
        assert (await world.ask(key, "iam", "AttachRolePolicy", RoleName="bound", **admin)).status == 200  # it has the boundary
        assert (await world.ask(key, "iam", "AttachUserPolicy", UserName="bound", **admin)).status == 200
        await forbids(world, key, "iam", "AttachRolePolicy", RoleName="maker", **admin)  # that has none
        await forbids(world, key, "iam", "PutRolePermissionsBoundary", RoleName="bound", PermissionsBoundary=wide)
        await forbids(world, key, "iam", "CreatePolicyVersion", PolicyArn=boundary, PolicyDocument="{}", SetAsDefault=True)
        session = world.keys.assume(f"{ROLE}/bound", "s", 900, owner.principal)
        assert (await world.ask(session, "lambda", "ListFunctions")).denied
        assert (await world.ask(session, "logs", "DescribeLogGroups")).status == 200


def trust(principal: Any, **more: Any) -> dict[str, Any]:
    return {"Statement": {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more}}


@pytest.mark.parametrize(
    ("document", "statements", "assumes"),
    [
        (TRUST_ACCOUNT, (), False),  # the account is trusted: its policies decide
        (TRUST_ACCOUNT, (allow("sts:AssumeRole", f"{ROLE}/target"),), True),
        (TRUST_ACCOUNT, (allow("sts:*"), deny("sts:AssumeRole", f"{ROLE}/target")), False),
        (TRUST_ACCOUNT, (allow("sts:AssumeRole", f"{ROLE}/other"),), False),
        (trust({"AWS": f"{ROLE}/weak"}), (), True),  # the role itself is trusted
        (trust({"AWS": f"{ROLE}/weak"}), (deny("sts:AssumeRole"),), False),
        (trust({"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/weak/session"}), (), True),
        (trust({"AWS": f"{ROLE}/x/weak"}), (allow("*"),), False),
        (trust({"AWS": f"{ROLE}/other"}), (allow("*"),), False),
        (TRUST_LAMBDA, (allow("*"),), False),
        (trust({"AWS": "111111111111"}), (allow("*"),), False),
        (trust({"AWS": ACCOUNT}, Condition={"StringEquals": {"sts:ExternalId": "secret"}}), (allow("*"),), False),
        (trust({"AWS": ACCOUNT}, Condition={"ArnLike": {"aws:PrincipalArn": f"{ROLE}/w*"}}), (allow("*"),), True),
        (trust({"AWS": ACCOUNT}, Condition={"StringEquals": {"sts:RoleSessionName": "other"}}), (allow("*"),), False),
    ],
)
async def test_assuming_a_role_takes_both_sides(tmp_path: Path, document: Any, statements: tuple[Any, ...], assumes: bool) -> None:
    async with play(tmp_path) as world:
        await world.role("target", trust=document, attached=ADMIN)
        key = await world.session("weak", *statements)
        answer = await world.ask(key, "sts", "AssumeRole", RoleArn=f"{ROLE}/target", RoleSessionName="me")
        assert answer.status == 200 if assumes else answer.denied, answer


async def test_a_role_that_trusts_whoever_is_not_a_way_around_its_path_or_its_limits(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        await world.role("target", trust=trust("*"), path="/deep/", attached=ADMIN)
        key = await world.session("weak")
        for arn in (f"{ROLE}/target", f"{ROLE}/deep/x/target", "arn:aws:iam::111111111111:role/deep/target", f"{ROLE}/absent"):
            await forbids(world, key, "sts", "AssumeRole", RoleArn=arn, RoleSessionName="me")
        long = {"RoleArn": f"{ROLE}/deep/target", "RoleSessionName": "me", "DurationSeconds": 7200}
        await world.ask(world.keys.root, "iam", "UpdateRole", RoleName="target", MaxSessionDuration=43200)
        answer = await world.ask(key, "sts", "AssumeRole", **long)
        assert (answer.status, "role chaining" in answer.message) == (400, True)
        assert (await world.ask(world.keys.root, "sts", "AssumeRole", **long)).status == 200
        assert (await world.ask(key, "sts", "AssumeRole", **long | {"DurationSeconds": 3600})).status == 200


async def test_a_role_without_policies_writes_its_own_log_and_nothing_else(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        await world.role("boss", trust=TRUST_ACCOUNT, attached=ADMIN)
        await world.function("own")
        await world.function("other")
        key = await world.session("plain", function="own")
        for name in ("own", "own2", "other"):
            await world.ask(world.keys.root, "logs", "CreateLogGroup", logGroupName=f"/aws/lambda/{name}")
            await world.ask(world.keys.root, "logs", "CreateLogStream", logGroupName=f"/aws/lambda/{name}", logStreamName="s")
        report = [{"timestamp": int(time.time() * 1000), "message": "REPORT RequestId: x"}]
        stream: dict[str, Any] = {"logStreamName": "s", "logEvents": report}
        assert (await world.ask(key, "logs", "PutLogEvents", logGroupName="/aws/lambda/own", **stream)).status == 200
        assert (await world.ask(key, "logs", "CreateLogStream", logGroupName="/aws/lambda/own", logStreamName="t")).status == 200
        answer = await world.ask(key, "logs", "CreateLogGroup", logGroupName="/aws/lambda/own")
        assert answer.code == "ResourceAlreadyExistsException"
        assert (await world.ask(key, "sts", "GetCallerIdentity")).status == 200
        for group in ("/aws/lambda/own2", "/aws/lambda/other", "/aws/lambda/own/", "/aws/lambda/ow"):
            await forbids(world, key, "logs", "PutLogEvents", logGroupName=group, **stream)
            await forbids(world, key, "logs", "CreateLogStream", logGroupName=group, logStreamName="t")
            await forbids(world, key, "logs", "CreateLogGroup", logGroupName=group)
        for operation in ("DeleteLogGroup", "DeleteLogStream", "PutRetentionPolicy", "GetLogEvents", "FilterLogEvents"):
            params: dict[str, Any] = {"logGroupName": "/aws/lambda/own", "logStreamName": "s", "retentionInDays": 1}
            await forbids(world, key, "logs", operation, **params)
        await forbids(world, key, "lambda", "ListFunctions")
        await forbids(world, key, "lambda", "GetFunction", FunctionName="own")
        await forbids(world, key, "iam", "ListRoles")
        await forbids(world, key, "sts", "AssumeRole", RoleArn=f"{ROLE}/boss", RoleSessionName="me")
        await forbids(world, key, "lambda", "Invoke", "lambda:InvokeFunction", FunctionName="own")
        unknown = world.keys.issue(f"{ROLE}/nobody", "own", f"{FUNCTION}:own")
        assert (await world.ask(unknown, "logs", "PutLogEvents", logGroupName="/aws/lambda/own", **stream)).status == 200
        await forbids(world, unknown, "lambda", "ListFunctions")
        assert len(await world.record.messages("/aws/lambda/other")) == 0


async def test_lenient_roles_may_look_and_invoke_but_neither_forge_nor_climb(tmp_path: Path) -> None:
    async with play(tmp_path, lenient=True) as world:
        await world.role("boss", trust=TRUST_ACCOUNT, attached=ADMIN)
        await world.function("own")
        await world.function("other")
        await world.ask(world.keys.root, "logs", "CreateLogGroup", logGroupName="/aws/lambda/other")
        key = await world.session("plain", function="own")
        assert (await world.ask(key, "lambda", "Invoke", FunctionName="other", Payload=b"{}")).status == 200
        assert (await world.ask(key, "logs", "FilterLogEvents", logGroupName="/aws/lambda/other")).status == 200
        assert (await world.ask(key, "iam", "GetRole", RoleName="boss")).status == 200
        await forbids(world, key, "logs", "DeleteLogGroup", logGroupName="/aws/lambda/other")
        await forbids(world, key, "logs", "CreateLogStream", logGroupName="/aws/lambda/other", logStreamName="s")
        await forbids(world, key, "sts", "AssumeRole", RoleArn=f"{ROLE}/boss", RoleSessionName="me")
        await forbids(world, key, "lambda", "CreateFunction", **create("new", "plain"))
        await forbids(world, key, "lambda", "DeleteFunction", FunctionName="own")
        with_policy = await world.session("one", allow("logs:PutLogEvents", f"{GROUP}:*"), function="own")
        await forbids(world, with_policy, "lambda", "ListFunctions")


async def test_what_a_resource_policy_opens_and_closes(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        await world.function("shared")
        key = await world.session("guest")
        refused = await world.session("refused", deny("lambda:*"))
        owner = world.keys.root
        await forbids(world, key, "lambda", "Invoke", "lambda:InvokeFunction", FunctionName="shared")
        grant = {"FunctionName": "shared", "Action": "lambda:InvokeFunction"}
        await forbids(world, key, "lambda", "AddPermission", StatementId="s", Principal="*", **grant)
        await world.ask(owner, "lambda", "AddPermission", StatementId="acct", Principal=ACCOUNT, **grant)
        await forbids(world, key, "lambda", "Invoke", "lambda:InvokeFunction", FunctionName="shared")  # named is the account only
        await world.ask(owner, "lambda", "AddPermission", StatementId="source", Principal="*", SourceArn="arn:aws:s3:::b", **grant)
        await forbids(world, key, "lambda", "Invoke", "lambda:InvokeFunction", FunctionName="shared")  # direct calls have no source
        await world.ask(owner, "lambda", "AddPermission", StatementId="guest", Principal=f"{ROLE}/guest", **grant)
        assert (await world.ask(key, "lambda", "Invoke", FunctionName="shared", Payload=b"{}")).status == 200
        await forbids(world, key, "lambda", "Invoke", "lambda:InvokeFunction", FunctionName="shared:live")  # that has a policy of its own
        await forbids(world, key, "lambda", "GetFunction", FunctionName="shared")
        await world.ask(owner, "lambda", "AddPermission", StatementId="all", Principal="*", **grant)
        answer = await world.ask(refused, "lambda", "Invoke", FunctionName="shared", Payload=b"{}")
        assert answer.denied and answer.message.endswith("with an explicit deny in an identity-based policy")


async def test_hanabis_own_endpoints_are_the_owners(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        key = await world.session("super", allow("*"), attached=ADMIN)
        for path in ("usage", "environments", "metrics", "problems", "code/" + "0" * 64):
            request = sign(key, "GET", f"{ENDPOINT}/_hanabi/{path}", b"", service="hanabi")
            assert (await answer_of(world.edge.handle, request)).status == 403, path


async def test_tags_that_decide_are_not_for_everybody(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        await world.function("red", Tags={"team": "red"})
        await world.function("blue", Tags={"team": "blue"})
        condition = {"StringEquals": {"aws:ResourceTag/team": "red"}}
        key = await world.session("red-team", allow("lambda:*", Condition=condition))
        assert (await world.ask(key, "lambda", "GetFunction", FunctionName="red")).status == 200
        await forbids(world, key, "lambda", "GetFunction", FunctionName="blue")
        await forbids(world, key, "lambda", "TagResource", Resource=f"{FUNCTION}:blue", Tags={"team": "red"})
        maker = await world.session("maker", allow(["lambda:CreateFunction", "iam:PassRole"]))
        await forbids(world, maker, "lambda", "CreateFunction", "lambda:TagResource", **create("new", "maker") | {"Tags": {"team": "red"}})


async def test_the_function_behind_credentials_is_known_and_not_to_be_claimed(tmp_path: Path) -> None:
    async with play(tmp_path) as world:
        await world.function("own")
        condition = {"ArnEquals": {"lambda:SourceFunctionArn": f"{FUNCTION}:own"}}
        inside = await world.session("inside", allow("lambda:GetFunction", Condition=condition), function="own")
        assert (await world.ask(inside, "lambda", "GetFunction", FunctionName="own")).status == 200
        outside = world.keys.assume(
            f"{ROLE}/inside", "own", 900, world.keys.root.principal
        )  # the same role, and a session of the same name
        await forbids(world, outside, "lambda", "GetFunction", FunctionName="own")
        denied = {"Null": {"lambda:SourceFunctionArn": "false"}}
        await world.role("away", allow("lambda:*"), deny("*", Condition=denied))  # "not from where it runs"
        await forbids(world, world.keys.issue(f"{ROLE}/away", "own", f"{FUNCTION}:own"), "lambda", "GetFunction", FunctionName="own")
