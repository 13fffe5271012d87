"""Every platform event in every version, against AWS's published schema: tests/unit/runtime/telemetry/schema.py."""

import json
from typing import Any

import pytest

from hanabi.ledger import platform_events as events
from hanabi.ledger.platform_events import PlatformEvent, RuntimeName, Span
from hanabi.runtime.telemetry.schemas import encode_event, shape
from hanabi.runtime.telemetry.subscription import LOGS, SCHEMAS, TELEMETRY
from tests.unit.ledger.support import make_record
from tests.unit.runtime.host import make_version
from tests.unit.runtime.telemetry.schema import check

TRACE = "Root=1-62e900b2-710d76f009d6e7785905449a;Parent=0efbd19962d95b05;Sampled=1"
RUNTIME = RuntimeName("python:3.13.v1", "arn")
ALL = [
    *(events.init_start(make_version(), kind, phase, runtime, "stream")
      for kind in ("on-demand", "provisioned-concurrency", "snap-start") for phase in ("init", "invoke") for runtime in (RUNTIME, None)),
    events.init_runtime_done("on-demand", "init", "success", None),
    events.init_runtime_done("on-demand", "init", "error", "Runtime.ExitError"),
    events.init_report("on-demand", "init", 1.5, "success", None),
    events.init_report("on-demand", "invoke", 1.5, "timeout", None),
    events.restore_start(make_version(), RUNTIME, "stream"),
    events.restore_runtime_done("success", None),
    events.restore_report(1.5, "success", None),
    events.restore_report(1.5, "error", "Runtime.AfterRestoreError"),
    events.start("id", make_version()),
    events.start("id", make_version(), TRACE),
    events.runtime_done("id", "success", None, 2.5, 8, TRACE, (Span("responseLatency", 1.5, 2.0), Span("responseDuration", 3.5, 0.5))),
    events.runtime_done("id", "error", "Runtime.ExitError", 2.5),
    events.runtime_done("id", "timeout", "Sandbox.Timedout", 2.5),
    events.report(make_record(init_ms=3.5, trace=TRACE)),
    events.report(make_record(restore=(4.5, 1.2))),
    events.report(make_record(status="error", error_type="ValueError")),
    events.extension("tool", "Ready", ["INVOKE", "SHUTDOWN"]),
    events.extension("tool", "LaunchError", [], "UnknownError"),
    events.telemetry_subscription("tool", ["platform", "function"]),
    events.logs_subscription("tool", ["function"]),
    events.logs_dropped("slow", 3, 4),
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS[TELEMETRY])
def test_every_event_is_valid(schema: str) -> None:
    kinds = set()
    for event in ALL:
        for type, record in shape(event.type, event.record, schema):
            said = json.loads(encode_event("2026-10-08T07:30:29.470Z", type, record))
            check(said, schema)
            kinds.add(type)
    for kind in ("function", "extension"):
        check(json.loads(encode_event("2026-10-08T07:30:29.470Z", kind, "line\n")), schema)
    assert len(kinds) == (9 if schema == "2022-07-01" else 12)


def shaped(event: PlatformEvent, schema: str) -> list[tuple[str, Any]]:
    return shape(event.type, event.record, schema)


def test_the_logs_api_has_the_events_of_its_time() -> None:
    for schema in SCHEMAS[LOGS]:
        assert [type for event in ALL for type, _ in shaped(event, schema) if "init" in type or "restore" in type.lower()] == []
    record = make_record(init_ms=3.5)
    assert [type for type, _ in shaped(events.report(record), "2020-08-15")] == ["platform.end", "platform.report"]
    failed = events.runtime_done("id", "error", "Runtime.ExitError", 2.5)
    fault = ("platform.fault", "RequestId: id Error: Runtime.ExitError\n")
    assert shaped(failed, "2020-08-15") == [fault]
    assert shaped(failed, "2021-03-18") == [fault, ("platform.runtimeDone", {"requestId": "id", "status": "failure"})]
    assert shaped(events.logs_subscription("t", ["function"]), "2020-08-15")[0][0] == "platform.logsSubscription"
    assert shaped(events.logs_subscription("t", ["function"]), "2022-12-13") == []
    assert shape("function", "x", "2020-08-15") == [("function", "x")]


def test_text_that_utf8_cannot_hold() -> None:
    assert json.loads(encode_event("t", "function", "a\ud800b"))["record"] == "a?b"
