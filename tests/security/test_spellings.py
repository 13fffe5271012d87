"""A resource that is denied is not reached by any spelling of its name: every operation, every member that names something.

The operations are those that are registered, their members those of botocore's models: what is new fails here until it is said what it is.
"""

import ast
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hanabi
from hanabi.base.clock import SystemClock
from hanabi.control.code_signing.model import CodeSigningConfig
from hanabi.edge.edge import Edge
from hanabi.edge.protocols.model import load
from hanabi.edge.service import NOTHING, Operation
from tests.security.names import (
    IAM,
    LAYER,
    MINE,
    MINE_GROUP,
    OTHER,
    THEIRS,
    THEIRS_GROUP,
    config_arn,
    configs_named,
    functions_named,
    groups_named,
    layers_named,
    policies_named,
    roles_named,
)
from tests.unit.edge.live import ACCOUNT, REGION, FakeService
from tests.unit.edge.signing import sign
from tests.unit.edge.world import ENDPOINT, FUNCTION, GROUP, ROLE, Answer, World, allow, deny, open_world

SOURCES = Path(hanabi.__file__).parent

# Members that name a function, a group, a role and the like, and how. Whatever else a call needs is in PLAIN.
NAMING = {
    "lambda": {"FunctionName", "Resource", "Role", "LayerName", "Arn", "ResourceArn", "CodeSigningConfigArn"},
    "logs": {"logGroupName", "logGroupIdentifier", "logGroupIdentifiers", "resourceArn"},
    "iam": {"RoleName", "UserName", "GroupName", "InstanceProfileName", "PolicySourceArn"},
    "sts": {"RoleArn"},
}
PLAIN: dict[str, Any] = {
    "Action": "lambda:InvokeFunction",
    "AllowedPublishers": {"SigningProfileVersionArns": ["arn:aws:signer:us-east-1:000000000000:/signing-profiles/p"]},
    "AuthType": "NONE",
    "Code": {"ZipFile": b"code"},
    "Content": {"ZipFile": b"code"},
    "FunctionVersion": "1",
    "Handler": "app.handler",
    "InvokeArgs": b"{}",
    "Name": "fresh",
    "Payload": b"{}",
    "Principal": "*",
    "ProvisionedConcurrentExecutions": 1,
    "RecursiveLoop": "Allow",
    "ReservedConcurrentExecutions": 1,
    "Runtime": "python3.11",
    "VersionNumber": 1,
    "StatementId": "sid",
    "TagKeys": ["k"],
    "UpdateRuntimeOn": "Auto",
    "ZipFile": b"code",
    "AssumeRolePolicyDocument": json.dumps({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}}),
    "Policy": json.dumps({"Version": "2012-10-17", "Statement": {**allow("lambda:*", f"{FUNCTION}:{MINE}"), "Principal": "*"}}),
    "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess",
    "PolicyDocument": json.dumps({"Version": "2012-10-17", "Statement": allow("*")}),
    "PolicyInputList": [json.dumps({"Version": "2012-10-17", "Statement": allow("*")})],
    "PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess",
    "AccessKeyId": "AKIA0000000000000000",
    "AccountAlias": "alias",
    "ActionNames": ["s3:GetObject"],
    "AWSServiceName": "batch.amazonaws.com",
    "Description": "d",
    "DeletionTaskId": "task/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch/1",
    "Status": "Active",
    "VersionId": "v1",
    "PolicyName": "p",
    "RoleSessionName": "session",
    "logStreamName": "s",
    "retentionInDays": 1,
    "tags": {"k": "v"},
    "tagKeys": ["k"],
    "filterPattern": "x",
    "logEventMessages": ["x"],
}
IAM_PLAIN = {"PolicyDocument": {"UpdateAssumeRolePolicy": PLAIN["AssumeRolePolicyDocument"]}}
# Members that are needed and name nothing that anybody could be denied.
HARMLESS = set(PLAIN) | {"Tags", "logEvents", "Qualifier", "UUID"}
# By name, but allowed on "*" alone.
ON_THE_ACCOUNT = {"ListLayerVersions", "ListLayers", "CreateEventSourceMapping", "ListEventSourceMappings", "DescribeLogGroups"}
# By a UUID of its own: test_event_permissions.py.
BY_UUID = {"GetEventSourceMapping", "UpdateEventSourceMapping", "DeleteEventSourceMapping"}
ABOUT_NOTHING = {
    "lambda:GetAccountSettings",
    "lambda:CreateCodeSigningConfig",
    "lambda:ListCodeSigningConfigs",
    "lambda:ListLayers",
    "lambda:ListFunctions",
    "logs:DescribeLogGroups",
    "logs:ListLogGroups",
    "logs:TestMetricFilter",
    *(f"iam:List{what}" for what in ("AccountAliases", "Groups", "InstanceProfiles", "Policies", "Roles", "Users")),
    *(f"iam:List{what}" for what in ("OpenIDConnectProviders", "SAMLProviders", "ServerCertificates", "VirtualMFADevices")),
    *(f"iam:GetAccount{what}" for what in ("AuthorizationDetails", "PasswordPolicy", "Summary")),
    *("iam:CreateAccountAlias", "iam:DeleteAccountAlias", "iam:GetContextKeysForCustomPolicy", "iam:SimulateCustomPolicy"),
    *("iam:CreateServiceLinkedRole", "iam:GetServiceLinkedRoleDeletionStatus"),  # of a service, by its name
    "iam:GetAccessKeyLastUsed",  # unit/services/iam/test_access_keys.py
    *("sts:GetCallerIdentity", "sts:GetFederationToken", "sts:GetSessionToken"),
}


