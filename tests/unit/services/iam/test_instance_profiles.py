"""Instance profiles, as tools make and remove them."""

from pathlib import Path

from tests.unit.control.support import ACCOUNT
from tests.unit.edge.world import ROLE, allow, open_world
from tests.unit.services.iam.support import TRUST, call, names, refusal


async def test_the_life_of_an_instance_profile(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        made = (await call(world, "CreateInstanceProfile", InstanceProfileName="p", Path="/x/"))["InstanceProfile"]
        assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:instance-profile/x/p" and made["InstanceProfileId"].startswith("AIPA")
        assert made["Roles"] == []
        taken = await refusal(world, "CreateInstanceProfile", InstanceProfileName="P")
        assert taken == ("EntityAlreadyExists", 409, "Instance Profile P already exists.")
        await call(world, "TagInstanceProfile", InstanceProfileName="p", Tags=[{"Key": "k", "Value": "v"}])
        for name in ("r", "s"):
            await call(world, "CreateRole", RoleName=name, AssumeRolePolicyDocument=TRUST)
        await call(world, "AddRoleToInstanceProfile", InstanceProfileName="p", RoleName="r")
        full = await refusal(world, "AddRoleToInstanceProfile", InstanceProfileName="p", RoleName="s")
        assert full == ("LimitExceeded", 409, "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
        found = (await call(world, "GetInstanceProfile", InstanceProfileName="p"))["InstanceProfile"]
        assert names(found["Roles"], "RoleName") == ["r"] and found["Tags"] == [{"Key": "k", "Value": "v"}]
        for operation, more in (("ListInstanceProfiles", {"PathPrefix": "/x/"}), ("ListInstanceProfilesForRole", {"RoleName": "r"})):
            assert names((await call(world, operation, **more))["InstanceProfiles"], "InstanceProfileName") == ["p"]
        assert (await call(world, "ListInstanceProfilesForRole", RoleName="s"))["InstanceProfiles"] == []
        for operation, member in (("DeleteRole", {"RoleName": "r"}), ("DeleteInstanceProfile", {"InstanceProfileName": "p"})):
            refused = await refusal(world, operation, **member)
            assert refused == ("DeleteConflict", 409, "Cannot delete entity, must remove roles from instance profile first.")
        await call(world, "RemoveRoleFromInstanceProfile", InstanceProfileName="p", RoleName="r")
        assert (await refusal(world, "RemoveRoleFromInstanceProfile", InstanceProfileName="p", RoleName="r"))[0] == "NoSuchEntity"
        await call(world, "UntagInstanceProfile", InstanceProfileName="p", TagKeys=["k"])
        await call(world, "DeleteInstanceProfile", InstanceProfileName="p")
        gone = await refusal(world, "GetInstanceProfile", InstanceProfileName="p")
        assert gone == ("NoSuchEntity", 404, "Instance Profile p cannot be found.")


async def test_a_role_that_is_put_into_one_is_passed(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await call(world, "CreateInstanceProfile", InstanceProfileName="p")
        await call(world, "CreateRole", RoleName="strong", AssumeRolePolicyDocument=TRUST)
        key = await world.session("maker", allow("iam:AddRoleToInstanceProfile"))
        code, _, message = await refusal(world, "AddRoleToInstanceProfile", key, InstanceProfileName="p", RoleName="strong")
        assert code == "AccessDenied" and f"is not authorized to perform: iam:PassRole on resource: {ROLE}/strong" in message
        key = await world.session("passer", allow(["iam:AddRoleToInstanceProfile", "iam:PassRole"]))
        await call(world, "AddRoleToInstanceProfile", key, InstanceProfileName="p", RoleName="strong")
