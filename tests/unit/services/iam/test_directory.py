"""What all policies of a caller come to: its own, its groups', managed and inline, and its boundary."""

from pathlib import Path

from hanabi.contracts.credentials import Principal
from hanabi.edge.auth.keys import session_principal, user_principal
from hanabi.services.iam.directory import count_chars
from tests.unit.control.support import ACCOUNT
from tests.unit.edge.world import ROLE, World, allow, deny, open_world
from tests.unit.services.iam.support import call, document

ROOT = f"arn:aws:iam::{ACCOUNT}:root"


async def may(world: World, key: object, operation: str = "ListFunctions") -> bool:
    return not (await world.ask(key, "lambda", operation)).denied


async def test_a_user_has_what_its_groups_have(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        kai = await world.user("kai")
        assert not await may(world, kai)
        await call(world, "CreateGroup", GroupName="g")
        await call(world, "AttachGroupPolicy", GroupName="g", PolicyArn=await world.policy("lambda", allow("lambda:*")))
        assert not await may(world, kai)
        await call(world, "AddUserToGroup", GroupName="g", UserName="kai")
        assert await may(world, kai)
        await call(world, "PutGroupPolicy", GroupName="g", PolicyName="no", PolicyDocument=document(effect="Deny"))
        assert not await may(world, kai)
        await call(world, "DeleteGroupPolicy", GroupName="g", PolicyName="no")
        await call(world, "RemoveUserFromGroup", GroupName="g", UserName="kai")
        assert not await may(world, kai)


async def test_the_default_version_of_a_policy_counts(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        arn = await world.policy("p", allow("lambda:*"))
        kai = await world.user("kai")
        await call(world, "AttachUserPolicy", UserName="kai", PolicyArn=arn)
        assert await may(world, kai)
        await call(world, "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=document("s3:*"))
        assert await may(world, kai)
        await call(world, "SetDefaultPolicyVersion", PolicyArn=arn, VersionId="v2")
        assert not await may(world, kai)


async def test_variables_of_users_and_tags(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        kai = await world.user("kai", allow("iam:GetUser", f"arn:aws:iam::{ACCOUNT}:user/${{aws:username}}"))
        await world.user("bo")
        assert (await world.ask(kai, "iam", "GetUser", UserName="kai")).status == 200
        assert (await world.ask(kai, "iam", "GetUser", UserName="bo")).denied
        red = {"StringEquals": {"aws:PrincipalTag/team": "red"}}
        key = await world.session("tagged", allow("lambda:*", Condition=red))
        assert not await may(world, key)
        await call(world, "TagRole", RoleName="tagged", Tags=[{"Key": "team", "Value": "red"}])
        assert await may(world, key)


async def test_who_there_is(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await world.role("r", deny("*"), path="/x/")
        kai = (await world.user("kai")).principal
        find = world.iam.find_identity
        assert find(session_principal(f"{ROLE}/x/r", "s")) is not None
        assert find(session_principal(f"{ROLE}/r", "s")) is None  # that one is below a path
        assert find(user_principal(f"arn:aws:iam::{ACCOUNT}:user/kai", kai.user_id)) is not None
        assert find(user_principal(f"arn:aws:iam::{ACCOUNT}:user/x/kai", kai.user_id)) is None
        of_owner = find(Principal(ACCOUNT, f"arn:aws:sts::{ACCOUNT}:federated-user/f", "", False, user=ROOT))
        assert of_owner is not None and of_owner.policies[0]["Statement"]["Action"] == "*"


async def test_a_session_is_not_of_the_next_user_of_that_name(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        kai = await world.user("kai")
        of_kai = (await world.ask(kai, "sts", "GetSessionToken")).body.partition(b"<AccessKeyId>")[2].partition(b"<")[0].decode()
        session = world.keys.lookup(of_kai)
        await call(world, "PutUserPolicy", UserName="kai", PolicyName="p", PolicyDocument=document(effect="Allow"))
        assert await may(world, session)
        await call(world, "DeleteUserPolicy", UserName="kai", PolicyName="p")
        await call(world, "DeleteAccessKey", UserName="kai", AccessKeyId=kai.access_key)
        await call(world, "DeleteUser", UserName="kai")
        assert await may(world, await world.user("kai", allow("lambda:*"))) and not await may(world, session)


def test_white_space_does_not_count() -> None:
    assert count_chars('{ "a":\n\t"b c" }') == count_chars('{"a":"bc"}') == 10