# Names of what is put in or taken out, by who may change what it is put into. A role that is put in is passed.
DATA = {("AddUserToGroup", "UserName"), ("RemoveUserFromGroup", "UserName"), ("RemoveRoleFromInstanceProfile", "RoleName")}
IAM_KINDS = ("user", "group", "policy", "instance-profile")


def operations(world: World) -> Iterator[tuple[str, str]]:
    for service, served in world.edge.api.services.by_signing_name.items():
        for name in served.operations:
            yield service, name


def spellings(service: str, member: str, name: str) -> Iterator[str]:
    if member == "PolicyArn":
        return policies_named(name)
    if member in ("LayerName", "Arn"):
        return layers_named(name)
    if member == "CodeSigningConfigArn":
        return configs_named(name)
    if service == "lambda":
        return roles_named(name) if member == "Role" else functions_named(name)
    return groups_named(f"/aws/lambda/{name}") if service == "logs" else roles_named(name)


def canonical(service: str, member: str, name: str) -> str:
    if service == "logs":
        return f"{GROUP}:/aws/lambda/{name}" if member in ("resourceArn", "logGroupIdentifiers") else f"/aws/lambda/{name}"
    if member == "PolicyArn":
        return f"{IAM}:policy/{name}"
    if member in ("Role", "RoleArn", "PolicySourceArn"):
        return f"{ROLE}/{name}"
    if member == "CodeSigningConfigArn":
        return config_arn(name)
    if member == "Arn":
        return f"{LAYER}:{name}:1"
    return f"{FUNCTION}:{name}" if member in ("Resource", "ResourceArn") else name


