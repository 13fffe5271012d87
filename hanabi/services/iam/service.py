"""AWS IAM: the parts that tools need for functions, roles and their policies."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.credentials import Principal
from hanabi.contracts.store import Store
from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.evaluate import IamIdentity
from hanabi.edge.auth.keys import role_id
from hanabi.edge.auth.managed_policies import MANAGED, PREFIX
from hanabi.edge.auth.policy_documents import check_document, read_document
from hanabi.edge.protocols.wording import Wording
from hanabi.edge.service import Call, Operation, Service
from hanabi.errors import ApiError, RevisionMismatch, ValidationError
from hanabi.quotas import IAM_PAGE_ITEMS, ROLE_INLINE_POLICIES_CHARS, ROLE_POLICIES_MAX, ROLE_TAGS_MAX
from hanabi.services.iam.roles import Role, Roles
from hanabi.services.iam.targets import RoleTarget, RoleTargets

Changed = Callable[[str, Role | None], None]  # a role's ARN, and what it is now


class NoSuchEntity(ApiError):
    code = "NoSuchEntity"
    status = 404


class EntityAlreadyExists(ApiError):
    code = "EntityAlreadyExists"
    status = 409


class DeleteConflict(ApiError):
    code = "DeleteConflict"
    status = 409


class LimitExceeded(ApiError):
    code = "LimitExceeded"
    status = 409


class ConcurrentModification(ApiError):
    code = "ConcurrentModification"
    status = 409


def operations(on: RoleTargets, iam: "IamService") -> Mapping[str, Operation[Any]]:
    """All operations of IAM that are served."""
    return {
        "AttachRolePolicy": on.role("AttachRolePolicy", iam.attach_role_policy),
        "CreateRole": on.new("CreateRole", iam.create_role),
        "DeleteRole": on.role("DeleteRole", iam.delete_role),
        "DeleteRolePolicy": on.role("DeleteRolePolicy", iam.delete_role_policy),
        "DetachRolePolicy": on.role("DetachRolePolicy", iam.detach_role_policy),
        "GetPolicy": on.policy("GetPolicy", iam.get_policy),
        "GetRole": on.role("GetRole", iam.get_role),
        "GetRolePolicy": on.role("GetRolePolicy", iam.get_role_policy),
        "ListAttachedRolePolicies": on.role("ListAttachedRolePolicies", iam.list_attached_role_policies),
        "ListInstanceProfilesForRole": on.role("ListInstanceProfilesForRole", iam.list_instance_profiles_for_role),
        "ListRolePolicies": on.role("ListRolePolicies", iam.list_role_policies),
        "ListRoleTags": on.role("ListRoleTags", iam.list_role_tags),
        "ListRoles": on.path("ListRoles", iam.list_roles),
        "PutRolePolicy": on.role("PutRolePolicy", iam.put_role_policy),
        "TagRole": on.role("TagRole", iam.tag_role),
        "UntagRole": on.role("UntagRole", iam.untag_role),
        "UpdateAssumeRolePolicy": on.role("UpdateAssumeRolePolicy", iam.update_assume_role_policy),
        "UpdateRole": on.role("UpdateRole", iam.update_role),
    }


class IamService(Service):
    """The `iam` service. `changed` is called with each role that is created, changed or deleted, by any writer."""

    name = "iam"
    wording = Wording(hides_values=True)  # since 2024: "Value at 'roleName' failed to satisfy constraint"

    def __init__(
        self, store: Store, clock: Clock, account_region: AccountRegion, changed: Changed | None = None, health: Health | None = None
    ) -> None:
        self._clock = clock
        self._roles = Roles(store, f"arn:{account_region.partition}:iam::{account_region.account}:role", clock, health)
        self.operations = operations(RoleTargets(self._roles), self)
        if changed is not None:
            self._roles.listen(lambda old, new: changed((new or old or {})["Arn"], new))

    async def open(self) -> None:
        """Load the roles."""
        await self._roles.open()

    async def close(self) -> None:
        await self._roles.close()

    async def find_role(self, arn: str) -> Role | None:
        """Return the role with exactly this ARN."""
        return self._roles.with_arn(arn)

    def find_identity(self, principal: Principal) -> IamIdentity | None:
        """Return what there is of a caller's role; None if it does not exist."""
        role = self._roles.with_arn(principal.role)
        if role is None:
            return None
        attached = [MANAGED[policy] for policy in role["Attached"] if policy in MANAGED]
        policies = attached + [read_document(text) for text in role["Policies"].values()]
        return IamIdentity(policies, tags={tag["Key"]: tag["Value"] for tag in role["Tags"]})

    # --- roles --------------------------------------------------------------------------------------------------------

    async def create_role(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        name, path, arn = target.name, params.get("Path", "/"), target.arn
        check_document(params["AssumeRolePolicyDocument"], trust=True)
        if "PermissionsBoundary" in params:
            raise ValidationError("Hanabi does not support PermissionsBoundary")
        _check_tags(params.get("Tags", []))
        role: Role = {
            "Path": path,
            "RoleName": name,
            "RoleId": role_id(arn),
            "Arn": arn,
            "CreateDate": int(self._clock.time()),
            "AssumeRolePolicyDocument": params["AssumeRolePolicyDocument"],
            "Description": params.get("Description"),
            "MaxSessionDuration": params.get("MaxSessionDuration", 3600),
            "Tags": params.get("Tags", []),
            "Attached": [],
            "Policies": {},
        }

        def make(old: Role | None) -> Role:
            if self._roles.is_taken(name):
                raise EntityAlreadyExists(f"Role with name {name} already exists.")
            return role

        if self._roles.is_taken(name):  # by a damaged one, perhaps
            make(None)
        await self._commit(name, make)
        return {"Role": _shown(role, whole=True)}

    async def get_role(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        role = self._find(target)
        return {"Role": _shown(role, whole=True) | {"RoleLastUsed": {}}}

    async def list_roles(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        prefix = params.get("PathPrefix", "/")
        roles = [role for role in self._roles if role["Path"].startswith(prefix)]
        page, more = _page(roles, params, lambda role: str(role["RoleName"]))
        return {"Roles": [_shown(role, whole=False) for role in page], **more}

    async def update_role(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        def change(role: Role) -> None:
            role.update({name: params[name] for name in ("Description", "MaxSessionDuration") if name in params})

        await self._change(target, change)
        return {}

    async def delete_role(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        if target.name in self._roles.damaged and call.principal.is_root:  # its path and its tags are not known
            await self._roles.quarantine(target.name)
            return {}

        def remove(now: Role | None) -> None:
            role = _check_same(now, target)
            if role["Attached"]:
                raise DeleteConflict("Cannot delete entity, must detach all policies first.")
            if role["Policies"]:
                raise DeleteConflict("Cannot delete entity, must delete policies first.")

        await self._commit(target.name, remove)
        return {}

    async def update_assume_role_policy(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        check_document(params["PolicyDocument"], trust=True)

        def change(role: Role) -> None:
            role["AssumeRolePolicyDocument"] = params["PolicyDocument"]

        await self._change(target, change)
        return {}

    # --- policies -----------------------------------------------------------------------------------------------------

    async def attach_role_policy(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        arn = params["PolicyArn"]
        _check_policy_arn(arn)
        if not arn.startswith(PREFIX):  # there are no customer-managed policies here
            raise NoSuchEntity(f"Policy {arn} does not exist or is not attachable.")

        def change(role: Role) -> None:
            if arn not in role["Attached"]:
                if len(role["Attached"]) >= ROLE_POLICIES_MAX:
                    raise LimitExceeded(f"Cannot exceed quota for PoliciesPerRole: {ROLE_POLICIES_MAX}")
                role["Attached"].append(arn)

        await self._change(target, change)
        return {}

    async def detach_role_policy(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        arn = params["PolicyArn"]
        _check_policy_arn(arn)

        def change(role: Role) -> None:
            if arn not in role["Attached"]:
                raise NoSuchEntity(f"Policy {arn} was not found.")
            role["Attached"].remove(arn)

        await self._change(target, change)
        return {}

    async def list_attached_role_policies(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        role = self._find(target)
        page, more = _page(sorted(role["Attached"]), params, str)
        return {"AttachedPolicies": [{"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn} for arn in page], **more}

    async def put_role_policy(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        check_document(params["PolicyDocument"], trust=False)

        def change(role: Role) -> None:
            role["Policies"][params["PolicyName"]] = params["PolicyDocument"]
            if sum(map(len, role["Policies"].values())) > ROLE_INLINE_POLICIES_CHARS:
                raise LimitExceeded(f"Maximum policy size of {ROLE_INLINE_POLICIES_CHARS} bytes exceeded for role {role['RoleName']}")

        await self._change(target, change)
        return {}

    async def get_role_policy(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        role = self._find(target)
        document = role["Policies"].get(params["PolicyName"])
        if document is None:
            raise NoSuchEntity(f"The role policy with name {params['PolicyName']} cannot be found.")
        return {"RoleName": role["RoleName"], "PolicyName": params["PolicyName"], "PolicyDocument": quote(document, safe="")}

    async def delete_role_policy(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        def change(role: Role) -> None:
            if role["Policies"].pop(params["PolicyName"], None) is None:
                raise NoSuchEntity(f"The role policy with name {params['PolicyName']} cannot be found.")

        await self._change(target, change)
        return {}

    async def list_role_policies(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        role = self._find(target)
        page, more = _page(sorted(role["Policies"]), params, str)
        return {"PolicyNames": page, **more}

    async def get_policy(self, call: Call, params: dict[str, Any], arn: str) -> dict[str, Any]:
        _check_policy_arn(arn)
        if arn not in MANAGED:
            raise NoSuchEntity(f"Policy {arn} was not found.")
        path, _, name = arn.removeprefix("arn:aws:iam::aws:policy").rpartition("/")
        policy = {"PolicyName": name, "Arn": arn, "Path": f"{path}/", "DefaultVersionId": "v1", "IsAttachable": True}
        return {"Policy": policy | {"PolicyId": role_id(arn).replace("AROA", "ANPA", 1)}}

    # --- the rest -----------------------------------------------------------------------------------------------------

    async def tag_role(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        def change(role: Role) -> None:
            tags = {tag["Key"]: tag for tag in role["Tags"]} | {tag["Key"]: tag for tag in params["Tags"]}
            role["Tags"] = list(tags.values())
            _check_tags(role["Tags"])

        await self._change(target, change)
        return {}

    async def untag_role(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        def change(role: Role) -> None:
            role["Tags"] = [tag for tag in role["Tags"] if tag["Key"] not in params["TagKeys"]]

        await self._change(target, change)
        return {}

    async def list_role_tags(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        role = self._find(target)
        page, more = _page(sorted(role["Tags"], key=lambda tag: str(tag["Key"])), params, lambda tag: str(tag["Key"]))
        return {"Tags": page, **more}

    async def list_instance_profiles_for_role(self, call: Call, params: dict[str, Any], target: RoleTarget) -> dict[str, Any]:
        self._find(target)
        return {"InstanceProfiles": [], "IsTruncated": False}

    def _find(self, target: RoleTarget) -> Role:
        return _check_same(self._roles.get(target.name), target)

    async def _change(self, target: RoleTarget, change: Callable[[Role], None]) -> None:
        def apply(now: Role | None) -> Role:
            role: Role = json.loads(json.dumps(_check_same(now, target)))  # what there is stays as it is if the change is refused
            change(role)
            return role

        await self._commit(target.name, apply)

    async def _commit(self, name: str, change: Callable[[Role | None], Role | None]) -> None:
        try:
            await self._roles.commit(name, change)
        except RevisionMismatch:
            raise ConcurrentModification("The role is being changed by too many at once. Please try again.") from None


def _check_same(role: Role | None, target: RoleTarget) -> Role:
    """Return the authorised role if it still exists, and not another one with its name."""
    if role is None or role["Arn"] != target.arn:
        raise NoSuchEntity(f"The role with name {target.name} cannot be found.")
    return role


def _shown(role: Role, *, whole: bool) -> dict[str, Any]:
    """Describe a role as IAM does; lists leave out some members."""
    shown = {name: value for name, value in role.items() if name not in ("Attached", "Policies", "Tags")}
    shown["AssumeRolePolicyDocument"] = quote(role["AssumeRolePolicyDocument"], safe="")
    return shown | {"Tags": role["Tags"]} if whole and role["Tags"] else shown


def _page(items: list[Any], params: dict[str, Any], name: Callable[[Any], str]) -> tuple[list[Any], dict[str, Any]]:
    """Take the page of Marker and MaxItems; returns it with the members about the next page."""
    if params.get("Marker"):
        try:
            after = base64.urlsafe_b64decode(params["Marker"].encode()).decode()
        except ValueError:
            raise ValidationError("Invalid Marker.") from None
        items = [item for item in items if name(item) > after]
    size = params.get("MaxItems", IAM_PAGE_ITEMS)
    if len(items) <= size:
        return items, {"IsTruncated": False}
    page = items[:size]
    return page, {"IsTruncated": True, "Marker": base64.urlsafe_b64encode(name(page[-1]).encode()).decode()}


def _check_policy_arn(arn: str) -> None:
    if not arn.startswith("arn:") or arn.count(":") < 5:
        raise ValidationError(f"ARN {arn} is not valid.")


def _check_tags(tags: list[dict[str, str]]) -> None:
    if len(tags) > ROLE_TAGS_MAX:
        raise LimitExceeded(f"Cannot exceed quota for TagsPerRole: {ROLE_TAGS_MAX}")
    if len({tag["Key"].lower() for tag in tags}) < len(tags):
        raise ValidationError("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
