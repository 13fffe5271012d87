"""Lambda's platform events: their records, the level at which each is logged, and their JSON form.

AWS Lambda developer guide, "Lambda Telemetry API Event schema reference" and "Log-level filtering"; values as in recorded logs.
"""

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hanabi.contracts.functions import FunctionVersion, JsonLogs
from hanabi.contracts.journal import Record

LEVELS = {"TRACE": 0, "DEBUG": 1, "INFO": 2, "WARN": 3, "ERROR": 4, "FATAL": 5}
DEBUG, INFO, WARN = LEVELS["DEBUG"], LEVELS["INFO"], LEVELS["WARN"]
MB = 1 << 20

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class PlatformEvent(NamedTuple):
    """An event of Lambda's own: "platform.start" with its record, and the level at which it is logged."""

    type: str
    record: dict[str, Any]
    level: int


class RuntimeName(NamedTuple):
    """The version of a managed runtime: `python:3.13.v1`, and its ARN."""

    version: str
    arn: str


class Span(NamedTuple):
    """A part of a phase. `start`: Unix s."""

    name: str
    start: float
    duration_ms: float


def is_logged(event: PlatformEvent, logs: JsonLogs) -> bool:
    return event.level >= LEVELS[logs.system]


def json_line(time_ms: int, event: PlatformEvent) -> str:
    """Make the log line of an event in JSON."""
    return _encode({"time": iso_time(time_ms / 1000), "type": event.type, "record": event.record})


def iso_time(unix_s: float) -> str:
    """Format a time as Lambda does: `2026-10-08T07:30:27.768Z`."""
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%S}.{int(unix_s * 1000) % 1000:03d}Z"


# --- the init phase -----------------------------------------------------------------------------------------------------


def init_start(version: FunctionVersion, kind: str, phase: str, runtime: RuntimeName | None, instance: str) -> PlatformEvent:
    """`kind`: AWS_LAMBDA_INITIALIZATION_TYPE. `instance`: the environment's id, which in Lambda is the name of its log stream."""
    record = {"initializationType": kind, "phase": phase, **_instance(version, runtime, instance)}
    return PlatformEvent("platform.initStart", record, INFO if runtime else DEBUG)


def init_runtime_done(kind: str, phase: str, status: str, error_type: str | None) -> PlatformEvent:
    record = {"initializationType": kind, "phase": phase, **_status(status, error_type)}
    return PlatformEvent("platform.initRuntimeDone", record, _level(status, DEBUG))


def init_report(kind: str, phase: str, duration_ms: float, status: str, error_type: str | None) -> PlatformEvent:
    record = {"initializationType": kind, "phase": phase, **_status(status, error_type), "metrics": {"durationMs": duration_ms}}
    return PlatformEvent("platform.initReport", record, _level(status, DEBUG if kind == "on-demand" else INFO))


def restore_start(version: FunctionVersion, runtime: RuntimeName | None, instance: str) -> PlatformEvent:
    return PlatformEvent("platform.restoreStart", _instance(version, runtime, instance), INFO if runtime else DEBUG)


def restore_runtime_done(status: str, error_type: str | None) -> PlatformEvent:
    return PlatformEvent("platform.restoreRuntimeDone", _status(status, error_type), _level(status, DEBUG))


def restore_report(duration_ms: float, status: str, error_type: str | None) -> PlatformEvent:
    record = {**_status(status, error_type), "metrics": {"durationMs": duration_ms}}
    return PlatformEvent("platform.restoreReport", record, _level(status, INFO))


def _instance(version: FunctionVersion, runtime: RuntimeName | None, instance: str) -> dict[str, Any]:
    known = {"runtimeVersion": runtime.version, "runtimeVersionArn": runtime.arn} if runtime else {}
    return {
        **known,
        "functionName": version.name,
        "functionVersion": version.version,
        "instanceId": instance,
        "instanceMaxMemory": version.memory_mb * MB,
    }


# --- the invoke phase ---------------------------------------------------------------------------------------------------


