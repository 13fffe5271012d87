"""Functions run as roles that are there and trust Lambda."""

import json
from pathlib import Path
from typing import Any

import pytest

from hanabi.base.clock import SystemClock
from hanabi.base.health import Health
from hanabi.contracts.http import HttpRequest
from hanabi.services.iam.execution_roles import REFUSAL, ExecutionRoles
from hanabi.services.iam.service import IamService
from hanabi.services.own.health import HealthEndpoints
from tests.unit.control.support import ACCOUNT, create_params
from tests.unit.edge.live import PLACE
from tests.unit.edge.world import ROLE, TRUST_ACCOUNT, TRUST_LAMBDA, World, open_world


def trust(principal: Any, **more: Any) -> dict[str, Any]:
    return {"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more}]}


LAMBDA = {"Service": "lambda.amazonaws.com"}


def denying(document: dict[str, Any]) -> dict[str, Any]:
    statement = document["Statement"][0]
    return {"Statement": [statement, statement | {"Effect": "Deny"}]}


@pytest.mark.parametrize(
    ("document", "assumable"),
    [
        (TRUST_LAMBDA, True),
        (trust({"Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"]}), True),
        (trust({"Service": ["edgelambda.amazonaws.com", "lambda.amazonaws.com"], "AWS": ACCOUNT}), True),
        (trust(LAMBDA, Action="sts:*"), True),
        (trust(LAMBDA, Action="sts:TagSession"), False),
        (trust(LAMBDA, Condition={"StringEquals": {"aws:SourceAccount": ACCOUNT}}), True),
        (trust(LAMBDA, Condition={"StringEquals": {"aws:SourceAccount": "111111111111"}}), False),
        (trust({"Service": "ec2.amazonaws.com"}), False),
        (trust({"AWS": f"{ROLE}/lambda.amazonaws.com"}), False),
        (TRUST_ACCOUNT, False),
        (denying(trust(LAMBDA)), False),
    ],
)
async def test_who_trusts_lambda(tmp_path: Path, document: Any, assumable: bool) -> None:
    async with open_world(tmp_path, any_role=False) as world:
        await world.role("runner", trust=document)
        answer = await world.ask(world.keys.root, "lambda", "CreateFunction", **create_params("f", Role=f"{ROLE}/runner"))
        await world.control.wait_idle()
        found = (answer.status, answer.code, answer.message)
        assert found == ((201, "", "") if assumable else (400, "InvalidParameterValueException", REFUSAL))


@pytest.mark.parametrize(
    ("role", "code"),
    [
        (f"{ROLE}/absent", "InvalidParameterValueException"),
        (f"{ROLE}/runner", "InvalidParameterValueException"),  # that one is below a path
        (f"{ROLE}/team//runner", "InvalidParameterValueException"),
        (f"{ROLE}/team/Runner", "InvalidParameterValueException"),
        (f"arn:aws-cn:iam::{ACCOUNT}:role/team/runner", "InvalidParameterValueException"),
        ("arn:aws:iam::111111111111:role/team/runner", "AccessDeniedException"),
        ("runner", "ValidationException"),
    ],
)
async def test_roles_that_are_not_there(tmp_path: Path, role: str, code: str) -> None:
    async with open_world(tmp_path, any_role=False) as world:
        right = await world.role("runner", path="/team/")
        owner = world.keys.root
        assert (await world.ask(owner, "lambda", "CreateFunction", **create_params("f", Role=role))).code == code
        assert world.control.functions.get("f") is None
        assert (await world.ask(owner, "lambda", "CreateFunction", **create_params("f", Role=right))).status == 201
        await world.control.wait_idle()
        assert (await world.ask(owner, "lambda", "UpdateFunctionConfiguration", FunctionName="f", Role=role)).code == code
        answer = await world.ask(owner, "lambda", "UpdateFunctionConfiguration", FunctionName="absent", Role=role)
        assert answer.code == ("ValidationException" if role == "runner" else "ResourceNotFoundException")


async def test_a_role_that_goes_and_comes_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with open_world(tmp_path, any_role=False) as world:
            owner = world.keys.root
            role = await world.role("runner")
            await world.ask(owner, "lambda", "CreateFunction", **create_params("f", Role=role))
            await world.control.wait_idle()
            await invokes(world, True)
            await world.ask(owner, "iam", "UpdateAssumeRolePolicy", RoleName="runner", PolicyDocument=json.dumps(TRUST_ACCOUNT))
            await invokes(world, False)
            await world.ask(owner, "iam", "UpdateAssumeRolePolicy", RoleName="runner", PolicyDocument=json.dumps(TRUST_LAMBDA))
            await invokes(world, True)
            await world.ask(owner, "iam", "DeleteRole", RoleName="runner")
            await invokes(world, False)
            code = await world.ask(owner, "lambda", "UpdateFunctionCode", FunctionName="f", ZipFile=b"other")
            assert code.status == 200  # as on AWS
            await world.control.wait_idle()
            await world.role("runner")
            await invokes(world, True)

    async def invokes(world: World, may: bool) -> None:
        answer = await world.ask(world.keys.root, "lambda", "Invoke", FunctionName="f", InvocationType="Event", Payload=b"{}")
        assert (answer.status, answer.code, answer.message) == ((202, "", "") if may else (403, "AccessDeniedException", REFUSAL))

    await story()


async def test_after_a_restart_it_is_known_which_roles_there_are(tmp_path: Path) -> None:
    async with open_world(tmp_path, any_role=False) as world:
        good, bad = await world.role("good"), await world.role("bad", trust=TRUST_ACCOUNT)
        again = ExecutionRoles(PLACE)
        assert good not in again
        await IamService(world.store, SystemClock(), PLACE, again.changed).open()
        assert good in again and bad not in again


async def test_functions_that_cannot_be_invoked_are_a_problem_while_that_lasts(tmp_path: Path) -> None:
    async with open_world(tmp_path, any_role=True) as world:
        for name in "abcdef":
            await world.ask(world.keys.root, "lambda", "CreateFunction", **create_params(name, Role=f"{ROLE}/absent"))
        await world.control.wait_idle()
        health, strict = Health(), ExecutionRoles(PLACE)
        ends = HealthEndpoints(health, ["chosen"], lambda: strict.report(world.control.functions, health))
        request = HttpRequest("GET", "/_hanabi/problems", "/_hanabi/problems", "", [], b"")

        async def shown() -> dict[str, Any]:
            body = (await ends.problems(request)).body
            assert isinstance(body, bytes)
            found: dict[str, Any] = json.loads(body)
            return found

        said = await shown()
        assert said["choices"] == ["chosen"]
        (problem,) = said["problems"]
        assert problem["text"].startswith("6 functions have ") and "a, b, c, d, e ..." in problem["text"]
        strict.changed(f"{ROLE}/absent", {"Arn": f"{ROLE}/absent", "AssumeRolePolicyDocument": json.dumps(TRUST_LAMBDA)})
        assert (await shown())["problems"] == []


async def test_any_role_will_do_where_that_was_asked_for(tmp_path: Path) -> None:
    async with open_world(tmp_path, any_role=True) as world:
        for number, role in enumerate((f"{ROLE}/absent", "arn:aws:iam::111111111111:role/x")):
            answer = await world.ask(world.keys.root, "lambda", "CreateFunction", **create_params(f"f{number}", Role=role))
            assert answer.status == 201
        await world.control.wait_idle()
