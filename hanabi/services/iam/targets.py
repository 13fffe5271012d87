"""EntityTargets of IAM's operations: how the entity is found, and the permissions needed on it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hanabi.edge.auth.managed_policies import MANAGED
from hanabi.edge.service import Call, Handler, Operation, Params, RequiredPermission
from hanabi.errors import ValidationError
from hanabi.services.iam.directory import check_policy_arn
from hanabi.services.iam.entities import POLICY, ROLE, USER, Entities, EntityKind, EntityTarget
from hanabi.services.iam.service_linked_roles import linked_role

_TAG_ACTIONS = {"role": "TagRole", "user": "TagUser", "policy": "TagPolicy", "instance-profile": "TagInstanceProfile"}
_KEEPS_BOUNDARY = frozenset(
    f"{verb}{kind}{what}"
    for kind in ("User", "Role")
    for verb, what in (
        ("Attach", "Policy"),
        ("Detach", "Policy"),
        ("Put", "Policy"),
        ("Delete", "Policy"),
        ("Delete", "PermissionsBoundary"),
    )
)
"""Operations whose `iam:PermissionsBoundary` is the boundary that the entity has. Of others it is the one that is named."""


class EntityTargets:
    """Makes the `Operation`s of handlers. `action` is without the service prefix. Entities are looked up at each call only."""

    def __init__(self, roles: Entities, users: Entities, groups: Entities, policies: Entities, profiles: Entities, root: str) -> None:
        self._all = {each.entity_kind.name: each for each in (roles, users, groups, policies, profiles)}
        self._root = root

    def entity(self, action: str, handler: Handler[EntityTarget], kind: EntityKind) -> Operation[EntityTarget]:
        """On an entity by its name."""
        return self._operation(action, handler, kind, lambda params: self._target(kind, params[kind.member]))

    def own(self, action: str, handler: Handler[EntityTarget]) -> Operation[EntityTarget]:
        """On a user by name, or the user that calls. The owner calls on himself: a target without a name."""

        def resolve(params: Params) -> EntityTarget:
            name = params.get("UserName")
            return self._target(USER, name) if name else EntityTarget(USER, "", self._root)

        return replace(self._operation(action, handler, USER, resolve), complete=_name_caller)

    def pair(self, action: str, handler: Handler[EntityTarget], kind: EntityKind, other: EntityKind) -> Operation[EntityTarget]:
        """On an entity, with another one that is put into it or taken out. A role that is put in is passed."""

        def resolve(params: Params) -> EntityTarget:
            return replace(self._target(kind, params[kind.member]), other=self._target(other, params[other.member]))

        def permissions(target: EntityTarget, params: Params) -> Iterator[RequiredPermission]:
            yield _permission(action, target, params)
            if other is ROLE and action.startswith("Add") and target.other is not None:
                context = {"iam:PassedToService": "ec2.amazonaws.com"}
                yield RequiredPermission("iam:PassRole", target.other.arn, context)

        return Operation(handler, resolve, permissions, action=f"iam:{action}", resource=f"{kind.name}/NAME")

    def new(self, action: str, handler: Handler[EntityTarget], kind: EntityKind) -> Operation[EntityTarget]:
        """On an entity that is made, perhaps with tags."""

        def resolve(params: Params) -> EntityTarget:
            name = params[kind.member]
            return EntityTarget(kind, name, f"{self._all[kind.name].prefix}{params.get('Path', '/')}{name}")

        def permissions(target: EntityTarget, params: Params) -> Iterator[RequiredPermission]:
            yield _permission(action, target, params)
            if params.get("Tags"):
                yield _permission(_TAG_ACTIONS[kind.name], target, params)

        return Operation(handler, resolve, permissions, action=f"iam:{action}", resource=f"{kind.name}/NAME")

    def renamed(self, action: str, handler: Handler[EntityTarget], kind: EntityKind) -> Operation[EntityTarget]:
        """On an entity that may get another name or path: allowed on both ARNs. `other` is what it becomes."""

        def resolve(params: Params) -> EntityTarget:
            target = self._target(kind, params[kind.member])
            name = params.get(f"New{kind.member}", target.name)
            path = params.get("NewPath") or target.arn.removeprefix(self._all[kind.name].prefix).removesuffix(target.name)
            return replace(target, other=EntityTarget(kind, name, f"{self._all[kind.name].prefix}{path}{name}"))

        def permissions(target: EntityTarget, params: Params) -> Iterator[RequiredPermission]:
            yield _permission(action, target, params)
            if target.other is not None and target.other.arn != target.arn:
                yield _permission(action, target.other, params)

        return Operation(handler, resolve, permissions, action=f"iam:{action}", resource=f"{kind.name}/NAME")

    def policy(self, action: str, handler: Handler[EntityTarget]) -> Operation[EntityTarget]:
        """On a managed policy by its ARN: AWS's, or one of the account."""
        return self._operation(action, handler, POLICY, lambda params: self._policy(params["PolicyArn"]))

    def path(self, action: str, handler: Handler[None], kind: EntityKind) -> Operation[None]:
        """On all entities of a kind below a path."""

        def permissions(target: None, params: Params) -> list[RequiredPermission]:
            path = params.get("PathPrefix", "/")
            resource = f"policy path {path}" if kind is POLICY else f"{self._all[kind.name].prefix}{path}"
            return [RequiredPermission(f"iam:{action}", resource)]

        return Operation(handler, lambda params: None, permissions, action=f"iam:{action}", resource=f"{kind.name}/PATH")

    def account(self, action: str, handler: Handler[None]) -> Operation[None]:
        """On the account."""
        needed = [RequiredPermission(f"iam:{action}", "*")]
        return Operation(handler, lambda params: None, lambda target, params: needed, action=f"iam:{action}", resource="*")

    def access_key(self, action: str, handler: Handler[EntityTarget]) -> Operation[EntityTarget]:
        """On the user that has an access key; on all users for a key that nobody has."""

        def resolve(params: Params) -> EntityTarget:
            wanted = params["AccessKeyId"]
            for user in self._all["user"]:
                if any(key["AccessKeyId"] == wanted for key in user["AccessKeys"]):
                    return self._target(USER, user["UserName"])
            return EntityTarget(USER, "", f"{self._all['user'].prefix}/*")

        return self._operation(action, handler, USER, resolve)

    def principal(self, action: str, handler: Handler[EntityTarget]) -> Operation[EntityTarget]:
        """On a role, user or group by its ARN as `PolicySourceArn`."""

        def resolve(params: Params) -> EntityTarget:
            arn = params["PolicySourceArn"]
            for kind in ("role", "user", "group"):
                if arn.startswith(f"{self._all[kind].prefix}/"):
                    return replace(self._all[kind].target(arn.rpartition("/")[2]), arn=arn)
            raise ValidationError(f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")

        return self._operation(action, handler, ROLE, resolve, "role, user or group/NAME")

    def service_linked(self, action: str, handler: Handler[EntityTarget]) -> Operation[EntityTarget]:
        """On the role of a service that is made."""

        def resolve(params: Params) -> EntityTarget:
            path = linked_role(params["AWSServiceName"], params.get("CustomSuffix"))
            return EntityTarget(ROLE, path.rpartition("/")[2], f"{self._all['role'].prefix}{path}")

        return self._operation(action, handler, ROLE, resolve)

    def task(self, action: str, handler: Handler[EntityTarget]) -> Operation[EntityTarget]:
        """On the role whose deletion a task is: `task/aws-service-role/<service>/<role>/<id>`."""

        def resolve(params: Params) -> EntityTarget:
            parts = params["DeletionTaskId"].split("/")
            if len(parts) != 5 or parts[:2] != ["task", "aws-service-role"]:
                raise ValidationError(f"Deletion task {params['DeletionTaskId']} is not valid.")
            return EntityTarget(ROLE, parts[3], f"{self._all['role'].prefix}/aws-service-role/{parts[2]}/{parts[3]}")

        return self._operation(action, handler, ROLE, resolve)

    def _target(self, kind: EntityKind, name: str) -> EntityTarget:
        return self._all[kind.name].target(name)

    def _policy(self, arn: str) -> EntityTarget:
        check_policy_arn(arn)
        name, policies = arn.rpartition("/")[2], self._all["policy"]
        if arn not in MANAGED and (found := policies.if_readable(name)) is not None and found["Arn"] == arn:
            return policies.target(name)
        return EntityTarget(POLICY, name, arn)

    def _operation(
        self, action: str, handler: Handler[EntityTarget], kind: EntityKind, resolve: Any, resource: str = ""
    ) -> Operation[EntityTarget]:
        return Operation(
            handler,
            resolve,
            lambda target, params: [_permission(action, target, params)],
            action=f"iam:{action}",
            resource=resource or f"{kind.name}/NAME",
        )


def _name_caller(signed: Call, params: Params) -> None:
    """Name the user that calls where no user is named, before the user is looked up."""
    if params.get("UserName") or signed.principal.is_root:
        return
    if signed.principal.arn != signed.principal.user:
        raise ValidationError("Must specify userName when calling with non-User credentials")
    params["UserName"] = signed.principal.arn.rpartition("/")[2]


def _permission(action: str, target: EntityTarget, params: Params) -> RequiredPermission:
    context = dict(_context(action, target, params))
    for key, value in target.tags:
        context |= {f"aws:ResourceTag/{key}": value, f"iam:ResourceTag/{key}": value}
    return RequiredPermission(f"iam:{action}", target.arn, context)


def _context(action: str, target: EntityTarget, params: Params) -> dict[str, str | tuple[str, ...]]:
    """Make the condition keys of an operation's parameters."""
    context: dict[str, str | tuple[str, ...]] = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in params.get("Tags", [])}
    keys = params.get("TagKeys") or [tag["Key"] for tag in params.get("Tags", [])]
    if keys:
        context["aws:TagKeys"] = tuple(keys)
    if params.get("PolicyArn") and target.kind is not POLICY:
        context["iam:PolicyARN"] = params["PolicyArn"]
    boundary = params.get("PermissionsBoundary") or (target.boundary if action in _KEEPS_BOUNDARY else "")
    if boundary:
        context["iam:PermissionsBoundary"] = boundary
    if params.get("AWSServiceName"):
        context["iam:AWSServiceName"] = params["AWSServiceName"]
    return context
