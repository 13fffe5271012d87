"""Operations on roles."""

import functools
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from hanabi.base.clock import Clock
from hanabi.edge.auth.keys import role_id
from hanabi.edge.auth.policy_documents import check_document
from hanabi.edge.service import Call
from hanabi.quotas import ROLE_TRUST_POLICY_CHARS
from hanabi.services.iam.directory import Directory, count_chars
from hanabi.services.iam.entities import Entity, EntityTarget
from hanabi.services.iam.errors import DeleteConflict, LimitExceeded, UnmodifiableEntity
from hanabi.services.iam.pages import check_tags

LINKED_PATH = "/aws-service-role/"
_HIDDEN = frozenset({"Attached", "Policies", "Tags", "Boundary"})


class RoleOperations:
    """The operations. Service-linked roles are AWS's: they are not changed by these."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._roles = directory.roles
        self._clock = clock

    async def create_role(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        _check_trust(params["AssumeRolePolicyDocument"])
        boundary = params.get("PermissionsBoundary")
        if boundary:
            self._directory.check_attachable(boundary, boundary=True)
        role = self._roles.make(
            target,
            params.get("Path", "/"),
            self._clock.time(),
            RoleId=role_id(target.arn),
            AssumeRolePolicyDocument=params["AssumeRolePolicyDocument"],
            Description=params.get("Description"),
            MaxSessionDuration=params.get("MaxSessionDuration", 3600),
            Tags=check_tags(params.get("Tags", [])),
            Boundary=boundary,
        )
        await self._roles.create(role)
        shown = describe_role(role, tags=True)
        if "MaxSessionDuration" not in params:
            del shown["MaxSessionDuration"]
        return {"Role": shown}

    async def get_role(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        role = self._roles.find(target)
        return {"Role": describe_role(role, tags=True, boundary=True) | {"RoleLastUsed": {}}}

    async def list_roles(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        found, more = self._roles.page(params)
        return {"Roles": [describe_role(role) for role in found], **more}

    async def update_role(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        def change(role: Entity) -> None:
            role.update({name: params[name] for name in ("Description", "MaxSessionDuration") if name in params})

        await self._change(target, change)
        return {}

    async def update_role_description(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        await self.update_role(call, {"Description": params["Description"]}, target)
        return {"Role": describe_role(self._roles.find(target))}

    async def update_assume_role_policy(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        _check_trust(params["PolicyDocument"])
        await self._change(target, lambda role: role.update(AssumeRolePolicyDocument=params["PolicyDocument"]))
        return {}

    async def delete_role(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        if target.name in self._roles.damaged and call.principal.is_root:  # its path and its tags are not known
            await self._roles.quarantine(target.name)
            return {}

        def check(role: Entity) -> None:
            check_modifiable(role)
            if self._directory.profiles_of(role["RoleName"]):
                raise DeleteConflict("Cannot delete entity, must remove roles from instance profile first.")
            check_empty(role)

        await self._roles.remove(target, check)
        return {}

    async def _change(self, target: EntityTarget, change: Callable[[Entity], None]) -> None:
        def apply(role: Entity) -> None:
            check_modifiable(role)
            change(role)

        await self._roles.change(target, apply)


def check_modifiable(entity: Entity) -> None:
    """Raise `UnmodifiableEntity` for a service-linked role."""
    if "RoleName" in entity and entity["Path"].startswith(LINKED_PATH):
        raise UnmodifiableEntity(
            f"Cannot perform the operation on the protected role '{entity['RoleName']}' - this role is only modifiable by AWS"
        )


def check_empty(entity: Entity) -> None:
    """Raise `DeleteConflict` for what still has policies."""
    if entity["Attached"]:
        raise DeleteConflict("Cannot delete entity, must detach all policies first.")
    if entity["Policies"]:
        raise DeleteConflict("Cannot delete entity, must delete policies first.")


def describe_role(role: Entity, *, tags: bool = False, boundary: bool = False) -> dict[str, Any]:
    """Describe a role as IAM does; lists leave out some members."""
    shown = {name: value for name, value in role.items() if name not in _HIDDEN}
    shown["AssumeRolePolicyDocument"] = quote_document(role["AssumeRolePolicyDocument"])
    return shown | describe_extras(role, tags=tags, boundary=boundary)


def describe_extras(entity: Entity, *, tags: bool, boundary: bool) -> dict[str, Any]:
    """Describe the tags and the permissions boundary of a role or user, if it has any."""
    shown: dict[str, Any] = {"Tags": entity["Tags"]} if tags and entity["Tags"] else {}
    if boundary and entity.get("Boundary"):
        shown["PermissionsBoundary"] = {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": entity["Boundary"]}
    return shown


quote_document = functools.partial(quote, safe="")  # RFC 3986, as IAM answers documents


def _check_trust(text: str) -> None:
    check_document(text, trust=True)
    if count_chars(text) > ROLE_TRUST_POLICY_CHARS:
        raise LimitExceeded(f"Cannot exceed quota for ACLSizePerRole: {ROLE_TRUST_POLICY_CHARS}")
