"""The table of IAM's operations: what each is about, and its handler. `python -m hanabi.services` prints it."""

from collections.abc import Mapping
from typing import Any

from hanabi.edge.service import Operation
from hanabi.services.iam.access_keys import AccessKeyOperations
from hanabi.services.iam.account import AccountOperations
from hanabi.services.iam.entities import GROUP, POLICY, PROFILE, ROLE, USER
from hanabi.services.iam.instance_profiles import InstanceProfileOperations
from hanabi.services.iam.policies import ManagedPolicyOperations
from hanabi.services.iam.principal_policies import PrincipalPolicyOperations
from hanabi.services.iam.roles import RoleOperations
from hanabi.services.iam.service_linked_roles import ServiceLinkedRoleOperations
from hanabi.services.iam.simulate import SimulationOperations
from hanabi.services.iam.targets import EntityTargets
from hanabi.services.iam.users import UserOperations


def operations(
    on: EntityTargets,
    access_keys: AccessKeyOperations,
    account: AccountOperations,
    linked: ServiceLinkedRoleOperations,
    policies: ManagedPolicyOperations,
    principals: PrincipalPolicyOperations,
    profiles: InstanceProfileOperations,
    roles: RoleOperations,
    simulations: SimulationOperations,
    users: UserOperations,
) -> Mapping[str, Operation[Any]]:
    return {
        **_of_principals(on, principals),
        **_of_policies(on, policies),
        **_of_users(on, users, access_keys),
        **_of_account(on, account, simulations),
        "AddRoleToInstanceProfile": on.pair("AddRoleToInstanceProfile", profiles.add_role_to_instance_profile, PROFILE, ROLE),
        "CreateInstanceProfile": on.new("CreateInstanceProfile", profiles.create_instance_profile, PROFILE),
        "CreateRole": on.new("CreateRole", roles.create_role, ROLE),
        "CreateServiceLinkedRole": on.service_linked("CreateServiceLinkedRole", linked.create_service_linked_role),
        "DeleteInstanceProfile": on.entity("DeleteInstanceProfile", profiles.delete_instance_profile, PROFILE),
        "DeleteRole": on.entity("DeleteRole", roles.delete_role, ROLE),
        "DeleteServiceLinkedRole": on.entity("DeleteServiceLinkedRole", linked.delete_service_linked_role, ROLE),
        "GetInstanceProfile": on.entity("GetInstanceProfile", profiles.get_instance_profile, PROFILE),
        "GetRole": on.entity("GetRole", roles.get_role, ROLE),
        "GetServiceLinkedRoleDeletionStatus": on.task("GetServiceLinkedRoleDeletionStatus", linked.get_deletion_status),
        "ListInstanceProfiles": on.path("ListInstanceProfiles", profiles.list_instance_profiles, PROFILE),
        "ListInstanceProfilesForRole": on.entity("ListInstanceProfilesForRole", profiles.list_instance_profiles_for_role, ROLE),
        "ListRoles": on.path("ListRoles", roles.list_roles, ROLE),
        "RemoveRoleFromInstanceProfile": on.pair(
            "RemoveRoleFromInstanceProfile", profiles.remove_role_from_instance_profile, PROFILE, ROLE
        ),
        "UpdateAssumeRolePolicy": on.entity("UpdateAssumeRolePolicy", roles.update_assume_role_policy, ROLE),
        "UpdateRole": on.entity("UpdateRole", roles.update_role, ROLE),
        "UpdateRoleDescription": on.entity("UpdateRoleDescription", roles.update_role_description, ROLE),
    }


def _of_principals(on: EntityTargets, principals: PrincipalPolicyOperations) -> dict[str, Operation[Any]]:
    """Policies of roles, users and groups; boundaries of roles and users; tags of all but groups."""
    table: dict[str, Operation[Any]] = {}
    for kind, name in ((ROLE, "Role"), (USER, "User"), (GROUP, "Group")):
        for operation, handler in (
            (f"Attach{name}Policy", principals.attach),
            (f"Delete{name}Policy", principals.delete),
            (f"Detach{name}Policy", principals.detach),
            (f"Get{name}Policy", principals.get),
            (f"ListAttached{name}Policies", principals.list_attached),
            (f"List{name}Policies", principals.list_inline),
            (f"Put{name}Policy", principals.put),
        ):
            table[operation] = on.entity(operation, handler, kind)
        if kind is not GROUP:
            for operation, handler in (
                (f"Delete{name}PermissionsBoundary", principals.delete_boundary),
                (f"Put{name}PermissionsBoundary", principals.put_boundary),
            ):
                table[operation] = on.entity(operation, handler, kind)
    for kind, name in ((ROLE, "Role"), (USER, "User"), (PROFILE, "InstanceProfile"), (POLICY, "Policy")):
        for operation, handler in (
            (f"List{name}Tags", principals.list_tags),
            (f"Tag{name}", principals.tag),
            (f"Untag{name}", principals.untag),
        ):
            table[operation] = on.policy(operation, handler) if kind is POLICY else on.entity(operation, handler, kind)
    return table