def parameters(service: str, operation: str, naming: str, target: str) -> dict[str, Any]:
    """A call of an operation, about `target` by the member `naming`."""
    shape = load(service).operation(operation).input_shape
    params: dict[str, Any] = {}
    for member in shape.required_members if shape else ():
        if member in NAMING[service] or member in naming_members(service, operation):
            params[member] = canonical(service, member, MINE)
        elif member == "Tags":
            params[member] = [{"Key": "k", "Value": "v"}] if service == "iam" else {"k": "v"}
        elif member == "logEvents":
            params[member] = [{"timestamp": int(time.time() * 1000), "message": "forged"}]
        else:
            params[member] = PLAIN.get(member, "1")
    if operation == "AddLayerVersionPermission":
        params["Action"] = "lambda:GetLayerVersion"
    if operation == "UpdateAssumeRolePolicy":
        params["PolicyDocument"] = PLAIN["AssumeRolePolicyDocument"]
    if operation == "CreateFunction":
        params |= {"Runtime": "python3.11", "Handler": "app.handler"}
    if operation == "GetFunctionUrlConfig" or operation.endswith("FunctionUrlConfig"):
        params.pop("Qualifier", None)
    if operation.endswith("ProvisionedConcurrencyConfig"):
        params["Qualifier"] = "1"
    if operation.endswith("Alias") and operation != "CreateAlias":
        params["Name"] = "live"
    if naming == "logGroupIdentifier":
        params.pop("logGroupName", None)
    if operation == "UntagLogGroup":
        params["tags"] = ["k"]
    return params | {naming: [target] if naming == "logGroupIdentifiers" else target}


def naming_members(service: str, operation: str) -> list[str]:
    shape = load(service).operation(operation).input_shape
    if shape is None or operation in ON_THE_ACCOUNT | BY_UUID:
        return []
    named = [member for member in shape.members if member in NAMING[service] and (operation, member) not in DATA]
    if service == "iam" and not named:  # a managed policy, which is data of operations on roles and the like
        named = [member for member in shape.members if member == "PolicyArn" or (operation, member) == ("CreatePolicy", "PolicyName")]
    return named


