"""AWS's schema of telemetry events, as its documentation publishes it: which members each record must and may have, and of which type.

AWS Lambda developer guide, "Lambda Telemetry API Event schema reference".
"""

import re
from typing import Any

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
STATUS = {"success", "error", "failure", "timeout"}
INIT_TYPE = {"on-demand", "provisioned-concurrency", "snap-start"}
PHASE = {"init", "invoke"}
NUMBER = (int, float)
SPANS = [{"name": str, "start": TIME, "durationMs": NUMBER}]
TRACING = {"spanId?": str, "type": {"X-Amzn-Trace-Id"}, "value": str}
RUNTIME = {"runtimeVersion?": str, "runtimeVersionArn?": str}
INSTANCE = {"functionName?": str, "functionVersion?": str, "instanceId?": str, "instanceMaxMemory?": int}
ENDED = {"status": STATUS, "errorType?": str, "spans?": SPANS, "tracing?": TRACING}
RECORDS: dict[str, Any] = {
    "platform.initStart": {"initializationType": INIT_TYPE, "phase": PHASE, **RUNTIME, **INSTANCE},
    "platform.initRuntimeDone": {"initializationType": INIT_TYPE, "phase": PHASE, **ENDED},
    "platform.initReport": {
        "initializationType": INIT_TYPE, "phase": PHASE, "metrics": {"durationMs": NUMBER}, "status?": STATUS, "errorType?": str,
        "spans?": SPANS, "tracing?": TRACING,
    },
    "platform.restoreStart": {**RUNTIME, **INSTANCE},
    "platform.restoreRuntimeDone": ENDED,
    "platform.restoreReport": {"metrics?": {"durationMs": NUMBER}, **ENDED},
    "platform.start": {"requestId": str, "version?": str, "functionArn?": str, "tracing?": TRACING},
    "platform.runtimeDone": {"requestId": str, "metrics?": {"durationMs": NUMBER, "producedBytes?": int}, **ENDED},
    "platform.report": {
        "requestId": str,
        "metrics": {
            "durationMs": NUMBER, "billedDurationMs": int, "memorySizeMB": int, "maxMemoryUsedMB": int, "initDurationMs?": NUMBER,
            "restoreDurationMs?": NUMBER, "billedRestoreDurationMs?": int,
        },
        **ENDED,
    },
    "platform.extension": {"name": str, "state": str, "events": [str], "errorType?": str},
    "platform.telemetrySubscription": {"name": str, "state": {"Subscribed", "Already subscribed"}, "types": [str]},
    "platform.logsDropped": {"reason": str, "droppedRecords": int, "droppedBytes": int},
    "function": (str, dict),
    "extension": (str, dict),
}  # fmt: skip


def check(event: dict[str, Any], schema: str) -> None:
    """Raise `AssertionError` unless an event is valid."""
    assert [*event] == ["time", "type", "record"]
    assert TIME.fullmatch(event["time"])
    record = event["record"]
    _check(record, RECORDS[event["type"]], event["type"])
    if schema == "2022-07-01":
        assert not event["type"].startswith("platform.restore")


def _check(value: Any, rule: Any, where: str) -> None:
    if isinstance(rule, dict):
        assert isinstance(value, dict), where
        known = {name.rstrip("?"): each for name, each in rule.items()}
        assert value.keys() <= known.keys(), f"{where}: {value.keys() - known.keys()}"
        assert {name for name in rule if not name.endswith("?")} <= value.keys(), f"{where}: {value}"
        for name, each in value.items():
            _check(each, known[name], f"{where}.{name}")
    elif isinstance(rule, list):
        assert isinstance(value, list), where
        for each in value:
            _check(each, rule[0], where)
    elif isinstance(rule, set):
        assert value in rule, where
    elif isinstance(rule, re.Pattern):
        assert rule.fullmatch(value), where
    else:
        assert isinstance(value, rule) and not isinstance(value, bool), where
