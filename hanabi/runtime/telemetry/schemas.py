"""One event, as each version of the schema has it: encoded, or left out.

AWS Lambda developer guide, "Lambda Telemetry API Event schema reference" and "Lambda Logs API".
"""

import json
from typing import Any

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
RESTORE = ("platform.restoreStart", "platform.restoreRuntimeDone", "platform.restoreReport")
OF_LOGS_API = frozenset(
    "platform.start platform.end platform.report platform.runtimeDone platform.fault platform.extension platform.logsSubscription "
    "platform.logsDropped".split()
)
OF_TELEMETRY_API = frozenset(
    "platform.initStart platform.initRuntimeDone platform.initReport platform.start platform.runtimeDone platform.report "
    "platform.extension platform.telemetrySubscription platform.logsDropped".split()
)
INSTANCE = frozenset(("functionName", "functionVersion", "instanceId", "instanceMaxMemory"))


def encode_event(time: str, type: str, record: Any) -> bytes:
    # A lone surrogate, which JSON may name and UTF-8 cannot hold, becomes a question mark.
    return _encode({"time": time, "type": type, "record": record}).encode(errors="replace")


def shape(type: str, record: Any, schema: str) -> list[tuple[str, Any]]:
    """Return the events that an event is in a schema: none, one, or for the Logs API perhaps two."""
    if not type.startswith("platform."):
        return [(type, record)]
    if schema < "2022":
        return _of_logs_api(type, record, schema)
    if type not in OF_TELEMETRY_API and not (type in RESTORE and schema >= "2022-12-13"):
        return []
    return [(type, {key: value for key, value in record.items() if key not in _left_out(type, schema)})]


def _left_out(type: str, schema: str) -> frozenset[str]:
    """The members that a version of the schema does not have yet."""
    if type == "platform.start" and schema < "2025":
        return frozenset(("functionArn",))
    if schema < "2022-12-13":
        if type == "platform.initStart":
            return INSTANCE
        if type == "platform.initReport":
            return frozenset(("status", "errorType"))
    return frozenset()


def _of_logs_api(type: str, record: dict[str, Any], schema: str) -> list[tuple[str, Any]]:
    if type not in OF_LOGS_API:
        return []
    members: tuple[str, ...] = ()
    match type:
        case "platform.start":
            members = ("requestId", "version", "tracing")
        case "platform.report":
            members = ("requestId", "metrics", "tracing")
            events = [("platform.end", {"requestId": record["requestId"]})]
            return [*events, (type, {key: record[key] for key in members if key in record})]
        case "platform.runtimeDone":
            return _runtime_done(record, schema)
        case _:
            return [(type, record)]
    return [(type, {key: record[key] for key in members if key in record})]


def _runtime_done(record: dict[str, Any], schema: str) -> list[tuple[str, Any]]:
    status, error_type = record["status"], record.get("errorType")
    events: list[tuple[str, Any]] = []
    if error_type and error_type.startswith(("Runtime.", "Extension.", "Sandbox.")):
        events.append(("platform.fault", f"RequestId: {record['requestId']} Error: {error_type}\n"))
    if schema >= "2021-03-18":
        said = {"requestId": record["requestId"], "status": "failure" if status == "error" else status}
        events.append(("platform.runtimeDone", said))
    return events
