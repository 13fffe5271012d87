"""The kinds of event sources, and the settings that a mapping of each may have, with their defaults and bounds.

Which source takes what is from the Lambda API reference, "CreateEventSourceMapping". Words of the refusals are as recorded on AWS
(LocalStack's validated tests), or as users have reported them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hanabi.control.event_patterns import check_pattern
from hanabi.errors import InvalidParameterValue, ValidationError
from hanabi.quotas import EVENT_SOURCE_FILTERS_MAX, FIFO_BATCH_MAX, KAFKA_POLLERS_MAX, POLLERS_DEFAULT, RECORD_AGE_MIN_S, SQS_POLLERS_MIN

_ALWAYS = frozenset(
    "EventSourceArn FunctionName UUID Enabled BatchSize FilterCriteria KMSKeyArn MetricsConfig MaximumBatchingWindowInSeconds Tags".split()
)
_NO_SETTING = frozenset({"FunctionName", "UUID", "Enabled", "Tags"})  # of the mapping itself
_START = frozenset({"StartingPosition", "StartingPositionTimestamp"})
_FAILURES = frozenset(
    {"DestinationConfig", "MaximumRecordAgeInSeconds", "BisectBatchOnFunctionError", "MaximumRetryAttempts", "FunctionResponseTypes"}
)
_STREAM = _START | _FAILURES | {"ParallelizationFactor", "TumblingWindowInSeconds"}
_KAFKA = _START | _FAILURES | {"Topics", "SourceAccessConfigurations", "LoggingConfig", "ProvisionedPollerConfig"}
_POSITIONS = ("LATEST", "AT_TIMESTAMP", "TRIM_HORIZON")
_CLEARED_BY_NOTHING = ("FilterCriteria", "ScalingConfig", "ProvisionedPollerConfig", "KMSKeyArn", "SourceAccessConfigurations")
_KAFKA_CONFIGS = ("AmazonManagedKafkaEventSourceConfig", "SelfManagedKafkaEventSourceConfig")

Settings = Mapping[str, Any]  # members of the API, defaults filled in


@dataclass(frozen=True, slots=True)
class EventSource:
    """One kind of source."""

    kind: str
    resource: re.Pattern[str] | None  # in its ARN; None: it has none
    takes: frozenset[str]  # members beyond those that all take
    defaults: Settings = field(default_factory=dict)
    required: tuple[str, ...] = ()
    positions: tuple[str, ...] = _POSITIONS
    reason: str = "USER_INITIATED"  # the StateTransitionReason of what a user does
    shows_result: bool = True  # LastProcessingResult


_STREAM_DEFAULTS = {
    "BatchSize": 100,
    "MaximumBatchingWindowInSeconds": 0,
    "ParallelizationFactor": 1,
    "DestinationConfig": {"OnFailure": {}},
    "MaximumRecordAgeInSeconds": -1,
    "BisectBatchOnFunctionError": False,
    "MaximumRetryAttempts": -1,
    "TumblingWindowInSeconds": 0,
    "FunctionResponseTypes": [],
}
_KAFKA_DEFAULTS = {"BatchSize": 100, "StartingPosition": "TRIM_HORIZON"}
SELF_MANAGED = EventSource(
    "self-managed kafka",
    None,
    _KAFKA | {"SelfManagedEventSource", "SelfManagedKafkaEventSourceConfig"},
    _KAFKA_DEFAULTS,
    required=("SourceAccessConfigurations", "Topics"),
)
_BY_SERVICE = {
    "sqs": EventSource(
        "sqs",
        re.compile(r"[a-zA-Z0-9_-]+(?:\.fifo)?", re.ASCII),
        frozenset({"ScalingConfig", "FunctionResponseTypes", "ProvisionedPollerConfig"}),
        {"BatchSize": 10, "MaximumBatchingWindowInSeconds": 0, "FunctionResponseTypes": []},
        shows_result=False,
    ),
    "kinesis": EventSource(
        "kinesis",
        re.compile(r"stream/[a-zA-Z0-9_.-]+(?:/consumer/[a-zA-Z0-9_.-]+:\d+)?", re.ASCII),
        _STREAM,
        _STREAM_DEFAULTS,
        required=("StartingPosition",),
        reason="User action",
    ),
    "dynamodb": EventSource(
        "dynamodb",
        re.compile(r"table/[a-zA-Z0-9_.-]+/stream/[a-zA-Z0-9_.:-]+", re.ASCII),
        _STREAM,
        _STREAM_DEFAULTS,
        required=("StartingPosition",),
        positions=("LATEST", "TRIM_HORIZON"),
        reason="User action",
    ),
    "kafka": EventSource(
        "kafka",
        re.compile(r"(?:cluster|vpc-connection)/[a-zA-Z0-9_./-]+", re.ASCII),
        _KAFKA | {"AmazonManagedKafkaEventSourceConfig"},
        _KAFKA_DEFAULTS,
        required=("Topics",),
    ),
    "mq": EventSource(
        "mq",
        re.compile(r"broker:[a-zA-Z0-9_.-]+:[a-zA-Z0-9_.-]+", re.ASCII),
        frozenset({"Queues", "SourceAccessConfigurations"}),
        {"BatchSize": 100},
        required=("SourceAccessConfigurations", "Queues"),
    ),
    "rds": EventSource(
        "documentdb",
        re.compile(r"cluster:[a-zA-Z0-9_.-]+", re.ASCII),
        _START | {"DocumentDBEventSourceConfig", "SourceAccessConfigurations"},
        {"BatchSize": 100, "StartingPosition": "TRIM_HORIZON"},
        required=("SourceAccessConfigurations", "DocumentDBEventSourceConfig"),
    ),
}
SOURCES = {source.kind: source for source in (*_BY_SERVICE.values(), SELF_MANAGED)}


def find_source(params: Mapping[str, Any]) -> EventSource:
    """Return the kind of source that parameters of CreateEventSourceMapping name."""
    arn = params.get("EventSourceArn")
    if params.get("SelfManagedEventSource") and not arn:
        return SELF_MANAGED
    parts = (arn or "").split(":", 5)
    source = _BY_SERVICE.get(parts[2]) if len(parts) == 6 else None
    if source is None or source.resource is None or not source.resource.fullmatch(parts[5]):
        raise InvalidParameterValue("Unrecognized event source.")
    return source


def make_settings(source: EventSource, params: Mapping[str, Any], uuid: str, now: float) -> Settings:
    """Make the settings of a new mapping. `params` are CreateEventSourceMapping's, `now` is Unix time."""
    _check_destination(source, params)
    _check_taken(source, params)
    for member in source.required:
        if not params.get(member):
            raise InvalidParameterValue(_missing(member))
    settings = {**source.defaults, **_given(params)}
    for member in _KAFKA_CONFIGS:
        if member in source.takes:
            settings[member] = {"ConsumerGroupId": uuid, **(settings.get(member) or {})}
    _check_start(source, settings, now)
    return _checked(source, settings)


