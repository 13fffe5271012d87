"""Operations on the account as a whole: its alias, its summary, all that it has, and lists of what nobody can have here."""

from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.store import Store
from hanabi.control.registry import Kind, Registry
from hanabi.edge.service import Call
from hanabi.quotas import (
    ATTACHED_POLICIES_MAX,
    GROUP_INLINE_POLICIES_CHARS,
    MANAGED_POLICY_CHARS,
    MANAGED_POLICY_VERSIONS_MAX,
    ROLE_INLINE_POLICIES_CHARS,
    ROLE_TRUST_POLICY_CHARS,
    USER_ACCESS_KEYS_MAX,
    USER_GROUPS_MAX,
    USER_INLINE_POLICIES_CHARS,
)
from hanabi.services.iam.directory import Directory
from hanabi.services.iam.entities import Entity, EntityTarget
from hanabi.services.iam.errors import EntityAlreadyExists, NoSuchEntity
from hanabi.services.iam.instance_profiles import InstanceProfileOperations
from hanabi.services.iam.pages import page
from hanabi.services.iam.policies import ManagedPolicyOperations, describe_versions
from hanabi.services.iam.principal_policies import describe_attached
from hanabi.services.iam.roles import describe_extras, describe_role, quote_document
from hanabi.services.iam.users import describe_group, describe_user

Alias = dict[str, Any]
ALIAS: Kind[Alias] = Kind("account alias", "iam/account/", lambda name, document, parts: document, lambda alias: alias)
_NAME = "alias"  # of the only document


