"""AWS STS: the parts that tools and functions need."""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hanabi.edge.auth.keys import KeyRing, role_id, session_principal
from hanabi.edge.auth.policy_documents import read_document, statements
from hanabi.edge.service import NOTHING, Call, Operation, Params, RequiredPermission, Service
from hanabi.errors import ServiceError, ValidationError
from hanabi.quotas import CHAINED_SESSION_MAX_S

_UNSUPPORTED = ("Policy", "PolicyArns", "SerialNumber", "TokenCode", "Tags", "TransitiveTagKeys", "ProvidedContexts", "SourceIdentity")


@dataclass(frozen=True, slots=True)
class AssumedRole:
    """The role to assume, if it exists."""

    arn: str
    role: Mapping[str, Any] | None


def operations(sts: "StsService") -> Mapping[str, Operation[Any]]:
    """All operations of STS that are served."""
    return {
        "AssumeRole": Operation(
            sts.assume_role, sts.find, sts.permissions, action="sts:AssumeRole", resource="role/NAME, by its trust policy", owner_too=True
        ),
        "GetCallerIdentity": Operation(sts.get_caller_identity, lambda params: None, NOTHING),
    }


class StsService(Service):
    """The `sts` service: GetCallerIdentity, and AssumeRole for roles of IAM. `find_role` finds one by its ARN."""

    name = "sts"

    def __init__(self, keys: KeyRing, find_role: Callable[[str], Awaitable[Mapping[str, Any] | None]]) -> None:
        self._keys = keys
        self._find_role = find_role
        self.operations = operations(self)

    async def get_caller_identity(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        principal = call.principal
        return {"UserId": principal.user_id, "Account": principal.account, "Arn": principal.arn}

    async def find(self, params: Params) -> AssumedRole:
        arn = params["RoleArn"]
        parts = arn.split(":", 5)
        if len(parts) != 6 or parts[0] != "arn" or not parts[1] or not parts[2] or not parts[5]:
            raise ValidationError(f"{arn} is invalid")
        return AssumedRole(arn, await self._find_role(arn))

    def permissions(self, target: AssumedRole, params: Params) -> list[RequiredPermission]:
        """Return the permissions. A role that does not exist cannot be assumed."""
        trust = statements(read_document(target.role["AssumeRolePolicyDocument"])) if target.role else []
        context = {"sts:RoleSessionName": params["RoleSessionName"]}
        if params.get("ExternalId"):
            context["sts:ExternalId"] = params["ExternalId"]
        return [RequiredPermission("sts:AssumeRole", target.arn, context, policy=tuple(trust), trust=True)]

    async def assume_role(self, call: Call, params: dict[str, Any], target: AssumedRole) -> dict[str, Any]:
        if target.role is None:  # nothing let anybody in
            raise ServiceError("An internal error occurred.")
        for unsupported in _UNSUPPORTED:
            if params.get(unsupported):
                raise ValidationError(f"Hanabi does not support {unsupported} in AssumeRole")
        arn, session = target.arn, params["RoleSessionName"]
        seconds, longest = params.get("DurationSeconds", 3600), target.role.get("MaxSessionDuration", 3600)
        if seconds > CHAINED_SESSION_MAX_S and call.principal.role:
            raise ValidationError("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
        if seconds > longest:
            raise ValidationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
        credentials = self._keys.assume(arn, session, seconds, call.principal)
        assumed = session_principal(arn, session)
        return {
            "Credentials": {
                "AccessKeyId": credentials.access_key,
                "SecretAccessKey": credentials.secret_key,
                "SessionToken": credentials.session_token,
                "Expiration": math.floor(credentials.expires),
            },
            "AssumedRoleUser": {"AssumedRoleId": f"{role_id(arn)}:{session}", "Arn": assumed.arn},
        }
