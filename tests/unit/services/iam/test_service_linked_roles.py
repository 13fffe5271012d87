"""Service-linked roles: named as AWS names them, made and deleted, and changed by nobody."""

from pathlib import Path

import pytest

from hanabi.services.iam.service_linked_roles import linked_role
from tests.unit.edge.world import ROLE, open_world
from tests.unit.services.iam.support import call, names, refusal


@pytest.mark.parametrize(
    ("service", "suffix", "path"),
    [
        ("lambda.amazonaws.com", None, "lambda.amazonaws.com/AWSServiceRoleForLambda"),
        ("ecs.amazonaws.com", None, "ecs.amazonaws.com/AWSServiceRoleForECS"),
        ("connect.amazonaws.com", "x", "connect.amazonaws.com/AWSServiceRoleForAmazonConnect_x"),
        ("some-new.thing.amazonaws.com", None, "some-new.thing.amazonaws.com/AWSServiceRoleForSomeNewThing"),
    ],
)
def test_names(service: str, suffix: str | None, path: str) -> None:
    assert linked_role(service, suffix) == f"/aws-service-role/{path}"


async def test_the_life_of_a_service_linked_role(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        made = (await call(world, "CreateServiceLinkedRole", AWSServiceName="batch.amazonaws.com", Description="d"))["Role"]
        name = "AWSServiceRoleForBatch"
        assert made["Arn"] == f"{ROLE}/aws-service-role/batch.amazonaws.com/{name}" and made["Description"] == "d"
        attached = (await call(world, "ListAttachedRolePolicies", RoleName=name))["AttachedPolicies"]
        assert names(attached, "PolicyArn") == ["arn:aws:iam::aws:policy/aws-service-role/BatchServiceRolePolicy"]
        again = await refusal(world, "CreateServiceLinkedRole", AWSServiceName="batch.amazonaws.com")
        taken = f"Service role name {name} has been taken in this account, please try a different suffix."
        assert again == ("InvalidInput", 400, taken)
        for operation, more in (
            ("DeleteRole", {}),
            ("UpdateRole", {"MaxSessionDuration": 7200}),
            ("AttachRolePolicy", {"PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}),
            ("TagRole", {"Tags": [{"Key": "k", "Value": "v"}]}),
        ):
            code, _, message = await refusal(world, operation, RoleName=name, **more)
            assert (code, "is only modifiable by AWS" in message) == ("UnmodifiableEntity", True), operation
        task = (await call(world, "DeleteServiceLinkedRole", RoleName=name))["DeletionTaskId"]
        assert task.startswith(f"task/aws-service-role/batch.amazonaws.com/{name}/")
        assert (await call(world, "GetServiceLinkedRoleDeletionStatus", DeletionTaskId=task))["Status"] == "SUCCEEDED"
        assert (await refusal(world, "GetRole", RoleName=name))[0] == "NoSuchEntity"


async def test_suffixes(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await call(world, "CreateServiceLinkedRole", AWSServiceName="autoscaling.amazonaws.com", CustomSuffix="a")
        await call(world, "CreateServiceLinkedRole", AWSServiceName="autoscaling.amazonaws.com", CustomSuffix="b")
        refused = await refusal(world, "CreateServiceLinkedRole", AWSServiceName="ecs.amazonaws.com", CustomSuffix="a")
        assert refused == ("InvalidInput", 400, "Custom suffix is not allowed for ecs.amazonaws.com")
        await world.role("plain")
        assert (await refusal(world, "DeleteServiceLinkedRole", RoleName="plain"))[0] == "NoSuchEntity"
