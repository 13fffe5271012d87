"""What a caller may do: by its role's policies, the resource's policy, and the default for a role without policies.

`--roles` chooses that default. `strict`: as in AWS, but a function whose role has no policies may still write its own log group.
`lenient`: such a role may also read and invoke. `any`: as lenient, and roles need not exist.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hanabi.base.clock import Clock
from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.control.arns import AccountRegion, is_account
from hanabi.edge.auth.conditions import ConditionKeys
from hanabi.edge.auth.evaluate import (
    AccessRequest,
    IamIdentity,
    Verdict,
    Verdicts,
    evaluate_identity_policies,
    evaluate_resource_policy,
)
from hanabi.edge.auth.sigv4 import find_signature_claim
from hanabi.edge.service import RequiredPermission
from hanabi.errors import AccessDenied

LENIENT: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [
                *("lambda:Invoke*", "lambda:Get*", "lambda:List*", "iam:Get*", "iam:List*"),
                *("logs:Describe*", "logs:Filter*", "logs:Get*", "logs:List*"),
            ],
            "Resource": "*",
        },
    ],
}
"""What a role without any policy may do by `--roles lenient`, besides writing its function's own logs."""

_LENIENT_TEXT = "roles without policies may read and invoke whatever there is, and function URLs of type NONE are open to everybody"
LENIENT_CHOICES = {
    "lenient": f"--roles lenient: {_LENIENT_TEXT}",
    "any": f"--roles any: roles need not exist; {_LENIENT_TEXT}",
}


class Authorizer:
    """The authorizer. `find_identity` returns what IAM has of a caller's user or role; None for one that does not exist.

    `own_logs` and `lenient`: what a role without policies may do nevertheless. `note_use` is told the key of each user that calls, the
    service and the region.
    """

    def __init__(
        self,
        find_identity: Callable[[Principal], IamIdentity | None],
        clock: Clock,
        account_region: AccountRegion,
        *,
        own_logs: bool = True,
        lenient: bool = False,
        note_use: Callable[[str, str, str], None] = lambda access_key, service, region: None,
    ) -> None:
        self._find_identity = find_identity
        self._clock = clock
        self._account_region = account_region
        self._own_logs = own_logs
        self._lenient = lenient
        self._note_use = note_use

    async def __call__(self, principal: Principal | None, http: HttpRequest, permission: RequiredPermission) -> None:
        """Raise `AccessDenied` unless the caller may. None is an unsigned caller, whom only the resource's policy can allow."""
        if principal is None:
            request = self._request(None, None, http, permission)
            if evaluate_resource_policy(permission.policy, None, request) is not Verdict.ALLOW:
                raise AccessDenied("Forbidden")
            return
        across = _account_of(permission.resource, principal.account) != principal.account
        if principal.is_root and not permission.trust and not across:
            return
        if principal.user and principal.session is None:
            self._note_use(*find_signature_claim(http), http.region or self._account_region.region)
        identity = None if principal.is_root else self._find_identity(principal)
        request = self._request(principal, identity, http, permission)
        verdicts = Verdicts(
            Verdict.ALLOW if principal.is_root else evaluate_identity_policies(self._policies(principal, identity), request),
            evaluate_resource_policy(permission.policy, principal, request),
            _evaluate_cap(identity.boundary if identity else None, request),
            _evaluate_cap(principal.session.policies if principal.session else None, request),
        )
        why = verdicts.refusal(permission.action, trust=permission.trust, across=across)
        if why is not None:
            raise AccessDenied(
                f"User: {principal.arn} is not authorized to perform: {permission.action} on resource: {permission.resource}{why}"
            )

    def _policies(self, principal: Principal, identity: IamIdentity | None) -> Sequence[Mapping[str, Any]]:
        if identity is not None and identity.policies:
            return identity.policies
        given = [LENIENT] if self._lenient and principal.role else []
        return [*given, self._write_own_logs(principal.function)] if principal.function and self._own_logs else given

    def _write_own_logs(self, function: str) -> dict[str, Any]:
        prefix, _, name = function.rpartition(":function:")
        group = f"{prefix.replace(':lambda:', ':logs:', 1)}:log-group:/aws/lambda/{name}"
        actions = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
        return {"Statement": [{"Effect": "Allow", "Action": actions, "Resource": f"{group}:log-stream:*"}]}

    def _request(
        self, principal: Principal | None, identity: IamIdentity | None, http: HttpRequest, permission: RequiredPermission
    ) -> AccessRequest:
        own = principal.account if principal is not None else self._account_region.account
        condition_keys = self._keys_of_request(http, _account_of(permission.resource, own))
        if principal is not None:
            condition_keys |= keys_of_principal(principal, identity)
        condition_keys |= permission.context
        return AccessRequest(permission.action, (permission.resource, *permission.also), lower_keys(condition_keys))

    def _keys_of_request(self, http: HttpRequest, account: str) -> dict[str, str | tuple[str, ...]]:
        """Return the condition keys of a request, as AWS documents them. Those that Hanabi cannot know are absent."""
        now = self._clock.time()
        condition_keys: dict[str, str | tuple[str, ...]] = {
            "aws:PrincipalIsAWSService": "false",
            "aws:ViaAWSService": "false",
            "aws:PrincipalType": "Anonymous",
            "aws:CurrentTime": format_date(now),
            "aws:EpochTime": str(int(now)),
            "aws:SecureTransport": "false",
            "aws:RequestedRegion": http.region or self._account_region.region,
            "aws:ResourceAccount": account,
        }
        optional: Mapping[str, str] = {
            "aws:SourceIp": http.peer,
            "aws:UserAgent": http.header("user-agent"),
            "aws:Referer": http.header("referer"),
        }
        return condition_keys | {key: value for key, value in optional.items() if value}