def start(request_id: str, version: FunctionVersion, trace: str = "") -> PlatformEvent:
    record = {"requestId": request_id, "functionArn": version.arn, "version": version.version, **_tenant(version.tenant), **_tracing(trace)}
    return PlatformEvent("platform.start", record, INFO)


def runtime_done(
    request_id: str,
    status: str,
    error_type: str | None,
    duration_ms: float,
    produced_bytes: int | None = None,
    trace: str = "",
    spans: tuple[Span, ...] = (),
) -> PlatformEvent:
    """The runtime has ended the invocation; extensions may still work."""
    metrics: dict[str, Any] = {"durationMs": duration_ms}
    if produced_bytes is not None:
        metrics["producedBytes"] = produced_bytes
    record = {"requestId": request_id, **_status(status, error_type), **_tracing(trace), **_spans(spans), "metrics": metrics}
    return PlatformEvent("platform.runtimeDone", record, _level(status, DEBUG))


def report(record: Record) -> PlatformEvent:
    """The whole invocation, as REPORT has it."""
    metrics: dict[str, Any] = {
        "durationMs": record.duration_ms,
        "billedDurationMs": record.billed_ms,
        "memorySizeMB": record.memory_mb,
        "maxMemoryUsedMB": record.max_memory_mb,
    }
    if record.init_ms is not None:
        metrics["initDurationMs"] = record.init_ms
    if record.restore is not None:
        metrics["restoreDurationMs"], metrics["billedRestoreDurationMs"] = record.restore[0], -int(-record.restore[1] // 1)
    said = {
        "requestId": record.request_id,
        **_tenant(record.tenant),
        "metrics": metrics,
        **_tracing(record.trace),
        **_status(record.status, record.error_type),
    }
    return PlatformEvent("platform.report", said, _level(record.status, INFO))


# --- extensions and subscriptions ---------------------------------------------------------------------------------------


def extension(name: str, state: str, events: list[str], error_type: str | None = None) -> PlatformEvent:
    """An extension's registration, or its failure. `state`: "Ready", "Registered", "LaunchError" ..."""
    record: dict[str, Any] = {"name": name, "state": state, "events": events}
    if error_type:
        record["errorType"] = error_type
    return PlatformEvent("platform.extension", record, WARN if error_type else INFO)


def telemetry_subscription(name: str, types: list[str]) -> PlatformEvent:
    return PlatformEvent("platform.telemetrySubscription", {"name": name, "state": "Subscribed", "types": types}, INFO)


def logs_subscription(name: str, types: list[str]) -> PlatformEvent:
    """As `telemetry_subscription`, by the older Logs API."""
    return PlatformEvent("platform.logsSubscription", {"name": name, "state": "Subscribed", "types": types}, INFO)


def logs_dropped(reason: str, records: int, size_bytes: int) -> PlatformEvent:
    return PlatformEvent("platform.logsDropped", {"reason": reason, "droppedRecords": records, "droppedBytes": size_bytes}, WARN)


# --- parts --------------------------------------------------------------------------------------------------------------


def _status(status: str, error_type: str | None) -> dict[str, str]:
    if status == "success" or not error_type or status == "timeout":
        return {"status": status}
    return {"status": status, "errorType": error_type}


def _tenant(tenant: str) -> dict[str, str]:
    return {"tenantId": tenant} if tenant else {}


def _level(status: str, otherwise: int) -> int:
    return otherwise if status == "success" else WARN


def _tracing(trace: str) -> dict[str, Any]:
    """The trace of an invocation: `Root=...;Parent=...;Sampled=1`."""
    if not trace:
        return {}
    parent = next((part[7:] for part in trace.split(";") if part.startswith("Parent=")), "")
    return {"tracing": {**({"spanId": parent} if parent else {}), "type": "X-Amzn-Trace-Id", "value": trace}}


def _spans(spans: tuple[Span, ...]) -> dict[str, Any]:
    listed = [{"name": span.name, "start": iso_time(span.start), "durationMs": span.duration_ms} for span in spans]
    return {"spans": listed} if listed else {}
