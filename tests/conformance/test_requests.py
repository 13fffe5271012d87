"""For every operation that is served: requests with one thing wrong, made of AWS's models.

They are answered with AWS's code, status and words, never with a 500, and change nothing.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from hanabi.edge.protocols.model import load
from tests.conformance.answers import TABLE, Asker, fill
from tests.conformance.requests import MISSING, Wrong, as_json, junk, put, put_json, sample, wrongs
from tests.unit.edge.live import ACCOUNT, REGION
from tests.unit.edge.signing import sign
from tests.unit.edge.world import Answer, World, allow, make_request, open_world

SERVICES = ("lambda", "logs", "iam", "sts")
# What the members name that there is, so that a request that passes by mistake changes something.
THERE: dict[str, Any] = {
    "FunctionName": "f",
    "LayerName": "layer",
    "RoleName": "lambda-role",
    "RoleArn": fill("<role>"),
    "Role": fill("<role>"),
    "logGroupName": "group",
    "logStreamName": "stream",
    "Resource": fill("<functions>:f"),
    "resourceArn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:group",
}
# What they take besides, that names nothing.
DATA: dict[str, Any] = {
    "Code": {"ZipFile": b"code"},
    "Content": {"ZipFile": b"code"},
    "ZipFile": b"code",
    "PolicyDocument": json.dumps({"Version": "2012-10-17", "Statement": [allow("*")]}),
    "AssumeRolePolicyDocument": fill("<trust>"),
}
VALIDATION = {"lambda": "ValidationException", "logs": "InvalidParameterException", "iam": "ValidationError", "sts": "ValidationError"}
NOT_THERE = {
    *("ResourceNotFoundException", "NoSuchEntity", "CodeSigningConfigNotFoundException"),
    "ProvisionedConcurrencyConfigNotFoundException",
}
REFUSED = {*NOT_THERE, *VALIDATION.values(), "InvalidParameterValueException", "AccessDeniedException", "AccessDenied"}
MAKERS = ("Create", "Publish", "Put", "List", "Describe")  # operations that need not find what they name
IDEMPOTENT = {"DeleteLayerVersion"}  # the deletion of what is not there is none
NOBODY = {"Resource": fill("<functions>:nobody"), "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/nobody"}
# Members that name what is Hanabi's own. What is of other services is looked for there, if at all.
OURS = {*THERE, "Arn", "CodeSigningConfigArn", "PolicyArn", "logGroupIdentifier"}
MALFORMED = [
    *("arn:", "arn:aws:lambda", "arn:aws:lambda:us-east-1", ":::::", "arn:aws:iam::000000000000"),
    *("arn::lambda:us-east-1:000000000000:function:f", "arn:aws:lambda:us-east-1:0000:function:f", "arn:aws:sqs:us-east-1:000000000000:f"),
    *(f"arn:aws:lambda:us-east-1:000000000000:{end}" for end in ("function:", "function:f:1:2:3", "layer:l:0")),
    *("arn:aws:iam::000000000000:role", "arn:aws:iam::000000000000:role/", "arn:aws:logs:us-east-1:000000000000:log-group"),
]
# What a call needs besides what the model requires, before it looks for what it names.
MORE: dict[str, dict[str, Any]] = {
    "UpdateFunctionEventInvokeConfig": {"MaximumRetryAttempts": 1},
    "GetLogEvents": {"logGroupName": "group"},
    "FilterLogEvents": {"logGroupName": "group"},
    "UpdateAssumeRolePolicy": {"PolicyDocument": fill("<trust>")},
}
# Checked later than other members, and refused in words of their own: hanabi/edge/protocols/constraints.py.
OWN_WORDS = {"runtime", "compatibleRuntimes", "compatibleRuntime", "compatibleArchitectures", "compatibleArchitecture"}


class Target:
    """An edge with something of everything, and how to look whether all of it is as it was."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answers: Counter[str] = Counter()

    def operations(self, service: str) -> list[str]:
        return sorted(self.world.edge.api.services.by_signing_name[service].operations)

    async def ask(self, service: str, operation: str, params: dict[str, Any]) -> Answer:
        answer = await self.world.ask(self.world.keys.root, service, operation, **params)
        self.answers[f"{answer.status} {answer.code}"] += 1
        return answer

    async def send(self, service: str, request: Any) -> Answer:
        answer = await self.world.send(request, service)
        self.answers[f"{answer.status} {answer.code}"] += 1
        return answer

    async def state(self) -> str:
        functions = "".join(self.world.describe(function.name) for function in self.world.control.functions)
        layers = [(layer.name, layer) for layer in self.world.control.layers]
        groups = [group.name for group in await self.world.record.logs.groups(prefix="", pattern="", after="", limit=50)]
        return functions + repr((layers, groups, sorted(self.world.store.rows.items())))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    async with open_world(tmp_path_factory.mktemp("requests"), any_role=False) as world:
        role = {"RoleName": THERE["RoleName"], "AssumeRolePolicyDocument": fill("<trust>")}
        assert (await world.ask(world.keys.root, "iam", "CreateRole", **role)).status == 200
        asker = Asker(world)
        for state in TABLE["states"]:
            await asker.make(state)
        yield Target(world)


def base(service: str, operation: str) -> dict[str, Any]:
    """Parameters of a call that has all that it needs, on what is there."""
    shape = load(service).operation(operation).input_shape
    if shape is None:
        return {}
    named = {name: value for name, value in (THERE | DATA).items() if name in shape.required_members}
    params: dict[str, Any] = sample(shape)
    return params | named


