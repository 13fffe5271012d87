"""Users and groups: their life, who is in which, and other names for them."""

from pathlib import Path

from hanabi.quotas import USER_GROUPS_MAX
from tests.unit.control.support import ACCOUNT
from tests.unit.edge.world import allow, open_world
from tests.unit.services.iam.support import call, document, names, refusal

ARN = f"arn:aws:iam::{ACCOUNT}"


async def test_the_life_of_a_user(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        made = (await call(world, "CreateUser", UserName="kai", Path="/team/", Tags=[{"Key": "a", "Value": "1"}]))["User"]
        assert made["Arn"] == f"{ARN}:user/team/kai" and made["UserId"].startswith("AIDA") and made["Tags"] == [{"Key": "a", "Value": "1"}]
        assert (await call(world, "GetUser", UserName="kai"))["User"] == made
        assert await refusal(world, "CreateUser", UserName="KAI") == ("EntityAlreadyExists", 409, "User with name KAI already exists.")
        await call(world, "TagUser", UserName="kai", Tags=[{"Key": "A", "Value": "2"}, {"Key": "b", "Value": "3"}])
        assert (await call(world, "ListUserTags", UserName="kai"))["Tags"] == [{"Key": "A", "Value": "2"}, {"Key": "b", "Value": "3"}]
        await call(world, "UntagUser", UserName="kai", TagKeys=["B"])
        await call(world, "PutUserPolicy", UserName="kai", PolicyName="p", PolicyDocument=document())
        code, _, message = await refusal(world, "DeleteUser", UserName="kai")
        assert (code, message) == ("DeleteConflict", "Cannot delete entity, must delete policies first.")
        await call(world, "DeleteUserPolicy", UserName="kai", PolicyName="p")
        key = (await call(world, "CreateAccessKey", UserName="kai"))["AccessKey"]
        assert "must delete access keys first" in (await refusal(world, "DeleteUser", UserName="kai"))[2]
        await call(world, "DeleteAccessKey", UserName="kai", AccessKeyId=key["AccessKeyId"])
        await call(world, "DeleteUser", UserName="kai")
        assert await refusal(world, "GetUser", UserName="kai") == ("NoSuchEntity", 404, "The user with name kai cannot be found.")


async def test_who_calls_may_leave_its_own_name_out(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        kai = await world.user("kai", allow("iam:*"))
        assert (await call(world, "GetUser", kai))["User"]["UserName"] == "kai"
        assert names((await call(world, "ListAccessKeys", kai))["AccessKeyMetadata"], "UserName") == ["kai"]
        root = (await call(world, "GetUser"))["User"]
        assert (root["Arn"], root["UserId"]) == (f"{ARN}:root", ACCOUNT)
        session = await world.session("role", allow("iam:*"))
        code, status, message = await refusal(world, "GetUser", session)
        assert (code, status, message) == ("ValidationError", 400, "Must specify userName when calling with non-User credentials")


async def test_groups_and_who_is_in_them(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        group = (await call(world, "CreateGroup", GroupName="red", Path="/g/"))["Group"]
        assert group["Arn"] == f"{ARN}:group/g/red" and group["GroupId"].startswith("AGPA")
        assert (await refusal(world, "CreateGroup", GroupName="Red"))[2] == "Group with name Red already exists."
        await call(world, "CreateUser", UserName="kai")
        for _ in range(2):
            await call(world, "AddUserToGroup", GroupName="red", UserName="kai")
        assert names((await call(world, "GetGroup", GroupName="red"))["Users"], "UserName") == ["kai"]
        assert names((await call(world, "ListGroupsForUser", UserName="kai"))["Groups"], "GroupName") == ["red"]
        assert (await refusal(world, "DeleteGroup", GroupName="red"))[2] == "Cannot delete entity, must remove users from group first."
        assert (await refusal(world, "DeleteUser", UserName="kai"))[0] == "DeleteConflict"
        for operation in ("AddUserToGroup", "RemoveUserFromGroup"):
            assert (await refusal(world, operation, GroupName="blue", UserName="kai"))[2] == "The group with name blue cannot be found."
            assert (await refusal(world, operation, GroupName="red", UserName="bo"))[2] == "The user with name bo cannot be found."
        await call(world, "RemoveUserFromGroup", GroupName="red", UserName="kai")
        assert (await refusal(world, "RemoveUserFromGroup", GroupName="red", UserName="kai"))[0] == "NoSuchEntity"
        await call(world, "DeleteGroup", GroupName="red")
        for number in range(USER_GROUPS_MAX + 1):
            await call(world, "CreateGroup", GroupName=f"g{number}")
            if number < USER_GROUPS_MAX:
                await call(world, "AddUserToGroup", GroupName=f"g{number}", UserName="kai")
        code, _, message = await refusal(world, "AddUserToGroup", GroupName=f"g{number}", UserName="kai")
        assert (code, message) == ("LimitExceeded", f"Cannot exceed quota for GroupsPerUser: {USER_GROUPS_MAX}")


async def test_another_name_keeps_what_there_is(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        kai = await world.user("kai", allow("iam:GetUser"))
        await call(world, "CreateGroup", GroupName="red")
        await call(world, "CreateUser", UserName="bo")
        await call(world, "AddUserToGroup", GroupName="red", UserName="kai")
        before = (await call(world, "GetUser", UserName="kai"))["User"]
        await call(world, "UpdateUser", UserName="kai", NewUserName="kai2", NewPath="/new/")
        await call(world, "UpdateGroup", GroupName="red", NewGroupName="blue", NewPath="/g/")
        after = (await call(world, "GetUser", UserName="kai2"))["User"]
        assert (after["UserId"], after["Arn"], after["Path"]) == (before["UserId"], f"{ARN}:user/new/kai2", "/new/")
        assert names((await call(world, "GetGroup", GroupName="blue"))["Users"], "UserName") == ["kai2"]
        assert (await refusal(world, "GetUser", UserName="kai"))[0] == "NoSuchEntity"
        same_key = world.keys.lookup(kai.access_key)
        assert same_key is not None and same_key.principal.arn == after["Arn"]
        assert (await call(world, "GetUser", same_key))["User"]["UserName"] == "kai2"  # and its policies hold
        assert (await refusal(world, "UpdateUser", UserName="kai2", NewUserName="BO"))[0] == "EntityAlreadyExists"
        await call(world, "UpdateUser", UserName="kai2", NewUserName="KAI2")  # other letters are no other name
        await call(world, "UpdateUser", UserName="KAI2", NewPath="/")
        assert names((await call(world, "ListUsers"))["Users"], "Arn") == [f"{ARN}:user/KAI2", f"{ARN}:user/bo"]


async def test_lists_by_path_and_in_pages(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        for number in range(3):
            await call(world, "CreateUser", UserName=f"u{number}", Path="/a/" if number else "/")
            await call(world, "CreateGroup", GroupName=f"g{number}", Path="/a/" if number else "/")
        for operation, members, member in (("ListUsers", "Users", "UserName"), ("ListGroups", "Groups", "GroupName")):
            first = await call(world, operation, MaxItems=1, PathPrefix="/a/")
            second = await call(world, operation, MaxItems=1, PathPrefix="/a/", Marker=first["Marker"])
            assert (first["IsTruncated"], second["IsTruncated"]) == (True, False)
            assert [name[1:] for name in names(first[members] + second[members], member)] == ["1", "2"]
        assert (await refusal(world, "ListUsers", Marker="x"))[0] == "ValidationError"
