"""The account: its alias, its summary, all that it has, and what it has not."""

from pathlib import Path

import pytest

from tests.unit.control.support import ACCOUNT
from tests.unit.edge.world import allow, open_world
from tests.unit.services.iam.support import TRUST, call, document, names, refusal


async def test_the_alias(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        assert (await call(world, "ListAccountAliases"))["AccountAliases"] == []
        await call(world, "CreateAccountAlias", AccountAlias="ours")
        taken = await refusal(world, "CreateAccountAlias", AccountAlias="ours")
        assert taken == ("EntityAlreadyExists", 409, "The account alias ours already exists.")
        await call(world, "CreateAccountAlias", AccountAlias="theirs")  # an account has one
        assert (await call(world, "ListAccountAliases"))["AccountAliases"] == ["theirs"]
        assert (await refusal(world, "DeleteAccountAlias", AccountAlias="ours"))[2] == "The account alias ours cannot be found."
        await call(world, "DeleteAccountAlias", AccountAlias="theirs")
        assert (await call(world, "ListAccountAliases"))["AccountAliases"] == []


async def test_all_that_there_is(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        own = await world.policy("own", allow("*"))
        await world.user("kai", allow("s3:*"))
        await call(world, "CreateGroup", GroupName="g")
        await call(world, "AddUserToGroup", GroupName="g", UserName="kai")
        await call(world, "PutGroupPolicy", GroupName="g", PolicyName="p", PolicyDocument=document())
        await call(world, "CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST, PermissionsBoundary=own)
        await call(world, "AttachRolePolicy", RoleName="r", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
        summary = (await call(world, "GetAccountSummary"))["SummaryMap"]
        assert [summary[name] for name in ("Users", "Groups", "Roles", "Policies", "InstanceProfiles")] == [1, 1, 1, 1, 0]
        assert (summary["AccessKeysPerUserQuota"], summary["PolicyVersionsInUse"], summary["MFADevices"]) == (2, 2, 0)
        found = await call(world, "GetAccountAuthorizationDetails")
        (user,), (group,), (role,) = found["UserDetailList"], found["GroupDetailList"], found["RoleDetailList"]
        assert (user["GroupList"], names(user["UserPolicyList"], "PolicyName")) == (["g"], ["p"])
        assert names(group["GroupPolicyList"], "PolicyName") == ["p"]
        assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == own and "Description" not in role
        assert names(role["AttachedManagedPolicies"], "PolicyName") == ["AdministratorAccess"]
        assert names(found["Policies"], "PolicyName") == ["own", "AdministratorAccess"]
        assert all(policy["PolicyVersionList"][0]["Document"] for policy in found["Policies"])
        only = await call(world, "GetAccountAuthorizationDetails", Filter=["Role"])
        assert [len(only[name]) for name in ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")] == [0, 0, 1, 0]
        first = await call(world, "GetAccountAuthorizationDetails", MaxItems=2)
        rest = await call(world, "GetAccountAuthorizationDetails", Marker=first["Marker"])
        assert (first["IsTruncated"], sum(len(rest[name]) for name in ("UserDetailList", "RoleDetailList", "Policies"))) == (True, 3)


@pytest.mark.parametrize(
    ("operation", "member"),
    [
        ("ListMFADevices", "MFADevices"),
        ("ListSSHPublicKeys", "SSHPublicKeys"),
        ("ListServiceSpecificCredentials", "ServiceSpecificCredentials"),
        ("ListSigningCertificates", "Certificates"),
        ("ListOpenIDConnectProviders", "OpenIDConnectProviderList"),
        ("ListSAMLProviders", "SAMLProviderList"),
        ("ListServerCertificates", "ServerCertificateMetadataList"),
        ("ListVirtualMFADevices", "VirtualMFADevices"),
    ],
)
async def test_what_nobody_has(tmp_path: Path, operation: str, member: str) -> None:
    async with open_world(tmp_path) as world:
        await call(world, "CreateUser", UserName="kai")
        assert (await call(world, operation, UserName="kai"))[member] == []
        assert (await call(world, operation))[member] == []


async def test_there_are_no_passwords(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await call(world, "CreateUser", UserName="kai")
        for operation in ("GetLoginProfile", "DeleteLoginProfile"):
            code, status, message = await refusal(world, operation, UserName="kai")
            assert (code, status, message) == ("NoSuchEntity", 404, "Login Profile for User kai cannot be found.")
            assert (await refusal(world, operation, UserName="bo"))[2] == "The user with name bo cannot be found."
        code, _, message = await refusal(world, "GetAccountPasswordPolicy")
        assert (code, message) == ("NoSuchEntity", f"The Password Policy with domain name {ACCOUNT} cannot be found.")
        assert (await refusal(world, "CreateLoginProfile", UserName="kai", Password="x"))[1] == 501
