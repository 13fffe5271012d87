"""Platform events in JSON: as recorded from Lambda."""

import json

import pytest

from hanabi.contracts.functions import JsonLogs
from hanabi.ledger import platform_events
from hanabi.ledger.platform_events import PlatformEvent, RuntimeName, Span, is_logged, iso_time, json_line
from tests.unit.ledger.support import make_record
from tests.unit.runtime.host import make_version

RUNTIME = RuntimeName("python:3.13.v1", "arn")


def test_a_line() -> None:
    line = json_line(1_791_444_629_470, platform_events.report(make_record(duration_ms=1233.96, init_ms=463.512)))
    said = json.loads(line)
    assert line.startswith('{"time":"2026-10-08T07:30:29.470Z","type":"platform.report","record":{"requestId":"')
    assert [*said["record"]] == ["requestId", "metrics", "status"]
    assert said["record"]["metrics"] == {
        "durationMs": 1233.96, "billedDurationMs": 1698, "memorySizeMB": 128, "maxMemoryUsedMB": 31, "initDurationMs": 463.512,
    }  # fmt: skip


def test_init_start() -> None:
    event = platform_events.init_start(make_version(memory_mb=256), "on-demand", "init", RUNTIME, "stream")
    assert event.record == {
        "initializationType": "on-demand", "phase": "init", "runtimeVersion": "python:3.13.v1", "runtimeVersionArn": "arn",
        "functionName": "demo", "functionVersion": "$LATEST", "instanceId": "stream", "instanceMaxMemory": 268435456,
    }  # fmt: skip


def test_the_trace_of_an_invocation() -> None:
    trace = "Root=1-62e900b2-710d76f009d6e7785905449a;Parent=0efbd19962d95b05;Sampled=1"
    assert platform_events.start("id", make_version(), trace).record["tracing"] == {
        "spanId": "0efbd19962d95b05", "type": "X-Amzn-Trace-Id", "value": trace,
    }  # fmt: skip


def test_restore_is_billed_by_its_hooks() -> None:
    metrics = platform_events.report(make_record(restore=(376.5, 10.2))).record["metrics"]
    assert (metrics["restoreDurationMs"], metrics["billedRestoreDurationMs"]) == (376.5, 11)


def test_spans() -> None:
    done = platform_events.runtime_done("id", "success", None, 2.5, 8, "", (Span("responseLatency", 1.5, 2.0),))
    assert done.record["spans"] == [{"name": "responseLatency", "start": "1970-01-01T00:00:01.500Z", "durationMs": 2.0}]
    assert done.record["metrics"] == {"durationMs": 2.5, "producedBytes": 8}


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (platform_events.init_start(make_version(), "on-demand", "init", RUNTIME, "s"), "INFO"),
        (platform_events.init_start(make_version(), "on-demand", "init", None, "s"), "DEBUG"),
        (platform_events.init_runtime_done("on-demand", "init", "success", None), "DEBUG"),
        (platform_events.init_runtime_done("on-demand", "init", "error", "Runtime.ExitError"), "WARN"),
        (platform_events.init_report("on-demand", "init", 1.0, "success", None), "DEBUG"),
        (platform_events.init_report("provisioned-concurrency", "init", 1.0, "success", None), "INFO"),
        (platform_events.init_report("on-demand", "init", 1.0, "timeout", None), "WARN"),
        (platform_events.restore_start(make_version(), RUNTIME, "s"), "INFO"),
        (platform_events.restore_runtime_done("success", None), "DEBUG"),
        (platform_events.restore_report(1.0, "success", None), "INFO"),
        (platform_events.start("id", make_version()), "INFO"),
        (platform_events.runtime_done("id", "success", None, 1.0), "DEBUG"),
        (platform_events.runtime_done("id", "error", "E", 1.0), "WARN"),
        (platform_events.report(make_record()), "INFO"),
        (platform_events.report(make_record(status="timeout")), "WARN"),
        (platform_events.extension("x", "Ready", ["INVOKE"]), "INFO"),
        (platform_events.extension("x", "LaunchError", [], "Extension.LaunchError"), "WARN"),
        (platform_events.telemetry_subscription("x", ["platform"]), "INFO"),
        (platform_events.logs_subscription("x", ["platform"]), "INFO"),
        (platform_events.logs_dropped("slow", 1, 2), "WARN"),
    ],
)
def test_levels(event: PlatformEvent, level: str) -> None:
    order = ["DEBUG", "INFO", "WARN"]
    assert [is_logged(event, JsonLogs(system=least)) for least in order] == [order.index(level) >= at for at in range(3)]


def test_times() -> None:
    assert [iso_time(at) for at in (0, 1.0015, 1_791_444_629.999)] == [
        "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:01.001Z", "2026-10-08T07:30:29.999Z",
    ]  # fmt: skip