async def prepare(world: World) -> None:
    """A function, its log and a role, mine and theirs; roles are the last part of `ROLE`."""
    owner = world.keys.root
    for name in (MINE, THEIRS):
        if world.control.functions.get(name) is None:
            await world.function(name, Tags={"k": "v"})
            await world.ask(owner, "lambda", "CreateFunctionUrlConfig", FunctionName=name, AuthType="AWS_IAM")
            await world.ask(
                owner, "lambda", "AddPermission", FunctionName=name, StatementId="s", Action="lambda:GetFunction", Principal="*",
                SourceAccount=OTHER,
            )  # fmt: skip
            await world.ask(
                owner, "lambda", "PutProvisionedConcurrencyConfig", FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=1
            )
        if not (await world.ask(owner, "lambda", "ListLayerVersions", LayerName=name)).json["LayerVersions"]:
            await world.ask(owner, "lambda", "PublishLayerVersion", LayerName=name, Content=PLAIN["Content"])
        await add_config(world, name)
        group = f"/aws/lambda/{name}"
        await world.ask(owner, "logs", "CreateLogGroup", logGroupName=group)
        await world.ask(owner, "logs", "CreateLogStream", logGroupName=group, logStreamName="s")
        trust = {"Statement": {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}}
        await world.ask(owner, "iam", "CreateRole", RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        if len([key for key in world.store.rows if key.endswith(f"/{name}") and "iam/" in key]) < 5:
            await world.ask(owner, "iam", "CreatePolicy", PolicyName=name, PolicyDocument=PLAIN["PolicyDocument"])
            for kind in ("User", "Group", "InstanceProfile"):
                await world.ask(owner, "iam", f"Create{kind}", **{f"{kind}Name": name})


async def add_config(world: World, name: str) -> None:
    """A code signing configuration with an id that is known."""
    configs = world.control.code_signing
    config = CodeSigningConfig(id=config_arn(name).rpartition(":")[2], publishers=("p",), modified_ms=0, tags={"k": "v"})
    if configs.get(config.id) is None:
        await configs.commit(config.id, lambda old: config)


async def state(world: World) -> str:
    """All of theirs, as text."""
    groups = [group for group in await world.record.logs.groups(prefix=THEIRS_GROUP, pattern="", after="", limit=5)]
    streams = await world.record.logs.streams(THEIRS_GROUP, prefix="") if groups else []
    messages = await world.record.messages(THEIRS_GROUP) if groups else []
    asked = [("ListLayerVersions", {}), ("GetLayerVersionPolicy", {"VersionNumber": 1})]
    layers = [(await world.ask(world.keys.root, "lambda", name, LayerName=THEIRS, **more)).body for name, more in asked]
    config = world.control.code_signing.get(config_arn(THEIRS).rpartition(":")[2])
    of_iam = sorted((key, row) for key, row in world.store.rows.items() if key.endswith(f"/{THEIRS}") and "iam/" in key)
    return world.describe(THEIRS) + repr((config, layers, groups, streams, messages, of_iam))


DENIED = [f"{FUNCTION}:{THEIRS}", f"{FUNCTION}:{THEIRS}:*", f"{GROUP}:{THEIRS_GROUP}", f"{GROUP}:{THEIRS_GROUP}:*", f"{ROLE}/{THEIRS}"]
DENIED += [f"{LAYER}:{THEIRS}", f"{LAYER}:{THEIRS}:*", config_arn(THEIRS), *(f"{IAM}:{kind}/{THEIRS}" for kind in IAM_KINDS)]
ALLOWED = [f"{FUNCTION}:{MINE}", f"{FUNCTION}:{MINE}:*", f"{GROUP}:{MINE_GROUP}", f"{GROUP}:{MINE_GROUP}:*", f"{ROLE}/{MINE}"]
ALLOWED += [f"{LAYER}:{MINE}", f"{LAYER}:{MINE}:*", config_arn(MINE), *(f"{IAM}:{kind}/{MINE}" for kind in IAM_KINDS)]


@pytest.mark.limit_s(300)  # thousands of calls for each kind of operation
@pytest.mark.parametrize("service", ["lambda", "logs", "iam", "sts"])
async def test_what_is_denied_is_reached_by_no_spelling(service: str, tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await prepare(world)
        denied = await world.session("all-but-theirs", allow("*"), deny("*", DENIED))
        only = await world.session("only-mine", allow("*", ALLOWED))
        before = await state(world)
        reached: list[Any] = []
        tried = 0
        for operation in [name for owner, name in operations(world) if owner == service]:
            for member in naming_members(service, operation):
                for spelling in spellings(service, member, THEIRS):
                    for key in (denied, only):
                        answer = await world.ask(key, service, operation, **parameters(service, operation, member, spelling))
                        tried += 1
                        if answer.status < 400:
                            if not is_another(member, spelling):
                                reached.append((operation, member, spelling, answer))
                            await prepare(world)
        assert reached == [] and await state(world) == before
        assert tried > {"lambda": 5000, "logs": 500, "iam": 2500, "sts": 30}[service]


def is_another(member: str, spelling: str) -> bool:
    """Whether it is in itself the name of something: of another one, that may be there as well as theirs."""
    if member == "Role":
        return spelling != f"{ROLE}/{THEIRS}"
    if spelling == f"{MINE}:{THEIRS}":
        return True
    return spelling not in (THEIRS, THEIRS_GROUP) and re.fullmatch(r"[\w./+=,@#-]+", spelling, re.ASCII) is not None


async def test_the_same_calls_are_let_through_for_what_is_allowed(tmp_path: Path) -> None:
    """Else the test above would show nothing."""

    async with open_world(tmp_path) as world:
        await prepare(world)
        only = await world.session("only-mine", allow("*", ALLOWED))
        for service, operation in operations(world):
            for member in naming_members(service, operation):
                params = parameters(service, operation, member, canonical(service, member, MINE))
                answer = await world.ask(only, service, operation, **params)
                await world.control.wait_idle()
                assert not answer.denied and answer.code not in ("ValidationException", "ValidationError", "SerializationException"), (
                    operation,
                    member,
                    answer,
                )
                await prepare(world)


RAW_PATHS = (
    """
theirs %74heirs %2574heirs th%65irs theirs%3Alive theirs%3alive theirs:live theirs%00 theirs%20 theirs%2F mine/../theirs mine%2F..%2Ftheirs
mine/%2e%2e/theirs ./theirs //theirs theirs/ theirs/. theirs;x theirs%23 %54heirs function%3Atheirs theirs%0A theirs%EF%BC%8F
""".split()
    + [f"{ACCOUNT}%3Atheirs", f"arn%3Aaws%3Alambda%3A{REGION}%3A{ACCOUNT}%3Afunction%3Atheirs"]
)


async def test_paths_as_no_client_writes_them(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await prepare(world)
        denied = await world.session("all-but-theirs", allow("*"), deny("*", DENIED))
        only = await world.session("only-mine", allow("*", ALLOWED))
        before, codes = await state(world), Counter[str]()
        for name in RAW_PATHS:
            one, tags = f"/2015-03-31/functions/{name}", f"arn%3Aaws%3Alambda%3A{REGION}%3A{ACCOUNT}%3Afunction%3A{name}"
            requests = [("GET", f"{one}{end}") for end in ("", "/configuration", "/policy", "/versions/")]
            requests += [("POST", f"{one}/invocations{query}") for query in ("", "?Qualifier=live", "?Qualifier=%24LATEST")]
            requests += [("DELETE", f"{one}{query}") for query in ("", "?Qualifier=1", "?FunctionName=mine")]
            requests += [("PUT", f"/2017-10-31/functions/{name}/concurrency"), ("GET", f"/2017-03-31/tags/{tags}")]
            for method, target in requests:
                for key in (denied, only):
                    request = sign(key, method, f"{ENDPOINT}{target}", b"{}" if method in ("POST", "PUT") else b"")
                    answer = await world.send(request, "lambda")
                    assert answer.status >= 400, (method, target, answer)
                    codes[answer.code] += 1
        assert codes["AccessDeniedException"] > 150, codes  # most are signed right, and understood
        assert await state(world) == before


async def test_a_qualifier_in_either_place_or_in_both(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await prepare(world)
        owner, live = world.keys.root, f"{FUNCTION}:{MINE}:live"
        only_live = await world.session("only-live", allow("lambda:*", live))
        no_live = await world.session("no-live", allow("lambda:*"), deny("lambda:*", live))
        for name in (MINE, f"{FUNCTION}:{MINE}", f"{ACCOUNT}:{MINE}", f"function:{MINE}"):
            for params, is_live in (
                ({"FunctionName": name}, False),
                ({"FunctionName": name, "Qualifier": "1"}, False),
                ({"FunctionName": name, "Qualifier": "$LATEST"}, False),
                ({"FunctionName": f"{name}:1"}, False),
                ({"FunctionName": f"{name}:live"}, True),
                ({"FunctionName": name, "Qualifier": "live"}, True),
                ({"FunctionName": f"{name}:live", "Qualifier": "live"}, True),
            ):
                for operation in ("Invoke", "GetPolicy"):
                    assert (await world.ask(only_live, "lambda", operation, **params)).denied is not is_live, params
                    assert (await world.ask(no_live, "lambda", operation, **params)).denied is is_live, params
            mixed = {"FunctionName": f"{name}:1", "Qualifier": "live"}
            for key in (only_live, no_live, owner):
                assert (await world.ask(key, "lambda", "Invoke", **mixed)).code == "InvalidParameterValueException"


def foreign(member: str, name: str) -> Iterator[str]:
    """ARNs of what has the same name elsewhere, as far as a member takes ARNs."""
    if member in ("RoleName", "UserName", "GroupName", "InstanceProfileName", "PolicyName", "logGroupName", "Role"):
        return
    group = f"{GROUP}:/aws/lambda/{name}"
    whole = {"CodeSigningConfigArn": config_arn(name), "RoleArn": f"{ROLE}/{name}", "logGroupIdentifier": group, "resourceArn": group}
    whole |= {"PolicyArn": f"{IAM}:policy/{name}", "PolicySourceArn": f"{ROLE}/{name}"}
    arn = whole.get(member, f"{FUNCTION}:{name}")
    for part, others in ((1, ("aws-cn", "aws-us-gov", "")), (3, ("eu-west-1", "us-east-2", "")), (4, (OTHER, ""))):
        for other in others:
            pieces = arn.split(":")
            if pieces[part] != other:
                pieces[part] = other
                yield ":".join(pieces)
    if member == "FunctionName":
        yield from (f"arn:aws:lambda:{name}", f"arn:aws:lambda:{REGION}:{OTHER}:{name}", f"eu-west-1:{ACCOUNT}:function:{name}")
        yield f"{OTHER}:function:{name}"


async def test_what_is_in_another_partition_region_or_account_is_not_here(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await prepare(world)
        before, tried = await state(world), 0
        for service, operation in operations(world):
            for member in naming_members(service, operation):
                for spelling in foreign(member, THEIRS):
                    params = parameters(service, operation, member, spelling)
                    answer = await world.ask(world.keys.root, service, operation, **params)
                    assert answer.status in (400, 403, 404), (operation, member, spelling, answer)
                    tried += 1
        assert tried > 300 and await state(world) == before


async def test_every_operation_names_what_it_touches_or_nothing(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        for service, operation in operations(world):
            shape = load(service).operation(operation).input_shape
            unknown = set(shape.required_members if shape else ()) - NAMING[service] - HARMLESS
            assert not unknown, f"{service}:{operation}: {unknown} may name something: say so in NAMING, or in PLAIN"
            found: Operation[Any] = world.edge.api.services.by_signing_name[service].operations[operation]
            assert found.permissions is not NOTHING or f"{service}:{operation}" in ("sts:GetCallerIdentity", "sts:GetSessionToken")
            named = naming_members(service, operation) or operation in ON_THE_ACCOUNT | BY_UUID
            assert named or f"{service}:{operation}" in ABOUT_NOTHING


def test_handlers_look_at_no_name_themselves() -> None:
    """A handler has what `resolve` found. If it read a name again, another one could be touched than was authorised."""
    # Those two are data of a function, too; what passing a role takes is a touch of its own.
    names = set().union(*NAMING.values()) - {"Role", "CodeSigningConfigArn"}
    handlers = 0
    for path in sorted((SOURCES / "services").rglob("*.py")) + sorted((SOURCES / "control").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or "params" not in {arg.arg for arg in function.args.args}:
                continue
            is_handler = "call" in {arg.arg for arg in function.args.args}
            handlers += is_handler
            if not is_handler and "services" in path.parts:
                continue  # `resolve` and `permissions`
            read = {node.value for node in ast.walk(function) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
            subscripts = {
                node.slice.value
                for node in ast.walk(function)
                if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and ast.unparse(node.value) == "params"
            }
            asked = {name for name in names & read if f'params.get("{name}"' in ast.unparse(function).replace("'", '"')}
            assert not (names & subscripts) | asked, f"{path.name}: {function.name} reads {(names & subscripts) | asked}"
    assert handlers > 60


async def test_an_operation_that_does_not_say_what_it_touches_cannot_be_registered(tmp_path: Path) -> None:
    async def handler(*_: Any) -> dict[str, Any]:
        return {}

    async with open_world(tmp_path) as world:
        for wrong in (handler, Operation(handler, lambda params: None, None)):  # type: ignore[arg-type]
            service = FakeService("lambda", {"ListFunctions": wrong})  # type: ignore[dict-item]
            with pytest.raises(TypeError, match="lambda:ListFunctions does not say what it touches"):
                Edge([service], world.keys, SystemClock(), REGION)
        forgetful = FakeService("lambda", {"ListFunctions": Operation(handler, lambda params: None, lambda target, params: [])})
        served = world.edge.api.services.by_signing_name["lambda"]
        served.operations.clear()
        served.operations.update(forgetful.operations)
        answer: Answer = await world.ask(await world.session("admin", allow("*")), "lambda", "ListFunctions")
        assert answer.denied
        assert (await world.ask(world.keys.root, "lambda", "ListFunctions")).status == 200