class AccountOperations:
    """The operations."""

    def __init__(
        self,
        directory: Directory,
        policies: ManagedPolicyOperations,
        profiles: InstanceProfileOperations,
        store: Store,
        clock: Clock,
        health: Health | None = None,
    ) -> None:
        self._directory = directory
        self._policies = policies
        self._profiles = profiles
        self._aliases: Registry[Alias] = Registry(store, ALIAS, clock, health)

    async def open(self) -> None:
        await self._aliases.open()

    async def close(self) -> None:
        await self._aliases.close()

    # --- the alias ----------------------------------------------------------------------------------------------------

    async def create_account_alias(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        def change(old: Alias | None) -> Alias:
            if old is not None and old["AccountAlias"] == params["AccountAlias"]:
                raise EntityAlreadyExists(f"The account alias {params['AccountAlias']} already exists.")
            return {"AccountAlias": params["AccountAlias"]}

        await self._aliases.commit(_NAME, change)
        return {}

    async def delete_account_alias(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        def change(old: Alias | None) -> None:
            if old is None or old["AccountAlias"] != params["AccountAlias"]:
                raise NoSuchEntity(f"The account alias {params['AccountAlias']} cannot be found.")

        await self._aliases.commit(_NAME, change)
        return {}

    async def list_account_aliases(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        alias = self._aliases.get(_NAME)
        return {"AccountAliases": [alias["AccountAlias"]] if alias else [], "IsTruncated": False}

    # --- all there is -------------------------------------------------------------------------------------------------

    async def get_account_summary(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        counts = {
            "Users": len(self._directory.users.names()),
            "Groups": len(self._directory.groups.names()),
            "Roles": len(self._directory.roles.names()),
            "Policies": len(self._directory.policies.names()),
            "InstanceProfiles": len(self._directory.profiles.names()),
            "PolicyVersionsInUse": len(self._directory.used() | self._directory.used(boundary=True)),
            "AccountAccessKeysPresent": 1,
        }
        quotas = {
            "AccessKeysPerUserQuota": USER_ACCESS_KEYS_MAX,
            "AttachedPoliciesPerGroupQuota": ATTACHED_POLICIES_MAX,
            "AttachedPoliciesPerRoleQuota": ATTACHED_POLICIES_MAX,
            "AttachedPoliciesPerUserQuota": ATTACHED_POLICIES_MAX,
            "AssumeRolePolicySizeQuota": ROLE_TRUST_POLICY_CHARS,
            "GroupPolicySizeQuota": GROUP_INLINE_POLICIES_CHARS,
            "GroupsPerUserQuota": USER_GROUPS_MAX,
            "PolicySizeQuota": MANAGED_POLICY_CHARS,
            "RolePolicySizeQuota": ROLE_INLINE_POLICIES_CHARS,
            "UserPolicySizeQuota": USER_INLINE_POLICIES_CHARS,
            "VersionsPerPolicyQuota": MANAGED_POLICY_VERSIONS_MAX,
        }
        return {"SummaryMap": counts | quotas | dict.fromkeys(_ABSENT, 0)}

    async def get_account_authorization_details(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        wanted = set(params.get("Filter") or ("User", "Group", "Role", "LocalManagedPolicy", "AWSManagedPolicy"))
        items: list[tuple[str, str, dict[str, Any]]] = []  # list, name, description
        if "User" in wanted:
            items += [("UserDetailList", user["UserName"], self._user(user)) for user in self._directory.users]
        if "Group" in wanted:
            items += [("GroupDetailList", group["GroupName"], self._group(group)) for group in self._directory.groups]
        if "Role" in wanted:
            items += [("RoleDetailList", role["RoleName"], self._role(role)) for role in self._directory.roles]
        if "LocalManagedPolicy" in wanted:
            policies = ((policy, self._policies.describe(policy)) for policy in self._directory.policies)
            items += [("Policies", policy["Arn"], shown | {"PolicyVersionList": describe_versions(policy)}) for policy, shown in policies]
        if "AWSManagedPolicy" in wanted:
            used = self._directory.used() | self._directory.used(boundary=True)
            items += [("Policies", arn, shown) for arn, shown in self._policies.describe_managed_of(used).items()]
        found, more = page(sorted(items, key=_key), params, _key)
        answer: dict[str, Any] = {"UserDetailList": [], "GroupDetailList": [], "RoleDetailList": [], "Policies": []}
        for name, _, shown in found:
            answer[name].append(shown)
        return answer | more

    def _user(self, user: Entity) -> dict[str, Any]:
        groups = [group["GroupName"] for group in self._directory.groups_of(user)]
        return describe_user(user, tags=True, boundary=True) | {"UserPolicyList": _inline(user), "GroupList": groups} | _attached(user)

    def _group(self, group: Entity) -> dict[str, Any]:
        return describe_group(group) | {"GroupPolicyList": _inline(group)} | _attached(group)

    def _role(self, role: Entity) -> dict[str, Any]:
        shown = describe_role(role)
        for hidden in ("Description", "MaxSessionDuration"):
            shown.pop(hidden, None)
        profiles = [self._profiles.describe(profile) for profile in self._directory.profiles_of(role["RoleName"])]
        shown |= {"RolePolicyList": _inline(role), "InstanceProfileList": profiles, "RoleLastUsed": {}}
        return shown | _attached(role) | describe_extras(role, tags=True, boundary=True)

    # --- what nobody has here -----------------------------------------------------------------------------------------

    async def list_nothing_of_user(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        """MFA devices, certificates, SSH keys and the like: no user has any."""
        if target.name:
            self._directory.users.find(target)
        return {_EMPTY[call.operation]: [], "IsTruncated": False}

    async def list_nothing(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        return {_EMPTY[call.operation]: [], "IsTruncated": False}

    async def no_login_profile(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        """There is no console, and no passwords."""
        self._directory.users.find(target)
        raise NoSuchEntity(f"Login Profile for User {target.name} cannot be found.")

    async def no_password_policy(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        raise NoSuchEntity(f"The Password Policy with domain name {self._directory.account} cannot be found.")


_ABSENT = (
    *("AccountMFAEnabled", "AccountPasswordPresent", "AccountSigningCertificatesPresent", "MFADevices", "MFADevicesInUse"),
    *("Providers", "ServerCertificates"),
)
_EMPTY = {
    "ListMFADevices": "MFADevices",
    "ListOpenIDConnectProviders": "OpenIDConnectProviderList",
    "ListSAMLProviders": "SAMLProviderList",
    "ListSSHPublicKeys": "SSHPublicKeys",
    "ListServerCertificates": "ServerCertificateMetadataList",
    "ListServiceSpecificCredentials": "ServiceSpecificCredentials",
    "ListSigningCertificates": "Certificates",
    "ListVirtualMFADevices": "VirtualMFADevices",
}


def _key(item: tuple[str, str, dict[str, Any]]) -> str:
    return f"{item[0]}/{item[1]}"


def _inline(entity: Entity) -> list[dict[str, str]]:
    return [{"PolicyName": name, "PolicyDocument": quote_document(text)} for name, text in entity["Policies"].items()]


def _attached(entity: Entity) -> dict[str, Any]:
    return {"AttachedManagedPolicies": describe_attached(sorted(entity["Attached"]))}
