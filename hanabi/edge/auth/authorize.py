"""What a caller may do: by its role's policies, the resource's policy, and the default for a role without policies.

`--roles` chooses that default. `strict`: as in AWS, but a function whose role has no policies may still write its own log group.
`lenient`: such a role may also read and invoke. `any`: as lenient, and roles need not exist.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from hanabi.base.clock import Clock
from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.conditions import ConditionKeys
from hanabi.edge.auth.evaluate import AccessRequest, Verdict, evaluate_identity_policies, evaluate_resource_policy
from hanabi.edge.service import RequiredPermission
from hanabi.errors import AccessDenied

Documents = list[dict[str, Any]]
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
    """The authorizer. `find_policies` returns the identity policies of a role by its ARN; None for a role that does not exist."""

    def __init__(
        self,
        find_policies: Callable[[str], Awaitable[Documents | None]],
        clock: Clock,
        account_region: AccountRegion,
        *,
        lenient: bool = False,
    ) -> None:
        self._find_policies = find_policies
        self._clock = clock
        self._account_region = account_region
        self._lenient = lenient

    async def __call__(self, principal: Principal | None, http: HttpRequest, permission: RequiredPermission) -> None:
        """Raise `AccessDenied` unless the caller may. None is an unsigned caller, whom only the resource's policy can allow."""
        if principal is None:
            request = AccessRequest(
                permission.action, (permission.resource, *permission.also), self._condition_keys(None, http, permission)
            )
            if evaluate_resource_policy(permission.policy, None, request) is not Verdict.ALLOW:
                raise AccessDenied("Forbidden")
            return
        if principal.is_root and not permission.trust:
            return
        request = AccessRequest(
            permission.action, (permission.resource, *permission.also), self._condition_keys(principal, http, permission)
        )
        identity = Verdict.ALLOW if principal.is_root else evaluate_identity_policies(await self._documents(principal), request)
        resource = evaluate_resource_policy(permission.policy, principal, request)
        if Verdict.DENY in (identity, resource):
            kind = "identity" if identity is Verdict.DENY else "resource"
            raise _denied(principal, permission, f" with an explicit deny in {'an' if kind == 'identity' else 'a'} {kind}-based policy")
        if permission.trust:
            if resource is Verdict.ALLOW or (resource is Verdict.DELEGATED and identity is Verdict.ALLOW):
                return
            raise _denied(principal, permission, "")
        if Verdict.ALLOW not in (identity, resource):
            raise _denied(principal, permission, f" because no identity-based policy allows the {permission.action} action")

    async def _documents(self, principal: Principal) -> Documents:
        found = await self._find_policies(principal.role)
        if found:
            return found
        given = [LENIENT] if self._lenient else []
        return [*given, self._own_logs(principal.function)] if principal.function else given

    def _own_logs(self, function: str) -> dict[str, Any]:
        prefix, _, name = function.rpartition(":function:")
        group = f"{prefix.replace(':lambda:', ':logs:', 1)}:log-group:/aws/lambda/{name}"
        actions = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
        return {"Statement": [{"Effect": "Allow", "Action": actions, "Resource": f"{group}:log-stream:*"}]}

    def _condition_keys(self, principal: Principal | None, http: HttpRequest, permission: RequiredPermission) -> ConditionKeys:
        """Return the request's condition keys, as AWS documents them. Those that Hanabi cannot know are absent."""
        now = self._clock.time()
        condition_keys: dict[str, str | tuple[str, ...]] = {
            "aws:PrincipalIsAWSService": "false",
            "aws:ViaAWSService": "false",
            "aws:PrincipalType": "Anonymous",
            "aws:CurrentTime": f"{datetime.fromtimestamp(int(now), UTC):%Y-%m-%dT%H:%M:%SZ}",
            "aws:EpochTime": str(int(now)),
            "aws:SecureTransport": "false",
            "aws:RequestedRegion": self._account_region.region,
            "aws:ResourceAccount": self._account_region.account,
        }
        optional: Mapping[str, str] = {
            "aws:SourceIp": http.peer,
            "aws:UserAgent": http.header("user-agent"),
            "aws:Referer": http.header("referer"),
            "lambda:SourceFunctionArn": principal.function if principal else "",
        }
        if principal is not None:
            condition_keys["aws:PrincipalArn"] = principal.role or principal.arn
            condition_keys["aws:PrincipalAccount"] = principal.account
            condition_keys["aws:PrincipalType"] = "Account" if principal.is_root else "AssumedRole"
            condition_keys["aws:userid"] = principal.user_id
        condition_keys |= {key: value for key, value in optional.items() if value} | dict(permission.context)
        return {key.lower(): value if isinstance(value, tuple) else (value,) for key, value in condition_keys.items()}


def _denied(principal: Principal, permission: RequiredPermission, why: str) -> AccessDenied:
    return AccessDenied(f"User: {principal.arn} is not authorized to perform: {permission.action} on resource: {permission.resource}{why}")