def change_settings(source: EventSource, settings: Settings, params: Mapping[str, Any]) -> Settings:
    """Change what is given. `params` are UpdateEventSourceMapping's."""
    _check_destination(source, params)
    _check_taken(source, params)
    given = _given(params)
    for member in _KAFKA_CONFIGS:
        if member in given:
            given[member] = _change_kafka(member, settings[member], given[member])
    return _checked(source, {**settings, **given})


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    return {member: value for member, value in params.items() if value is not None and member not in _NO_SETTING}


def _lower_first(member: str) -> str:
    return member[:1].lower() + member[1:]


def _missing(member: str) -> str:
    if member == "StartingPosition":
        return "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null."
    return f"Required '{_lower_first(member)}' parameter is missing."


def _check_taken(source: EventSource, params: Mapping[str, Any]) -> None:
    for member, value in params.items():
        if value is None or member in _ALWAYS or member in source.takes:
            continue
        if member == "StartingPosition" and source.kind == "sqs":
            raise InvalidParameterValue("StartingPosition is not valid for SQS event sources.")
        if member != "DestinationConfig" or _on_failure(value):  # an empty one says nothing
            raise InvalidParameterValue(f"Unsupported '{_lower_first(member)}' parameter for given event source mapping type.")


def _check_destination(source: EventSource, params: Mapping[str, Any]) -> None:
    """Check a DestinationConfig: only discarded records go somewhere."""
    config = params.get("DestinationConfig") or {}
    arn = _on_failure(config)
    if "OnSuccess" in config or (arn and "DestinationConfig" not in source.takes):
        raise InvalidParameterValue("Unsupported DestinationConfig parameter for given event source mapping type.")
    to_topic = arn.startswith("kafka://") and "Topics" in source.takes
    if arn and not to_topic and (arn.split(":") + ["", ""])[2] not in ("sqs", "sns", "s3"):
        raise InvalidParameterValue(f"The destination ARN {arn} is invalid.")


def _on_failure(config: Mapping[str, Any]) -> str:
    return (config.get("OnFailure") or {}).get("Destination") or ""


def _check_start(source: EventSource, settings: Settings, now: float) -> None:
    position, timestamp = settings.get("StartingPosition"), settings.get("StartingPositionTimestamp")
    if position and position not in source.positions:
        raise InvalidParameterValue(f"Unsupported starting position for arn type: {settings['EventSourceArn']}")
    if position == "AT_TIMESTAMP" and timestamp is None:
        raise InvalidParameterValue(
            "1 validation error detected: Value null at 'startingPositionTimestamp' failed to satisfy constraint: Member must not be null."
        )
    if position != "AT_TIMESTAMP" and timestamp is not None:
        raise InvalidParameterValue("StartingPositionTimestamp is only valid with the starting position AT_TIMESTAMP.")
    if timestamp is not None and timestamp > now:
        raise InvalidParameterValue("StartingPositionTimestamp cannot be in the future.")


