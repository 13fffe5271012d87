"""AWS STS: roles assumed and sessions opened, with session policies and tags. Web identities and SAML are not served."""

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hanabi.base.clock import Clock, SystemClock
from hanabi.contracts.credentials import Credentials, Principal, Session
from hanabi.edge.auth.keys import KeyRing, role_id, session_principal
from hanabi.edge.auth.policy_documents import check_document, read_document, statements
from hanabi.edge.service import NOTHING, Call, Operation, Params, RequiredPermission, Service
from hanabi.errors import AccessDenied, ApiError, ServiceError, ValidationError
from hanabi.quotas import CHAINED_SESSION_MAX_S, SESSION_POLICY_CHARS

_UNSUPPORTED = ("SerialNumber", "TokenCode", "ProvidedContexts")
_USER_SESSION_S = 12 * 3600  # of a user, where no duration is given

FindRole = Callable[[str], Awaitable[Mapping[str, Any] | None]]
FindDocument = Callable[[str, str], Mapping[str, Any] | None]


class SessionTagsInvalid(ApiError):
    """Session tags that cannot be."""

    code = "InvalidParameterValue"
    status = 400


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
        "GetFederationToken": Operation(
            sts.get_federation_token,
            lambda params: str(params["FederatedUser"]),
            lambda arn, params: [RequiredPermission("sts:GetFederationToken", arn)],
            action="sts:GetFederationToken",
            resource="federated-user/NAME",
            complete=_name_federated_user,
        ),
        "GetSessionToken": Operation(sts.get_session_token, lambda params: None, NOTHING),
    }