def _of_policies(on: EntityTargets, policies: ManagedPolicyOperations) -> dict[str, Operation[Any]]:
    return {
        "CreatePolicy": on.new("CreatePolicy", policies.create_policy, POLICY),
        "CreatePolicyVersion": on.policy("CreatePolicyVersion", policies.create_policy_version),
        "DeletePolicy": on.policy("DeletePolicy", policies.delete_policy),
        "DeletePolicyVersion": on.policy("DeletePolicyVersion", policies.delete_policy_version),
        "GetPolicy": on.policy("GetPolicy", policies.get_policy),
        "GetPolicyVersion": on.policy("GetPolicyVersion", policies.get_policy_version),
        "ListEntitiesForPolicy": on.policy("ListEntitiesForPolicy", policies.list_entities_for_policy),
        "ListPolicies": on.path("ListPolicies", policies.list_policies, POLICY),
        "ListPolicyVersions": on.policy("ListPolicyVersions", policies.list_policy_versions),
        "SetDefaultPolicyVersion": on.policy("SetDefaultPolicyVersion", policies.set_default_policy_version),
    }


def _of_users(on: EntityTargets, users: UserOperations, access_keys: AccessKeyOperations) -> dict[str, Operation[Any]]:
    return {
        "AddUserToGroup": on.pair("AddUserToGroup", users.add_user_to_group, GROUP, USER),
        "CreateAccessKey": on.own("CreateAccessKey", access_keys.create_access_key),
        "CreateGroup": on.new("CreateGroup", users.create_group, GROUP),
        "CreateUser": on.new("CreateUser", users.create_user, USER),
        "DeleteAccessKey": on.own("DeleteAccessKey", access_keys.delete_access_key),
        "DeleteGroup": on.entity("DeleteGroup", users.delete_group, GROUP),
        "DeleteUser": on.entity("DeleteUser", users.delete_user, USER),
        "GetAccessKeyLastUsed": on.access_key("GetAccessKeyLastUsed", access_keys.get_access_key_last_used),
        "GetGroup": on.entity("GetGroup", users.get_group, GROUP),
        "GetUser": on.own("GetUser", users.get_user),
        "ListAccessKeys": on.own("ListAccessKeys", access_keys.list_access_keys),
        "ListGroups": on.path("ListGroups", users.list_groups, GROUP),
        "ListGroupsForUser": on.entity("ListGroupsForUser", users.list_groups_for_user, USER),
        "ListUsers": on.path("ListUsers", users.list_users, USER),
        "RemoveUserFromGroup": on.pair("RemoveUserFromGroup", users.remove_user_from_group, GROUP, USER),
        "UpdateAccessKey": on.own("UpdateAccessKey", access_keys.update_access_key),
        "UpdateGroup": on.renamed("UpdateGroup", users.update_group, GROUP),
        "UpdateUser": on.renamed("UpdateUser", users.update_user, USER),
    }


def _of_account(on: EntityTargets, account: AccountOperations, simulations: SimulationOperations) -> dict[str, Operation[Any]]:
    nothing = ("ListOpenIDConnectProviders", "ListSAMLProviders", "ListServerCertificates", "ListVirtualMFADevices")
    nothing_of_user = ("ListMFADevices", "ListSSHPublicKeys", "ListServiceSpecificCredentials", "ListSigningCertificates")
    return {
        **{name: on.account(name, account.list_nothing) for name in nothing},
        **{name: on.own(name, account.list_nothing_of_user) for name in nothing_of_user},
        "CreateAccountAlias": on.account("CreateAccountAlias", account.create_account_alias),
        "DeleteAccountAlias": on.account("DeleteAccountAlias", account.delete_account_alias),
        "DeleteLoginProfile": on.own("DeleteLoginProfile", account.no_login_profile),
        "GetAccountAuthorizationDetails": on.account("GetAccountAuthorizationDetails", account.get_account_authorization_details),
        "GetAccountPasswordPolicy": on.account("GetAccountPasswordPolicy", account.no_password_policy),
        "GetAccountSummary": on.account("GetAccountSummary", account.get_account_summary),
        "GetContextKeysForCustomPolicy": on.account("GetContextKeysForCustomPolicy", simulations.get_context_keys_for_custom_policy),
        "GetContextKeysForPrincipalPolicy": on.principal(
            "GetContextKeysForPrincipalPolicy", simulations.get_context_keys_for_principal_policy
        ),
        "GetLoginProfile": on.own("GetLoginProfile", account.no_login_profile),
        "ListAccountAliases": on.account("ListAccountAliases", account.list_account_aliases),
        "SimulateCustomPolicy": on.account("SimulateCustomPolicy", simulations.simulate_custom_policy),
        "SimulatePrincipalPolicy": on.principal("SimulatePrincipalPolicy", simulations.simulate_principal_policy),
    }
