"""The settings that each kind of event source takes."""

from typing import Any

import pytest

from hanabi.control.event_sources import SOURCES, Settings, change_settings, find_source, make_settings
from hanabi.errors import ApiError
from tests.unit.control.support import ACCOUNT, REGION

NOW = 1_800_000_000.0
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"
FIFO = f"{QUEUE}.fifo"
KINESIS = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/s"
TABLE = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/t/stream/2026-11-29T01:00:00.000"
MSK = f"arn:aws:kafka:{REGION}:{ACCOUNT}:cluster/c/0d5a2b1c-1111-2222-3333-444444444444-1"
BROKER = f"arn:aws:mq:{REGION}:{ACCOUNT}:broker:b:b-0d5a2b1c-1111"
DOCUMENTS = f"arn:aws:rds:{REGION}:{ACCOUNT}:cluster:c"
SECRET = [{"Type": "BASIC_AUTH", "URI": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:s"}]
OWN = {"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["k:1"]}}, "SourceAccessConfigurations": SECRET, "Topics": ["t"]}


def make(**params: Any) -> Settings:
    return make_settings(find_source(params), params, "id", NOW)


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({"EventSourceArn": QUEUE}, "sqs"),
        ({"EventSourceArn": FIFO}, "sqs"),
        ({"EventSourceArn": KINESIS}, "kinesis"),
        ({"EventSourceArn": f"{KINESIS}/consumer/c:1700000000"}, "kinesis"),
        ({"EventSourceArn": TABLE}, "dynamodb"),
        ({"EventSourceArn": MSK}, "kafka"),
        ({"EventSourceArn": BROKER}, "mq"),
        ({"EventSourceArn": DOCUMENTS}, "documentdb"),
        (OWN, "self-managed kafka"),
    ],
)
def test_sources_are_told_by_their_arns(params: dict[str, Any], kind: str) -> None:
    assert find_source(params) is SOURCES[kind]


def test_defaults() -> None:
    assert make(EventSourceArn=QUEUE) == {
        **{"BatchSize": 10, "MaximumBatchingWindowInSeconds": 0, "FunctionResponseTypes": [], "EventSourceArn": QUEUE},
    }
    assert make(EventSourceArn=TABLE, StartingPosition="LATEST") == {
        **{"BatchSize": 100, "MaximumBatchingWindowInSeconds": 0, "ParallelizationFactor": 1, "DestinationConfig": {"OnFailure": {}}},
        **{"MaximumRecordAgeInSeconds": -1, "BisectBatchOnFunctionError": False, "MaximumRetryAttempts": -1, "TumblingWindowInSeconds": 0},
        **{"FunctionResponseTypes": [], "EventSourceArn": TABLE, "StartingPosition": "LATEST"},
    }
    assert make(**OWN) == {
        **OWN,
        **{"BatchSize": 100, "StartingPosition": "TRIM_HORIZON", "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "id"}},
    }


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "Unrecognized event source."),
        ({"EventSourceArn": f"arn:aws:s3:{REGION}:{ACCOUNT}:bucket"}, "Unrecognized event source."),
        ({"EventSourceArn": KINESIS.replace("stream", "streams")}, "Unrecognized event source."),
        ({"EventSourceArn": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/t"}, "Unrecognized event source."),
        (
            {"EventSourceArn": KINESIS},
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.",
        ),
        (
            {"EventSourceArn": TABLE, "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1.0},
            f"Unsupported starting position for arn type: {TABLE}",
        ),
        ({"EventSourceArn": KINESIS, "StartingPosition": "AT_TIMESTAMP"}, "Value null at 'startingPositionTimestamp'"),
        ({"EventSourceArn": KINESIS, "StartingPosition": "LATEST", "StartingPositionTimestamp": 1.0}, "only valid with"),
        ({"EventSourceArn": KINESIS, "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": NOW + 1}, "in the future"),
        ({"EventSourceArn": QUEUE, "StartingPosition": "LATEST"}, "StartingPosition is not valid for SQS event sources."),
        (
            {"EventSourceArn": QUEUE, "BatchSize": 11},
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        ),
        (
            {"EventSourceArn": FIFO, "BatchSize": 100, "MaximumBatchingWindowInSeconds": 5},
            "Batching window is not supported for FIFO queues",
        ),
        ({"EventSourceArn": FIFO, "BatchSize": 11}, "Maximum batch size must be between 1 and 10 inclusive"),
        (
            {"EventSourceArn": QUEUE, "DestinationConfig": {"OnFailure": {"Destination": FIFO}}},
            "Unsupported DestinationConfig parameter for given event source mapping type.",
        ),
        (
            {"EventSourceArn": KINESIS, "StartingPosition": "LATEST", "DestinationConfig": {"OnSuccess": {"Destination": QUEUE}}},
            "Unsupported DestinationConfig parameter for given event source mapping type.",
        ),
        (
            {"EventSourceArn": QUEUE, "TumblingWindowInSeconds": 0},
            "Unsupported 'tumblingWindowInSeconds' parameter for given event source mapping type.",
        ),
        ({"EventSourceArn": KINESIS, "StartingPosition": "LATEST", "ScalingConfig": {}}, "Unsupported 'scalingConfig' parameter"),
        ({"EventSourceArn": BROKER, "Queues": ["q"]}, "Required 'sourceAccessConfigurations' parameter is missing."),
        ({"EventSourceArn": BROKER, "SourceAccessConfigurations": SECRET}, "Required 'queues' parameter is missing."),
        ({"EventSourceArn": MSK}, "Required 'topics' parameter is missing."),
        ({**OWN, "SourceAccessConfigurations": None}, "Required 'sourceAccessConfigurations' parameter is missing."),
        (
            {"EventSourceArn": DOCUMENTS, "SourceAccessConfigurations": SECRET},
            "Required 'documentDBEventSourceConfig' parameter is missing.",
        ),
        (
            {"EventSourceArn": KINESIS, "StartingPosition": "LATEST", "MaximumRecordAgeInSeconds": 59},
            "MaximumRecordAgeInSeconds must be either -1 (forever) or between 60 and 604800 (inclusive)",
        ),
        ({"EventSourceArn": QUEUE, "FilterCriteria": {"Filters": [{"Pattern": "x"}]}}, "Invalid filter pattern definition."),
        ({"EventSourceArn": QUEUE, "FilterCriteria": {"Filters": [{}]}}, "Invalid filter pattern definition."),
        ({"EventSourceArn": QUEUE, "FilterCriteria": {"Filters": [{"Pattern": "{}"}] * 11}}, "exceeds the limit of 10"),
        (
            {"EventSourceArn": QUEUE, "ScalingConfig": {"MaximumConcurrency": 2}, "ProvisionedPollerConfig": {"MinimumPollers": 2}},
            "cannot be set",
        ),
        (
            {"EventSourceArn": QUEUE, "ProvisionedPollerConfig": {"MinimumPollers": 1}},
            "Value '1' at 'provisionedPollerConfig.minimumPollers'",
        ),
        ({"EventSourceArn": QUEUE, "ProvisionedPollerConfig": {"PollerGroupName": "g"}}, "'provisionedPollerConfig.pollerGroupName'"),
        ({**OWN, "ProvisionedPollerConfig": {"MaximumPollers": 2001}}, "less than or equal to 2000"),
        ({**OWN, "ProvisionedPollerConfig": {"MinimumPollers": 9, "MaximumPollers": 8}}, "less than or equal to MaximumPollers"),
        ({"EventSourceArn": QUEUE, "MetricsConfig": {"Metrics": ["KafkaMetrics"]}}, "'metricsConfig.metrics'"),
        (
            {"EventSourceArn": KINESIS, "StartingPosition": "LATEST", "DestinationConfig": {"OnFailure": {"Destination": "kafka://t"}}},
            "The destination ARN kafka://t is invalid.",
        ),
    ],
)
def test_what_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        make(**params)
    assert message in caught.value.message


@pytest.mark.parametrize(
    "params",
    [
        {"EventSourceArn": QUEUE, "BatchSize": 10_000, "MaximumBatchingWindowInSeconds": 1, "ScalingConfig": {"MaximumConcurrency": 2}},
        {"EventSourceArn": FIFO, "BatchSize": 10, "FunctionResponseTypes": ["ReportBatchItemFailures"]},
        {"EventSourceArn": KINESIS, "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": NOW - 5},
        {**OWN, "DestinationConfig": {"OnFailure": {"Destination": "kafka://failed"}}, "MetricsConfig": {"Metrics": ["KafkaMetrics"]}},
        {"EventSourceArn": BROKER, "SourceAccessConfigurations": SECRET, "Queues": ["q"]},
        {
            **{"EventSourceArn": DOCUMENTS, "SourceAccessConfigurations": SECRET, "StartingPosition": "LATEST"},
            **{"DocumentDBEventSourceConfig": {"DatabaseName": "d"}, "FilterCriteria": {"Filters": [{"Pattern": '{"a": [1]}'}]}},
        },
    ],
)
def test_what_was_given_is_kept(params: dict[str, Any]) -> None:
    assert params.items() <= dict(make(**params)).items()


def test_pollers_have_defaults() -> None:
    assert make(EventSourceArn=QUEUE, ProvisionedPollerConfig={"MaximumPollers": 5})["ProvisionedPollerConfig"] == {
        "MinimumPollers": 2,
        "MaximumPollers": 5,
    }
    assert make(**OWN, ProvisionedPollerConfig={"MinimumPollers": 1})["ProvisionedPollerConfig"]["MaximumPollers"] == 200


def test_changes() -> None:
    queue = make(EventSourceArn=QUEUE, ScalingConfig={"MaximumConcurrency": 5}, FilterCriteria={"Filters": [{"Pattern": "{}"}]})
    sqs = SOURCES["sqs"]
    assert change_settings(sqs, queue, {"UUID": "id", "Enabled": False}) == queue
    changed = change_settings(sqs, queue, {"ScalingConfig": {}, "FilterCriteria": {}, "BatchSize": 5, "FunctionName": "g"})
    assert changed == make(EventSourceArn=QUEUE, BatchSize=5)
    with pytest.raises(ApiError, match="Maximum batch window"):
        change_settings(sqs, queue, {"BatchSize": 11})
    with pytest.raises(ApiError, match="Unsupported 'bisectBatchOnFunctionError' parameter"):
        change_settings(sqs, queue, {"BisectBatchOnFunctionError": True})
    own, kafka = make(**OWN), SOURCES["self-managed kafka"]
    registry = {"SchemaRegistryConfig": {"SchemaRegistryURI": "https://r", "EventRecordFormat": "JSON"}}
    with_registry = change_settings(kafka, own, {"SelfManagedKafkaEventSourceConfig": registry})
    assert with_registry["SelfManagedKafkaEventSourceConfig"] == {"ConsumerGroupId": "id", **registry}
    assert change_settings(kafka, with_registry, {"SelfManagedKafkaEventSourceConfig": {}}) == with_registry
    assert change_settings(kafka, with_registry, {"SelfManagedKafkaEventSourceConfig": {"SchemaRegistryConfig": {}}}) == own
    with pytest.raises(ApiError, match="Unsupported 'selfManagedKafkaEventSourceConfig.consumerGroupId' parameter"):
        change_settings(kafka, own, {"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "id"}})