class StsService(Service):
    """The `sts` service. `find_role` finds a role of IAM by its ARN, `find_document` a managed policy by account and ARN."""

    name = "sts"

    def __init__(
        self, keys: KeyRing, find_role: FindRole, find_document: FindDocument = lambda account, arn: None, clock: Clock | None = None
    ) -> None:
        self._keys = keys
        self._find_role = find_role
        self._find_document = find_document
        self._clock = clock or SystemClock()
        self.operations = operations(self)

    async def get_caller_identity(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        principal = call.principal
        return {"UserId": principal.user_id, "Account": principal.account, "Arn": principal.arn}

    # --- roles --------------------------------------------------------------------------------------------------------

    async def find(self, params: Params) -> AssumedRole:
        arn = params["RoleArn"]
        parts = arn.split(":", 5)
        if len(parts) != 6 or parts[0] != "arn" or not parts[1] or not parts[2] or not parts[5]:
            raise ValidationError(f"{arn} is invalid")
        return AssumedRole(arn, await self._find_role(arn))

    def permissions(self, target: AssumedRole, params: Params) -> Iterator[RequiredPermission]:
        """Return the permissions, each of which the role's trust policy must give. A role that does not exist cannot be assumed."""
        trust = tuple(statements(read_document(target.role["AssumeRolePolicyDocument"])) if target.role else ())
        context: dict[str, str | tuple[str, ...]] = {"sts:RoleSessionName": params["RoleSessionName"]}
        for member in ("ExternalId", "SourceIdentity"):
            if params.get(member):
                context[f"sts:{member}"] = params[member]
        if tags := params.get("Tags"):
            context |= {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in tags}
            context["aws:TagKeys"] = tuple(tag["Key"] for tag in tags)
            context["sts:TransitiveTagKeys"] = tuple(params.get("TransitiveTagKeys", ()))
        yield RequiredPermission("sts:AssumeRole", target.arn, context, policy=trust, trust=True)
        if tags:
            yield RequiredPermission("sts:TagSession", target.arn, context, policy=trust, trust=True)
        if params.get("SourceIdentity"):
            yield RequiredPermission("sts:SetSourceIdentity", target.arn, context, policy=trust, trust=True)

    async def assume_role(self, call: Call, params: dict[str, Any], target: AssumedRole) -> dict[str, Any]:
        if target.role is None:  # nothing let anybody in
            raise ServiceError("An internal error occurred.")
        for unsupported in _UNSUPPORTED:
            if params.get(unsupported):
                raise ValidationError(f"Hanabi does not support {unsupported} in AssumeRole")
        arn, name = target.arn, params["RoleSessionName"]
        seconds, longest = params.get("DurationSeconds", 3600), target.role.get("MaxSessionDuration", 3600)
        if seconds > CHAINED_SESSION_MAX_S and call.principal.role:
            raise ValidationError("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
        if seconds > longest:
            raise ValidationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
        session = self._session(params, arn.split(":")[4], call.principal.session)
        assumed = session_principal(arn, name, session=session)
        credentials = self._keys.open_session(assumed, seconds, call.principal)
        answer = _describe(credentials) | {"AssumedRoleUser": {"AssumedRoleId": f"{role_id(arn)}:{name}", "Arn": assumed.arn}}
        if session.source_identity:
            answer["SourceIdentity"] = session.source_identity
        return answer | ({"PackedPolicySize": _packed(params)} if _packed(params) else {})

    # --- sessions of users and the owner ------------------------------------------------------------------------------

    async def get_session_token(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        _refuse_sessions(call, params)
        seconds = params.get("DurationSeconds", _USER_SESSION_S)
        principal = replace(call.principal, session=Session(self._clock.time()))
        return _describe(self._keys.open_session(principal, _bounded(call, seconds), call.principal))

    async def get_federation_token(self, call: Call, params: dict[str, Any], target: str) -> dict[str, Any]:
        _refuse_sessions(call, params)
        caller = call.principal
        user_id = f"{caller.account}:{target.rpartition('/')[2]}"
        session = self._session(params, caller.account, None)
        if session.policies is None:  # without any, what resource policies give to its name is all it may
            session = replace(session, policies=())
        federated = Principal(caller.account, target, user_id, False, user=caller.arn, session=session)
        seconds = params.get("DurationSeconds", _USER_SESSION_S)
        credentials = self._keys.open_session(federated, _bounded(call, seconds), caller)
        answer = _describe(credentials) | {"FederatedUser": {"FederatedUserId": user_id, "Arn": target}}
        return answer | {"PackedPolicySize": _packed(params)}

    def _session(self, params: Params, account: str, of_caller: Session | None) -> Session:
        """Make a session of what is asked for, and what goes on from the caller's. Raises for policies or tags that cannot be."""
        given: list[Mapping[str, Any]] = []
        if policy := params.get("Policy"):
            check_document(policy, trust=False)
            given.append(read_document(policy))
        for each in params.get("PolicyArns", ()):
            document = self._find_document(account, each["arn"])
            if document is None:
                raise ValidationError(f"Policy {each['arn']} does not exist, or is not served here")
            given.append(document)
        tags = {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
        keys = {key.lower() for key in tags}
        if len(keys) < len(params.get("Tags", ())):
            raise SessionTagsInvalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        transitive = frozenset(key.lower() for key in params.get("TransitiveTagKeys", ()))
        if not transitive <= keys:
            raise SessionTagsInvalid("The specified transitive tag key must be included in the requested tags.")
        source_identity = params.get("SourceIdentity", "")
        if of_caller is not None:
            if keys & of_caller.transitive:
                raise SessionTagsInvalid(
                    "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the "
                    "calling session."
                )
            tags |= {key: value for key, value in of_caller.tags if key.lower() in of_caller.transitive}
            transitive |= of_caller.transitive
            if of_caller.source_identity and source_identity not in ("", of_caller.source_identity):
                raise AccessDenied("The source identity of a session cannot be changed by role chaining.")
            source_identity = source_identity or of_caller.source_identity
        policies = tuple(given) if given else None
        return Session(self._clock.time(), policies, tuple(tags.items()), transitive, source_identity)


def _name_federated_user(signed: Call, params: Params) -> None:
    """Make the ARN of the federated user, of the account that calls."""
    partition, account = signed.principal.arn.split(":")[1], signed.principal.account
    params["FederatedUser"] = f"arn:{partition}:sts::{account}:federated-user/{params['Name']}"


def _refuse_sessions(call: Call, params: Params) -> None:
    if call.principal.role or call.principal.session is not None:
        raise AccessDenied(f"Cannot call {call.operation} with session credentials")
    for unsupported in ("SerialNumber", "TokenCode"):
        if params.get(unsupported):
            raise ValidationError(f"Hanabi does not support {unsupported} in {call.operation}")
    if params.get("Tags"):
        raise ValidationError(f"Hanabi does not support Tags in {call.operation}")


def _bounded(call: Call, seconds: int) -> int:
    """The owner's sessions last an hour at most."""
    return min(seconds, CHAINED_SESSION_MAX_S) if call.principal.is_root else seconds


def _packed(params: Params) -> int:
    """How much of what a session may have in policies and tags is used, in per cent."""
    chars = len(params.get("Policy", "")) + sum(len(each["arn"]) for each in params.get("PolicyArns", ()))
    chars += sum(len(tag["Key"]) + len(tag["Value"]) for tag in params.get("Tags", ()))
    return math.ceil(100 * chars / SESSION_POLICY_CHARS)


def _describe(credentials: Credentials) -> dict[str, Any]:
    return {
        "Credentials": {
            "AccessKeyId": credentials.access_key,
            "SecretAccessKey": credentials.secret_key,
            "SessionToken": credentials.session_token,
            "Expiration": math.floor(credentials.expires),
        }
    }
