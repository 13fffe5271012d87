"""AWS's managed policies that functions and their deployers usually have, as AWS publishes them.

`ReadOnlyAccess` is as far as AWS's speaks of services that Hanabi serves or that functions use. What is not here grants nothing.
"""

import json
from dataclasses import dataclass
from typing import Any

PREFIX = "arn:aws:iam::aws:policy/"


@dataclass(frozen=True, slots=True)
class ManagedPolicy:
    """A policy: its default version, and the days (UTC) when it was made and changed."""

    version: str
    created: str
    updated: str
    text: str
    document: dict[str, Any]


def _words(service: str, actions: str) -> list[str]:
    return [f"{service}:{action}" for action in actions.split()]


def _allow(*actions: str, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource, **more}


def _equal(**keys: Any) -> dict[str, Any]:
    return {"StringEquals": {key.replace("_", ":", 1): value for key, value in keys.items()}}


_LOGS = _words("logs", "CreateLogGroup CreateLogStream PutLogEvents")
_READ_ROLES = _words("iam", "GetPolicy GetPolicyVersion GetRole GetRolePolicy ListAttachedRolePolicies ListRolePolicies ListRoles")
_READ_STREAMS = _words("dynamodb", "DescribeStream GetRecords GetShardIterator ListStreams")
_READ_TRACES = _words("xray", "GetTraceSummaries BatchGetTraces")
_WRITE_TRACES = _words("xray", "PutTraceSegments PutTelemetryRecords GetSamplingRules GetSamplingTargets GetSamplingStatisticSummaries")
_READ_VPC = _words("ec2", "DescribeSecurityGroups DescribeSubnets DescribeVpcs")
_READ_STATES = _words("states", "DescribeStateMachine ListStateMachines")
_READ_GROUPS = _words("logs", "DescribeLogStreams GetLogEvents FilterLogEvents")
_TAIL = _words("logs", "StartLiveTail StopLiveTail")
_ENI = _words("ec2", "CreateNetworkInterface DescribeNetworkInterfaces DeleteNetworkInterface")
_ADDRESSES = _words("ec2", "AssignPrivateIpAddresses UnassignPrivateIpAddresses")
_OF_FUNCTIONS = "arn:aws:logs:*:*:log-group:/aws/lambda/*"
_GENERATE = _words("cloudwatch", "GenerateQuery GenerateQueryResultsSummary")
_OWN_ACCOUNT = _equal(aws_ResourceAccount="${aws:PrincipalAccount}")
_LINKED = "arn:aws:iam::*:role/aws-service-role"

