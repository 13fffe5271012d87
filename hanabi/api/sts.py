"""The parts of AWS STS that tools and functions need."""

import math
from collections.abc import Mapping
from typing import Any

from hanabi.api.keys import KeyRing, role_id, session_principal
from hanabi.api.policies import trusts
from hanabi.api.service import Call, Handler
from hanabi.contracts import Store
from hanabi.errors import AccessDenied, ValidationError


class StsService:
    """GetCallerIdentity and AssumeRole, for roles that IAM has."""

    name = "sts"

    def __init__(self, keys: KeyRing, store: Store) -> None:
        self._keys = keys
        self._store = store
        self.operations: Mapping[str, Handler] = {
            "GetCallerIdentity": self.get_caller_identity,
            "AssumeRole": self.assume_role,
        }

    async def get_caller_identity(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        principal = call.principal
        return {"UserId": principal.user_id, "Account": principal.account, "Arn": principal.arn}

    async def assume_role(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        arn, session = params["RoleArn"], params["RoleSessionName"]
        parts = arn.split(":", 5)
        if len(parts) != 6 or parts[0] != "arn" or not parts[1] or not parts[2] or not parts[5]:
            raise ValidationError(f"{arn} is invalid")
        for unsupported in (
            "Policy",
            "PolicyArns",
            "SerialNumber",
            "TokenCode",
            "ExternalId",
            "Tags",
            "TransitiveTagKeys",
            "ProvidedContexts",
        ):
            if params.get(unsupported):
                raise ValidationError(f"Hanabi does not support {unsupported} in AssumeRole")
        found = await self._store.get(f"iam/role/{arn.rpartition('/')[2]}")
        if found is None or found[0]["Arn"] != arn or not trusts(found[0]["AssumeRolePolicyDocument"], call.principal):
            raise AccessDenied(f"User: {call.principal.arn} is not authorized to perform: sts:AssumeRole on resource: {arn}")
        seconds, longest = params.get("DurationSeconds", 3600), found[0].get("MaxSessionDuration", 3600)
        if seconds > longest:
            raise ValidationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
        credentials = self._keys.assume(arn, session, seconds)
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
