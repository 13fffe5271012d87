"""Operations on the policies of roles, users and groups: attached and inline ones, permissions boundaries. And tags, of all kinds."""

from collections.abc import Callable
from typing import Any

from hanabi.edge.auth.policy_documents import check_document
from hanabi.edge.service import Call
from hanabi.quotas import ATTACHED_POLICIES_MAX, GROUP_INLINE_POLICIES_CHARS, ROLE_INLINE_POLICIES_CHARS, USER_INLINE_POLICIES_CHARS
from hanabi.services.iam.directory import Directory, check_policy_arn, count_chars
from hanabi.services.iam.entities import POLICY, Entities, Entity, EntityTarget
from hanabi.services.iam.errors import LimitExceeded, NoSuchEntity
from hanabi.services.iam.pages import add_tags, page
from hanabi.services.iam.roles import check_modifiable, quote_document

_INLINE_CHARS = {"role": ROLE_INLINE_POLICIES_CHARS, "user": USER_INLINE_POLICIES_CHARS, "group": GROUP_INLINE_POLICIES_CHARS}


class PrincipalPolicyOperations:
    """The operations, each for all kinds that have it: the target says which."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        parts = (directory.roles, directory.users, directory.groups, directory.policies, directory.profiles)
        self._entities: dict[str, Entities] = {each.entity_kind.name: each for each in parts}

    # --- attached policies --------------------------------------------------------------------------------------------

    async def attach(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        arn = params["PolicyArn"]
        self._directory.check_attachable(arn)

        def change(entity: Entity) -> None:
            if arn not in entity["Attached"]:
                if len(entity["Attached"]) >= ATTACHED_POLICIES_MAX:
                    raise LimitExceeded(f"Cannot exceed quota for PoliciesPer{target.kind.label.title()}: {ATTACHED_POLICIES_MAX}")
                entity["Attached"].append(arn)

        await self._change(target, change)
        return {}

    async def detach(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        arn = params["PolicyArn"]
        check_policy_arn(arn)

        def change(entity: Entity) -> None:
            if arn not in entity["Attached"]:
                raise NoSuchEntity(f"Policy {arn} was not found.")
            entity["Attached"].remove(arn)

        await self._change(target, change)
        return {}

    async def list_attached(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        prefix = params.get("PathPrefix", "/")
        arns = [arn for arn in sorted(self._find(target)["Attached"]) if path_of(arn).startswith(prefix)]
        found, more = page(arns, params)
        return {"AttachedPolicies": describe_attached(found), **more}

    # --- inline policies ----------------------------------------------------------------------------------------------

    async def put(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        check_document(params["PolicyDocument"], trust=False)

        def change(entity: Entity) -> None:
            entity["Policies"][params["PolicyName"]] = params["PolicyDocument"]
            most = _INLINE_CHARS[target.kind.name]
            if sum(map(count_chars, entity["Policies"].values())) > most:
                raise LimitExceeded(f"Maximum policy size of {most} bytes exceeded for {target.kind.label} {target.name}")

        await self._change(target, change)
        return {}

    async def get(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        document = self._find(target)["Policies"].get(params["PolicyName"])
        if document is None:
            raise self._no_policy(target, params)
        return {target.kind.member: target.name, "PolicyName": params["PolicyName"], "PolicyDocument": quote_document(document)}

    async def delete(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        def change(entity: Entity) -> None:
            if entity["Policies"].pop(params["PolicyName"], None) is None:
                raise self._no_policy(target, params)

        await self._change(target, change)
        return {}

    async def list_inline(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        found, more = page(sorted(self._find(target)["Policies"]), params)
        return {"PolicyNames": found, **more}

    def _no_policy(self, target: EntityTarget, params: dict[str, Any]) -> NoSuchEntity:
        return NoSuchEntity(f"The {target.kind.label} policy with name {params['PolicyName']} cannot be found.")

    # --- permissions boundaries ---------------------------------------------------------------------------------------

    async def put_boundary(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        arn = params["PermissionsBoundary"]
        self._directory.check_attachable(arn, boundary=True)
        await self._change(target, lambda entity: entity.update(Boundary=arn))
        return {}

    async def delete_boundary(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        def change(entity: Entity) -> None:
            if entity.pop("Boundary", None) is None:
                raise NoSuchEntity(f"{target.kind.label.title()} {target.name} does not have a permissions boundary")

        await self._change(target, change)
        return {}

    # --- tags ---------------------------------------------------------------------------------------------------------

    async def tag(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        await self._change(target, lambda entity: entity.update(Tags=add_tags(entity["Tags"], params["Tags"])))
        return {}

    async def untag(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        gone = {key.lower() for key in params["TagKeys"]}
        await self._change(target, lambda entity: entity.update(Tags=[tag for tag in entity["Tags"] if tag["Key"].lower() not in gone]))
        return {}

    async def list_tags(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        tags = sorted(self._find(target)["Tags"], key=lambda tag: str(tag["Key"]))
        found, more = page(tags, params, lambda tag: str(tag["Key"]))
        return {"Tags": found, **more}

    def _find(self, target: EntityTarget) -> Entity:
        return self._entities[target.kind.name].find(target)

    async def _change(self, target: EntityTarget, change: Callable[[Entity], None]) -> None:
        def apply(entity: Entity) -> None:
            if target.kind is not POLICY:
                check_modifiable(entity)
            change(entity)

        await self._entities[target.kind.name].change(target, apply)


def describe_attached(arns: list[str]) -> list[dict[str, str]]:
    return [{"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn} for arn in arns]


def path_of(arn: str) -> str:
    """Return the path of a managed policy: "/service-role/"."""
    return f"{arn.partition(':policy')[2].rpartition('/')[0]}/"