def is_sendable(service: str, operation: str, wrong: Wrong) -> bool:
    """A path cannot say that a label is missing or empty: it is another path then. Nor can a body that is bytes."""
    member = load(service).operation(operation).input_shape.members[wrong.path[0]]
    location = member.serialization.get("location")
    return location != "uri" and not is_body(service, operation, wrong) or bool(wrong.value) and wrong.value is not MISSING


def is_body(service: str, operation: str, wrong: Wrong) -> bool:
    """Whether a member is all of the body, as bytes: a body that is not there is an empty one."""
    shape = load(service).operation(operation).input_shape
    return bool(shape.serialization.get("payload") == wrong.path[0] and shape.members[wrong.path[0]].type_name == "blob")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("service", SERVICES)
async def test_what_the_model_forbids_is_refused_in_awss_words(target: Target, service: str) -> None:
    before, told, asked = await target.state(), [], 0
    for operation in target.operations(service):
        shape = load(service).operation(operation).input_shape
        for wrong in wrongs(shape) if shape else ():
            if not is_sendable(service, operation, wrong):
                continue
            asked += 1
            answer = await target.ask(service, operation, put(base(service, operation), shape, wrong.path, wrong.value))
            codes = {VALIDATION[service]} if wrong.at not in OWN_WORDS else {VALIDATION[service], "InvalidParameterValueException"}
            said = f"at '{wrong.at}' failed to satisfy constraint: "
            if answer.status != 400 or answer.code not in codes:
                told.append(f"{operation} {wrong}: {answer.status} {answer.code} {answer.message[:200]}")
            elif wrong.at not in OWN_WORDS and (said not in answer.message or wrong.constraint not in answer.message.partition(said)[2]):
                told.append(f"{operation} {wrong}: {said}{wrong.constraint} is not in {answer.message[:400]}")
    print(f"{service}: {asked} requests")
    assert not told, f"{len(told)} of {asked}:\n" + "\n".join(told[:40])
    assert await target.state() == before


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("service", ["lambda", "logs"])
async def test_values_of_another_type_are_a_serialization_exception(target: Target, service: str) -> None:
    before, told, asked = await target.state(), [], 0
    for operation in target.operations(service):
        shape = load(service).operation(operation).input_shape
        good = make_request(target.world.keys.root, service, operation, base(service, operation))
        url = f"http://{dict(good.headers)['host']}{good.target}"
        kept = {name: value for name, value in good.headers if name in ("content-type", "x-amz-target")}
        for path, value in junk(shape) if shape else ():
            asked += 1
            assert isinstance(good.body, bytes)
            body = as_json(put_json(json.loads(good.body or b"{}"), path, value))
            answer = await target.send(service, sign(target.world.keys.root, good.method, url, body, service=service, headers=kept))
            if (answer.status, answer.code) != (400, "SerializationException") or not answer.message:
                told.append(f"{operation} {'.'.join(map(str, path))} = {value!r}: {answer.status} {answer.code} {answer.message[:200]}")
    print(f"{service}: {asked} requests")
    assert not told, f"{len(told)} of {asked}:\n" + "\n".join(told[:40])
    assert await target.state() == before


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("service", SERVICES)
async def test_what_is_not_there_is_not_found(target: Target, service: str) -> None:
    before, told = await target.state(), []
    for operation in target.operations(service):
        if operation.startswith(MAKERS) or operation in IDEMPOTENT:
            continue
        params = base(service, operation) | MORE.get(operation, {})
        named = [name for name in params if name in THERE]
        for name in named:
            answer = await target.ask(service, operation, params | {name: NOBODY.get(name, "nobody")})
            if answer.code not in NOT_THERE | ({"AccessDenied"} if name == "RoleArn" else set()) or answer.status not in (400, 403, 404):
                told.append(f"{operation} {name}: {answer.status} {answer.code} {answer.message[:200]}")
    assert not told, "\n".join(told)
    assert await target.state() == before


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("service", SERVICES)
async def test_arns_that_are_none_are_refused(target: Target, service: str) -> None:
    before, told, asked = await target.state(), [], 0
    for operation in target.operations(service):
        shape = load(service).operation(operation).input_shape
        for name in shape.members if shape else ():
            if name not in OURS or not is_text(shape.members[name]):
                continue
            for arn in MALFORMED:
                asked += 1
                answer = await target.ask(service, operation, base(service, operation) | {name: arn})
                if answer.code not in REFUSED or not 400 <= answer.status < 500:
                    told.append(f"{operation} {name} = {arn}: {answer.status} {answer.code} {answer.message[:200]}")
    print(f"{service}: {asked} requests")
    assert not told, f"{len(told)} of {asked}:\n" + "\n".join(told[:40])
    assert await target.state() == before


def is_text(shape: Any) -> bool:
    return str(shape.type_name) == "string"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("service", SERVICES)
async def test_what_the_model_requires_is_enough_for_an_answer(target: Target, service: str) -> None:
    """With no more than that: what else an operation needs, it says. These come last: they make and delete."""
    told = []
    for operation in target.operations(service):
        answer = await target.ask(service, operation, base(service, operation))
        if answer.status >= 500:
            told.append(f"{operation}: {answer.status} {answer.code} {answer.message[:200]}")
    assert not told, "\n".join(told)
