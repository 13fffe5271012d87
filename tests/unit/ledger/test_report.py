"""Lambda's log lines, to the letter."""

import pytest

from hanabi.ledger.report import billed_ms, end_line, init_report_line, report_line, start_line, start_phase_line
from tests.unit.ledger.support import make_record

ID = "3604209a-e9a3-11e6-939a-754dd98c7be3"
HEAD = f"REPORT RequestId: {ID}\tDuration: 133.61 ms\tBilled Duration: 214 ms\tMemory Size: 128 MB\tMax Memory Used: 31 MB\t"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, HEAD.replace("214", "134")),
        ({"init_ms": 80.0}, HEAD + "Init Duration: 80.00 ms\t"),
        ({"init_ms": 80.0, "status": "timeout", "error_type": "Sandbox.Timedout"}, HEAD + "Init Duration: 80.00 ms\tStatus: timeout"),
        (
            {"status": "error", "error_type": "Runtime.ExitError"},
            HEAD.replace("214", "134") + "Status: error\tError Type: Runtime.ExitError",
        ),
        (
            {"trace": "Root=1-5e34a614-10bdc0de;Parent=07f5;Sampled=1;Lineage=a:0"},
            HEAD.replace("214", "134") + "\nXRAY TraceId: 1-5e34a614-10bdc0de\tSegmentId: 07f5\tSampled: true\t",
        ),
        ({"trace": "Root=1-5e34a614-10bdc0de;Parent=07f5;Sampled=0"}, HEAD.replace("214", "134")),
    ],
)
def test_report(changes: dict[str, object], line: str) -> None:
    assert report_line(make_record(request_id=ID, duration_ms=133.609, **changes)) == line


def test_start_and_end() -> None:
    assert start_line(ID, "$LATEST") == f"START RequestId: {ID} Version: $LATEST"
    assert end_line(ID) == f"END RequestId: {ID}"


@pytest.mark.parametrize(
    ("runtime", "named"),
    [("python3.11", "python:3.11.v1"), ("nodejs22.x", "nodejs:22.v1"), ("provided.al2023", "provided:al2023.v1"), ("java21", "java:21.v1")],
)
def test_init_start(runtime: str, named: str) -> None:
    assert start_phase_line("INIT_START", runtime, "arn:x") == f"INIT_START Runtime Version: {named}\tRuntime Version ARN: arn:x"


def test_init_report() -> None:
    assert init_report_line(316.8, "error", "Runtime.ImportModuleError") == (
        "INIT_REPORT Init Duration: 316.80 ms\tPhase: init\tStatus: error\tError Type: Runtime.ImportModuleError"
    )
    assert init_report_line(9999.0, "timeout", None, "invoke") == "INIT_REPORT Init Duration: 9999.00 ms\tPhase: invoke\tStatus: timeout"


@pytest.mark.parametrize(
    ("duration", "init", "billed"),
    [(0.01, None, 1), (1.0, None, 1), (1.001, None, 2), (133.61, 80.0, 214), (0.4, 0.4, 1), (1.1, 1.9, 3), (0.0, None, 0)],
)
def test_billed_is_rounded_up_once(duration: float, init: float | None, billed: int) -> None:
    assert billed_ms(duration, init) == billed