def keys_of_principal(principal: Principal, identity: IamIdentity | None) -> dict[str, str | tuple[str, ...]]:
    """Return the condition keys about a caller."""
    is_user = principal.arn == principal.user
    kind = "Account" if principal.is_root else "AssumedRole" if principal.role else "User" if is_user else "FederatedUser"
    condition_keys: dict[str, str | tuple[str, ...]] = {
        "aws:PrincipalArn": principal.role or principal.arn,
        "aws:PrincipalAccount": principal.account,
        "aws:PrincipalType": kind,
        "aws:userid": principal.user_id,
    }
    if is_user:
        condition_keys["aws:username"] = principal.arn.rpartition("/")[2]
    if principal.function:
        condition_keys["lambda:SourceFunctionArn"] = principal.function
    tags = dict(identity.tags) if identity else {}
    if (session := principal.session) is not None:
        condition_keys |= {"aws:TokenIssueTime": format_date(session.issued), "aws:MultiFactorAuthPresent": "false"}
        given = dict(session.tags)
        overridden = {key.lower() for key in given}
        tags = {key: value for key, value in tags.items() if key.lower() not in overridden} | given
        if session.source_identity:
            condition_keys["aws:SourceIdentity"] = session.source_identity
    return condition_keys | {f"aws:PrincipalTag/{key}": value for key, value in tags.items()}


def lower_keys(condition_keys: Mapping[str, str | tuple[str, ...]]) -> ConditionKeys:
    return {key.lower(): value if isinstance(value, tuple) else (value,) for key, value in condition_keys.items()}


def format_date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"


def _evaluate_cap(policies: Sequence[Mapping[str, Any]] | None, request: AccessRequest) -> Verdict | None:
    return None if policies is None else evaluate_identity_policies(policies, request)


def _account_of(arn: str, default: str) -> str:
    """Return the account that an ARN names; `default` where it names none (as those of AWS's own policies), or is `*`."""
    parts = arn.split(":", 5)
    return parts[4] if len(parts) == 6 and is_account(parts[4]) else default