def _change_kafka(member: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Change the schema registry; what else there is stays as it was made."""
    for part in ("ConsumerGroupId", "ConsumptionMode"):
        if new.get(part) is not None:
            raise InvalidParameterValue(f"Unsupported '{_lower_first(member)}.{_lower_first(part)}' parameter")
    registry = new.get("SchemaRegistryConfig", old.get("SchemaRegistryConfig"))
    kept = {part: value for part, value in old.items() if part != "SchemaRegistryConfig"}
    return kept | ({"SchemaRegistryConfig": registry} if registry else {})


def _checked(source: EventSource, settings: dict[str, Any]) -> Settings:
    """Return settings in order, checked against each other."""
    for member in _CLEARED_BY_NOTHING:
        if not settings.get(member):
            settings.pop(member, None)
    if "DestinationConfig" in settings:
        arn = _on_failure(settings["DestinationConfig"])
        settings["DestinationConfig"] = {"OnFailure": {"Destination": arn} if arn else {}}
        if "DestinationConfig" not in source.takes:
            del settings["DestinationConfig"]
    _check_filters(settings)
    _check_batch(source, settings)
    _check_pollers(source, settings)
    age_s = settings.get("MaximumRecordAgeInSeconds", -1)
    if age_s != -1 and age_s < RECORD_AGE_MIN_S:
        raise InvalidParameterValue("MaximumRecordAgeInSeconds must be either -1 (forever) or between 60 and 604800 (inclusive)")
    metrics = (settings.get("MetricsConfig") or {}).get("Metrics") or []
    if "Topics" not in source.takes and set(metrics) - {"EventCount"}:
        raise InvalidParameterValue("Unsupported 'metricsConfig.metrics' parameter for given event source mapping type.")
    return settings


def _check_filters(settings: dict[str, Any]) -> None:
    filters = (settings.get("FilterCriteria") or {}).get("Filters") or []
    if not filters:
        settings.pop("FilterCriteria", None)
    if len(filters) > EVENT_SOURCE_FILTERS_MAX:
        raise InvalidParameterValue(f"Number of filters exceeds the limit of {EVENT_SOURCE_FILTERS_MAX}.")
    for each in filters:
        try:
            check_pattern(each.get("Pattern") or "")
        except ValueError:
            raise InvalidParameterValue("Invalid filter pattern definition.") from None


def _check_batch(source: EventSource, settings: Settings) -> None:
    if source.kind != "sqs":
        return
    batch, window_s = settings["BatchSize"], settings["MaximumBatchingWindowInSeconds"]
    if settings["EventSourceArn"].endswith(".fifo"):
        if window_s:
            raise InvalidParameterValue("Batching window is not supported for FIFO queues")
        if batch > FIFO_BATCH_MAX:
            raise InvalidParameterValue(f"Maximum batch size must be between 1 and {FIFO_BATCH_MAX} inclusive")
    elif batch > FIFO_BATCH_MAX and not window_s:
        raise InvalidParameterValue(
            f"Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than {FIFO_BATCH_MAX}"
        )


def _check_pollers(source: EventSource, settings: dict[str, Any]) -> None:
    """Check provisioned pollers, with the defaults of what was not given."""
    config = settings.get("ProvisionedPollerConfig")
    if config is None:
        return
    if settings.get("ScalingConfig"):
        raise InvalidParameterValue("ScalingConfig and ProvisionedPollerConfig cannot be set for the same event source mapping.")
    least = SQS_POLLERS_MIN if source.kind == "sqs" else 1
    pollers = {"MinimumPollers": least, "MaximumPollers": max(POLLERS_DEFAULT, config.get("MinimumPollers", 0)), **config}
    if source.kind == "sqs":
        if config.get("PollerGroupName"):
            raise InvalidParameterValue(
                "Unsupported 'provisionedPollerConfig.pollerGroupName' parameter for given event source mapping type."
            )
        if pollers["MinimumPollers"] < least:
            raise _out_of_bounds("minimumPollers", pollers["MinimumPollers"], f"greater than or equal to {least}")
    elif pollers["MaximumPollers"] > KAFKA_POLLERS_MAX:
        raise _out_of_bounds("maximumPollers", pollers["MaximumPollers"], f"less than or equal to {KAFKA_POLLERS_MAX}")
    if pollers["MinimumPollers"] > pollers["MaximumPollers"]:
        raise InvalidParameterValue("MinimumPollers must be less than or equal to MaximumPollers.")
    settings["ProvisionedPollerConfig"] = pollers


def _out_of_bounds(member: str, value: int, bound: str) -> ValidationError:
    return ValidationError(
        f"1 validation error detected: Value '{value}' at 'provisionedPollerConfig.{member}' failed to satisfy constraint: "
        f"Member must have value {bound}"
    )