# name: (default version, created, updated, statements)
_POLICIES: dict[str, tuple[str, str, str, list[dict[str, Any]]]] = {
    # people and tools
    "AdministratorAccess": ("v1", "2015-02-06", "2015-02-06", [{"Effect": "Allow", "Action": "*", "Resource": "*"}]),
    "PowerUserAccess": (
        "v12", "2015-02-06", "2026-02-12",
        [
            {"Effect": "Allow", "NotAction": ["iam:*", "organizations:*", "account:*"], "Resource": "*"},
            _allow(
                *_words("account", "GetAccountInformation GetGovCloudAccountInformation GetPrimaryEmail ListRegions"),
                *_words("iam", "CreateServiceLinkedRole DeleteServiceLinkedRole ListRoles"),
                *_words("organizations", "DescribeEffectivePolicy DescribeOrganization"),
            ),
        ],
    ),
    "ReadOnlyAccess": (
        "v190", "2015-02-06", "2026-09-24",
        [
            _allow(
                *_words("apigateway", "GET"), *_words("cloudformation", "Describe* Detect* Estimate* Get* List* ValidateTemplate"),
                *_words("cloudwatch", "Describe* GenerateQuery GenerateQueryResultsSummary Get* List*"),
                *_words("dynamodb", "BatchGet* Describe* Get* List* PartiQLSelect Query Scan"), *_words("events", "Describe* List* Test*"),
                *_words("iam", "Generate* Get* List* Simulate*"), *_words("kinesis", "Describe* Get* List*"),
                *_words("kms", "Describe* Get* List*"), *_words("lambda", "Get* List*"),
                *_words("logs", "Describe* FilterLogEvents Get* ListTagsForResource ListTagsLogGroup StartLiveTail StartQuery"),
                *_words("logs", "StopLiveTail StopQuery TestMetricFilter"), *_words("s3", "DescribeJob Get* List*"),
                *_words("scheduler", "GetSchedule GetScheduleGroup ListScheduleGroups ListSchedules ListTagsForResource"),
                *_words("secretsmanager", "Describe* GetResourcePolicy List*"),
                *_words("signer", "DescribeSigningJob GetSigningPlatform GetSigningProfile ListProfilePermissions ListSigningJobs"),
                *_words("signer", "ListSigningPlatforms ListSigningProfiles ListTagsForResource"),
                *_words("sns", "Check* Get* List*"), *_words("sqs", "Get* List* Receive*"), *_words("ssm", "Describe* Get* List*"),
                *_words("sts", "GetAccessKeyInfo GetCallerIdentity GetSessionToken"), *_words("tag", "DescribeReportCreation Get*"),
                *_words("xray", "BatchGet* Get* ListResourcePolicies ListTagsForResource"),
            )
        ],
    ),
    "AWSDenyAll": ("v2", "2019-05-01", "2023-12-18", [{"Sid": "DenyAll", "Effect": "Deny", "Action": ["*"], "Resource": "*"}]),
    "IAMFullAccess": (
        "v2", "2015-02-06", "2019-06-21",
        [
            _allow(
                "iam:*",
                *_words("organizations", "DescribeAccount DescribeOrganization DescribeOrganizationalUnit DescribePolicy ListChildren"),
                *_words("organizations", "ListParents ListPoliciesForTarget ListRoots ListPolicies ListTargetsForPolicy"),
            )
        ],
    ),
    "IAMReadOnlyAccess": (
        "v4", "2015-02-06", "2018-01-25",
        [_allow(*_words("iam", "GenerateCredentialReport GenerateServiceLastAccessedDetails Get* List* SimulateCustomPolicy"),
                "iam:SimulatePrincipalPolicy")],
    ),
    "IAMUserChangePassword": (
        "v5", "2016-11-15", "2026-02-12",
        [
            _allow("iam:ChangePassword", resource=["arn:aws:iam::*:user/${aws:username}", "arn:aws:iam::*:user/*/${aws:username}"]),
            _allow("iam:GetAccountPasswordPolicy"),
        ],
    ),
    # Lambda
    "AWSLambda_FullAccess": (
        "v7", "2020-11-17", "2026-02-12",
        [
            _allow(
                *_words("cloudformation", "DescribeStacks ListStackResources"), *_words("cloudwatch", "ListMetrics GetMetricData"),
                *_READ_VPC, *_words("kms", "DescribeKey ListAliases"), *_READ_ROLES, "lambda:*", "logs:DescribeLogGroups", *_READ_STATES,
                "tag:GetResources", *_READ_TRACES,
            ),
            _allow("iam:PassRole", Condition=_equal(iam_PassedToService="lambda.amazonaws.com")),
            _allow(*_READ_GROUPS, *_TAIL, resource=_OF_FUNCTIONS),
            _allow("iam:CreateServiceLinkedRole", resource=f"{_LINKED}/lambda.amazonaws.com/AWSServiceRoleForLambda",
                   Condition=_equal(iam_AWSServiceName="lambda.amazonaws.com")),
        ],
    ),
    "AWSLambda_ReadOnlyAccess": (
        "v5", "2020-11-17", "2026-02-12",
        [
            _allow(
                *_words("cloudformation", "DescribeStacks ListStacks ListStackResources"),
                *_words("cloudwatch", "GetMetricData ListMetrics"), *_READ_VPC, "kms:ListAliases", *_READ_ROLES,
                "logs:DescribeLogGroups", "lambda:Get*", "lambda:List*", *_READ_STATES, "tag:GetResources", *_READ_TRACES,
            ),
            _allow(*_READ_GROUPS, *_words("logs", "StartQuery StopQuery DescribeQueries GetLogGroupFields GetLogRecord GetQueryResults"),
                   *_TAIL, resource=_OF_FUNCTIONS),
        ],
    ),
    "AWSLambdaExecute": (
        "v1", "2015-02-06", "2015-02-06",
        [_allow("logs:*", resource="arn:aws:logs:*:*:*"), _allow("s3:GetObject", "s3:PutObject", resource="arn:aws:s3:::*")],
    ),
    "AWSLambdaInvocation-DynamoDB": ("v1", "2015-02-06", "2015-02-06", [_allow("lambda:InvokeFunction"), _allow(*_READ_STREAMS)]),
    "service-role/AWSLambdaRole": ("v1", "2015-02-06", "2015-02-06", [_allow("lambda:InvokeFunction", resource=["*"])]),
    "service-role/AWSLambdaBasicExecutionRole": ("v1", "2015-04-09", "2015-04-09", [_allow(*_LOGS)]),
    "service-role/AWSLambdaBasicDurableExecutionRolePolicy": (
        "v3", "2025-12-02", "2026-02-12", [_allow(*_LOGS, *_words("lambda", "CheckpointDurableExecution GetDurableExecutionState"))],
    ),
    "service-role/AWSLambdaVPCAccessExecutionRole": (
        "v3", "2016-02-11", "2024-01-05",
        [_allow(*_LOGS, *_words("ec2", "CreateNetworkInterface DescribeNetworkInterfaces DescribeSubnets DeleteNetworkInterface"),
                *_ADDRESSES, Sid="AWSLambdaVPCAccessExecutionPermissions")],
    ),
    "service-role/AWSLambdaENIManagementAccess": ("v2", "2016-12-06", "2020-10-01", [_allow(*_ENI, *_ADDRESSES)]),
    "service-role/AWSLambdaSQSQueueExecutionRole": (
        "v1", "2018-06-14", "2018-06-14", [_allow(*_words("sqs", "ReceiveMessage DeleteMessage GetQueueAttributes"), *_LOGS)],
    ),
    "service-role/AWSLambdaDynamoDBExecutionRole": ("v1", "2015-04-09", "2015-04-09", [_allow(*_READ_STREAMS, *_LOGS)]),
    "service-role/AWSLambdaKinesisExecutionRole": (
        "v2", "2015-04-09", "2018-11-19",
        [_allow(*_words("kinesis", "DescribeStream DescribeStreamSummary GetRecords GetShardIterator ListShards ListStreams"),
                "kinesis:SubscribeToShard", *_LOGS)],
    ),
    "service-role/AWSLambdaMSKExecutionRole": (
        "v2", "2020-08-11", "2022-08-02",
        [_allow(*_words("kafka", "DescribeCluster DescribeClusterV2 GetBootstrapBrokers"),
                *_words("ec2", "CreateNetworkInterface DescribeNetworkInterfaces DescribeVpcs DeleteNetworkInterface DescribeSubnets"),
                "ec2:DescribeSecurityGroups", *_LOGS)],
    ),
    "service-role/AWSCodeDeployRoleForLambda": (
        "v3", "2017-11-28", "2019-12-03",
        [
            _allow("cloudwatch:DescribeAlarms", *_words("lambda", "UpdateAlias GetAlias GetProvisionedConcurrencyConfig"), "sns:Publish"),
            _allow(*_words("s3", "GetObject GetObjectVersion"), resource="arn:aws:s3:::*/CodeDeploy/*"),
            _allow(*_words("s3", "GetObject GetObjectVersion"),
                   Condition={"StringEquals": {"s3:ExistingObjectTag/UseWithCodeDeploy": "true"}}),
            _allow("lambda:InvokeFunction", resource="arn:aws:lambda:*:*:function:CodeDeployHook_*"),
        ],
    ),
    # logs, metrics, traces
    "CloudWatchLogsFullAccess": (
        "v8", "2015-02-06", "2026-02-12",
        [_allow("logs:*", *_GENERATE,
                *_words("observabilityadmin", "GetS3TableIntegration ListS3TableIntegrations ListTelemetryPipelines"),
                Sid="CloudWatchLogsFullAccess")],
    ),
    "CloudWatchLogsReadOnlyAccess": (
        "v12", "2015-02-06", "2026-02-12",
        [_allow(*_words("logs", "Describe* Get* List* StartQuery StopQuery TestMetricFilter FilterLogEvents"), *_TAIL, *_GENERATE,
                *_words("observabilityadmin", "ListS3TableIntegrations GetS3TableIntegration ListTelemetryPipelines"),
                Sid="CloudWatchLogsReadOnlyAccess")],
    ),
    "CloudWatchFullAccess": (
        "v4", "2015-02-06", "2022-11-27",
        [
            _allow("autoscaling:Describe*", "cloudwatch:*", "logs:*", "sns:*", *_words("iam", "GetPolicy GetPolicyVersion GetRole"),
                   "oam:ListSinks"),
            _allow("iam:CreateServiceLinkedRole", resource=f"{_LINKED}/events.amazonaws.com/AWSServiceRoleForCloudWatchEvents*",
                   Condition={"StringLike": {"iam:AWSServiceName": "events.amazonaws.com"}}),
            _allow("oam:ListAttachedLinks", resource="arn:aws:oam:*:*:sink/*"),
        ],
    ),
    "CloudWatchLambdaInsightsExecutionRolePolicy": (
        "v1", "2020-10-07", "2020-10-07",
        [
            _allow("logs:CreateLogGroup"),
            _allow("logs:CreateLogStream", "logs:PutLogEvents", resource="arn:aws:logs:*:*:log-group:/aws/lambda-insights:*"),
        ],
    ),
    "CloudWatchLambdaApplicationSignalsExecutionRolePolicy": (
        "v1", "2024-10-16", "2024-10-16",
        [
            _allow("xray:PutTraceSegments", resource=["*"], Condition=_OWN_ACCOUNT, Sid="CloudWatchApplicationSignalsXrayWritePermissions"),
            _allow(*_LOGS, resource="arn:aws:logs:*:*:log-group:/aws/application-signals/data:*", Condition=_OWN_ACCOUNT,
                   Sid="CloudWatchApplicationSignalsLogGroupWritePermissions"),
        ],
    ),
    "AWSXRayDaemonWriteAccess": (
        "v2", "2018-08-28", "2024-02-13", [_allow(*_WRITE_TRACES, resource=["*"], Sid="AWSXRayDaemonWriteAccess")],
    ),
    "AWSXrayWriteOnlyAccess": ("v2", "2016-12-01", "2018-08-28", [_allow(*_WRITE_TRACES, resource=["*"])]),
    # what functions use
    "AmazonSQSFullAccess": ("v1", "2015-02-06", "2015-02-06", [_allow("sqs:*")]),
    "AmazonSQSReadOnlyAccess": (
        "v4", "2015-02-06", "2024-05-24",
        [_allow(*_words("sqs", "GetQueueAttributes GetQueueUrl ListDeadLetterSourceQueues ListQueues ListMessageMoveTasks ListQueueTags"),
                Sid="AmazonSQSReadOnlyAccess")],
    ),
    "AmazonS3FullAccess": ("v2", "2015-02-06", "2021-09-27", [_allow("s3:*", "s3-object-lambda:*")]),
    "AmazonS3ReadOnlyAccess": (
        "v3", "2015-02-06", "2023-08-10", [_allow(*_words("s3", "Get* List* Describe*"), *_words("s3-object-lambda", "Get* List*"))],
    ),
    "AmazonKinesisFullAccess": ("v1", "2015-02-06", "2015-02-06", [_allow("kinesis:*")]),
    "AmazonKinesisReadOnlyAccess": ("v1", "2015-02-06", "2015-02-06", [_allow(*_words("kinesis", "Get* List* Describe*"))]),
    "AmazonEventBridgeSchedulerFullAccess": (
        "v4", "2022-11-10", "2026-02-12",
        [
            _allow("scheduler:*"),
            _allow("iam:PassRole", resource="arn:aws:iam::*:role/*",
                   Condition={"StringLike": {"iam:PassedToService": "scheduler.amazonaws.com"}}),
        ],
    ),
    "AmazonSSMReadOnlyAccess": ("v1", "2015-05-29", "2015-05-29", [_allow(*_words("ssm", "Describe* Get* List*"))]),
    "AmazonAPIGatewayAdministrator": ("v1", "2015-07-09", "2015-07-09", [_allow("apigateway:*", resource="arn:aws:apigateway:*::/*")]),
    "AmazonAPIGatewayInvokeFullAccess": (
        "v2", "2015-07-09", "2018-12-18",
        [_allow(*_words("execute-api", "Invoke ManageConnections"), resource="arn:aws:execute-api:*:*:*")],
    ),
    "service-role/AmazonAPIGatewayPushToCloudWatchLogs": (
        "v1", "2015-11-11", "2015-11-11",
        [_allow(*_words("logs", "CreateLogGroup CreateLogStream DescribeLogGroups DescribeLogStreams PutLogEvents GetLogEvents"),
                "logs:FilterLogEvents")],
    ),
    "AWSCloudFormationFullAccess": ("v1", "2019-07-26", "2019-07-26", [_allow("cloudformation:*")]),
}  # fmt: skip


def _make(version: str, created: str, updated: str, statements: list[dict[str, Any]]) -> ManagedPolicy:
    document = {"Version": "2012-10-17", "Statement": statements}
    return ManagedPolicy(version, created, updated, json.dumps(document, indent=4), document)


MANAGED = {f"{PREFIX}{name}": _make(*policy) for name, policy in _POLICIES.items()}
