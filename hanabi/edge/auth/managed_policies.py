"""The AWS managed policies that functions and their deployers usually have, limited to services that Hanabi may serve."""

from typing import Any

PREFIX = "arn:aws:iam::aws:policy/"
_LOGS = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")
_READ_ROLES = ("iam:GetPolicy", "iam:GetPolicyVersion", "iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies")
_READ_LOGS = ("logs:DescribeLogStreams", "logs:GetLogEvents", "logs:FilterLogEvents")


def _allow(*actions: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource, **more}


def _all_but(*actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "NotAction": list(actions), "Resource": "*"}


_OF_FUNCTIONS = "arn:aws:logs:*:*:log-group:/aws/lambda/*"
_PASS_TO_LAMBDA = _allow("iam:PassRole", Condition={"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}})
_STATEMENTS: dict[str, list[dict[str, Any]]] = {
    "AdministratorAccess": [_allow("*")],
    "PowerUserAccess": [_all_but("iam:*", "organizations:*", "account:*"), _allow("iam:ListRoles")],
    "IAMFullAccess": [_allow("iam:*")],
    "IAMReadOnlyAccess": [_allow("iam:Get*", "iam:List*", "iam:GenerateCredentialReport", "iam:SimulatePrincipalPolicy")],
    "AWSLambda_FullAccess": [
        _allow("lambda:*", *_READ_ROLES, "iam:ListRolePolicies", "iam:ListRoles", "logs:DescribeLogGroups"),
        _PASS_TO_LAMBDA,
        _allow(*_READ_LOGS, resource=_OF_FUNCTIONS),
    ],
    "AWSLambda_ReadOnlyAccess": [
        _allow("lambda:Get*", "lambda:List*", *_READ_ROLES, "iam:ListRolePolicies", "iam:ListRoles", "logs:DescribeLogGroups"),
        _allow(*_READ_LOGS, resource=_OF_FUNCTIONS),
    ],
    "AWSLambdaExecute": [
        _allow("logs:*", resource="arn:aws:logs:*:*:*"),
        _allow("s3:GetObject", "s3:PutObject", resource="arn:aws:s3:::*"),
    ],
    "CloudWatchLogsFullAccess": [_allow("logs:*")],
    "CloudWatchLogsReadOnlyAccess": [_allow("logs:Describe*", "logs:Get*", "logs:List*", "logs:FilterLogEvents")],
    "AWSXRayDaemonWriteAccess": [_allow("xray:PutTraceSegments", "xray:PutTelemetryRecords")],
    "CloudWatchLambdaInsightsExecutionRolePolicy": [
        _allow("logs:CreateLogGroup"),
        _allow("logs:CreateLogStream", "logs:PutLogEvents", resource="arn:aws:logs:*:*:log-group:/aws/lambda-insights:*"),
    ],
    "service-role/AWSLambdaBasicExecutionRole": [_allow(*_LOGS)],
    "service-role/AWSLambdaVPCAccessExecutionRole": [
        _allow(*_LOGS, *(f"ec2:{each}NetworkInterface" for each in ("Create", "Delete")), "ec2:DescribeNetworkInterfaces")
    ],
    "service-role/AWSLambdaSQSQueueExecutionRole": [
        _allow(*_LOGS, *(f"sqs:{each}" for each in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")))
    ],
    "service-role/AWSLambdaDynamoDBExecutionRole": [
        _allow(*_LOGS, *(f"dynamodb:{each}" for each in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")))
    ],
    "service-role/AWSLambdaKinesisExecutionRole": [
        _allow(
            *_LOGS,
            *(f"kinesis:{each}" for each in ("DescribeStream", "DescribeStreamSummary", "GetRecords", "GetShardIterator")),
            *(f"kinesis:{each}" for each in ("ListShards", "ListStreams", "SubscribeToShard")),
        )
    ],
    "service-role/AWSLambdaRole": [_allow("lambda:InvokeFunction")],
}
MANAGED = {f"{PREFIX}{name}": {"Version": "2012-10-17", "Statement": found} for name, found in _STATEMENTS.items()}
