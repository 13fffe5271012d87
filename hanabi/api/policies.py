"""IAM policy documents: whether one is well-formed, whom a trust policy lets in, what a role's policies allow.

Conditions are not evaluated: a statement with one allows nothing, and denies whatever it might deny.
"""

import json
from collections.abc import Iterable
from typing import Any

from hanabi.contracts import Principal
from hanabi.errors import ApiError
from hanabi.patterns import matches

_EFFECTS = ("Allow", "Deny")


class MalformedPolicyDocument(ApiError):
    code = "MalformedPolicyDocument"
    status = 400


def _managed(*actions: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}


_LOGS = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")
# The AWS-managed policies that functions usually have, so far as they concern what Hanabi serves.
MANAGED = {
    f"arn:aws:iam::aws:policy/{name}": _managed(*actions)
    for name, actions in {
        "AdministratorAccess": ("*",),
        "PowerUserAccess": ("lambda:*", "logs:*", "sts:*"),
        "AWSLambda_FullAccess": (
            "lambda:*",
            "logs:DescribeLogStreams",
            "logs:GetLogEvents",
            "logs:FilterLogEvents",
            "iam:GetRole",
            "iam:ListRoles",
        ),
        "AWSLambda_ReadOnlyAccess": ("lambda:Get*", "lambda:List*", "logs:DescribeLogStreams", "logs:GetLogEvents", "logs:FilterLogEvents"),
        "CloudWatchLogsFullAccess": ("logs:*",),
        "CloudWatchLogsReadOnlyAccess": ("logs:Describe*", "logs:Get*", "logs:List*", "logs:FilterLogEvents"),
        "AWSXRayDaemonWriteAccess": ("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
        "CloudWatchLambdaInsightsExecutionRolePolicy": _LOGS,
        "service-role/AWSLambdaBasicExecutionRole": _LOGS,
        "service-role/AWSLambdaVPCAccessExecutionRole": (
            *_LOGS,
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DeleteNetworkInterface",
        ),
        "service-role/AWSLambdaSQSQueueExecutionRole": (*_LOGS, "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),
        "service-role/AWSLambdaDynamoDBExecutionRole": (*_LOGS, "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"),
        "service-role/AWSLambdaKinesisExecutionRole": (*_LOGS, "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"),
        "service-role/AWSLambdaRole": ("lambda:InvokeFunction",),
    }.items()
}


def check_document(text: str, *, trust: bool) -> None:
    """Raise `MalformedPolicyDocument` for a text that is not a policy."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedPolicyDocument("This policy contains invalid Json") from None
    if not isinstance(document, dict) or document.get("Version", "2008-10-17") not in ("2012-10-17", "2008-10-17"):
        raise MalformedPolicyDocument("Syntax errors in policy.")
    statements = _listed(document.get("Statement"))
    if not statements or not all(isinstance(statement, dict) for statement in statements):
        raise MalformedPolicyDocument("Syntax errors in policy.")
    for statement in statements:
        _check_statement(statement, trust)


def _check_statement(statement: dict[str, Any], trust: bool) -> None:
    if statement.get("Effect") not in _EFFECTS:
        raise MalformedPolicyDocument("Syntax errors in policy.")
    if not statement.get("Action") and not statement.get("NotAction"):
        raise MalformedPolicyDocument("Policy statement must contain actions.")
    has_resource = "Resource" in statement or "NotResource" in statement
    has_principal = "Principal" in statement or "NotPrincipal" in statement
    if trust and has_resource:
        raise MalformedPolicyDocument("Has prohibited field Resource")
    if trust and not has_principal:
        raise MalformedPolicyDocument("Missing required field Principal")
    if not trust and has_principal:
        raise MalformedPolicyDocument("Policy document should not specify a principal.")
    if not trust and not has_resource:
        raise MalformedPolicyDocument("Policy statement must contain resources.")


def trusts(document: str, caller: Principal) -> bool:
    """Whether a role's trust policy lets the caller assume the role."""
    allowed = False
    for statement in _listed(json.loads(document).get("Statement")):
        if _covers(statement, "Action", "sts:AssumeRole") and _names(statement.get("Principal"), caller):
            if statement["Effect"] == "Deny":
                return False
            allowed = allowed or "Condition" not in statement
    return allowed


def _names(principals: Any, caller: Principal) -> bool:
    named = _listed(principals.get("AWS") if isinstance(principals, dict) else principals)
    mine = {"*", caller.arn, caller.account, f"arn:aws:iam::{caller.account}:root"}
    role = role_name(caller)
    return any(
        name in mine or (role is not None and name.startswith(f"arn:aws:iam::{caller.account}:role/") and name.rpartition("/")[2] == role)
        for name in map(str, named)
    )


def role_name(principal: Principal) -> str | None:
    """The role whose session a principal is."""
    return principal.arn.split("/")[1] if ":assumed-role/" in principal.arn else None


UNWRITTEN: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["lambda:Invoke*", "lambda:Get*", "lambda:List*", "logs:*", "sts:*"], "Resource": "*"},
        {"Effect": "Allow", "Action": ["iam:Get*", "iam:List*"], "Resource": "*"},
    ],
}
"""What a role without any policy may do. AWS would allow nothing; a laptop's roles are mostly names."""


def allows(documents: Iterable[dict[str, Any]], action: str, resource: str) -> bool:
    """Whether identity policies allow an action on a resource: somewhere allowed, nowhere denied."""
    allowed = False
    for document in documents:
        for statement in _listed(document.get("Statement")):
            if _covers(statement, "Action", action) and _covers(statement, "Resource", resource):
                if statement["Effect"] == "Deny":
                    return False
                allowed = allowed or "Condition" not in statement
    return allowed


def _covers(statement: dict[str, Any], element: str, value: str) -> bool:
    negated = f"Not{element}" in statement
    patterns = _listed(statement[f"Not{element}"] if negated else statement.get(element))
    return negated != any(matches(str(pattern), value, ignore_case=element == "Action") for pattern in patterns)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
