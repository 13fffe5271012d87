"""Targets of IAM's operations: how the role is found, and the permissions needed on it."""

from collections.abc import Iterator
from dataclasses import dataclass

from hanabi.edge.service import Context, Handler, Operation, Params, RequiredPermission
from hanabi.services.iam.roles import Roles


@dataclass(frozen=True, slots=True)
class RoleTarget:
    """A role by its name, with its actual or future ARN and its tags."""

    name: str
    arn: str
    tags: tuple[tuple[str, str], ...] = ()


class RoleTargets:
    """Makes the `Operation`s of handlers. `action` is without the service prefix."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self._prefix = roles.prefix

    def role(self, action: str, handler: Handler[RoleTarget]) -> Operation[RoleTarget]:
        """Make an operation on a role by `RoleName`."""
        return Operation(
            handler,
            self._find,
            lambda target, params: [self._permissions(action, target, params)],
            action=f"iam:{action}",
            resource="role/NAME",
        )

    def new(self, action: str, handler: Handler[RoleTarget]) -> Operation[RoleTarget]:
        """Make an operation that creates a role, perhaps with tags."""

        def resolve(params: Params) -> RoleTarget:
            name = params["RoleName"]
            return RoleTarget(name, f"{self._prefix}{params.get('Path', '/')}{name}")

        def permissions(target: RoleTarget, params: Params) -> Iterator[RequiredPermission]:
            yield self._permissions(action, target, params)
            if params.get("Tags"):
                yield self._permissions("TagRole", target, params)

        return Operation(handler, resolve, permissions, action=f"iam:{action}", resource="role/NAME")

    def path(self, action: str, handler: Handler[None]) -> Operation[None]:
        """Make an operation on all roles below a path."""
        return Operation(
            handler,
            lambda params: None,
            lambda target, params: [RequiredPermission(f"iam:{action}", f"{self._prefix}{params.get('PathPrefix', '/')}")],
            action=f"iam:{action}",
            resource="role/PATH",
        )

    def policy(self, action: str, handler: Handler[str]) -> Operation[str]:
        """Make an operation on a managed policy."""
        return Operation(
            handler,
            lambda params: str(params["PolicyArn"]),
            lambda arn, params: [RequiredPermission(f"iam:{action}", arn)],
            action=f"iam:{action}",
            resource="policy/NAME",
        )

    def _find(self, params: Params) -> RoleTarget:
        name = params["RoleName"]
        role = self._roles.if_readable(name)
        if role is None:
            return RoleTarget(name, f"{self._prefix}/{name}")
        return RoleTarget(name, role["Arn"], tuple((tag["Key"], tag["Value"]) for tag in role["Tags"]))

    def _permissions(self, action: str, target: RoleTarget, params: Params) -> RequiredPermission:
        context = dict(_context(params))
        for key, value in target.tags:
            context |= {f"aws:ResourceTag/{key}": value, f"iam:ResourceTag/{key}": value}
        return RequiredPermission(f"iam:{action}", target.arn, context)


def _context(params: Params) -> Context:
    """Make the condition keys of an operation's parameters."""
    context: dict[str, str | tuple[str, ...]] = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in params.get("Tags", [])}
    keys = params.get("TagKeys") or [tag["Key"] for tag in params.get("Tags", [])]
    if keys:
        context["aws:TagKeys"] = tuple(keys)
    if params.get("PolicyArn"):
        context["iam:PolicyARN"] = params["PolicyArn"]
    return context
