"""Lambda's platform log lines, made from the record, and the billed duration."""

import math
from collections.abc import Sequence

from hanabi.contracts.journal import LogEvent, Record


def billed_ms(duration_ms: float, init_ms: float | None = None) -> int:
    """The billed duration. Init is billed like the invocation itself (since August 2025); the sum is rounded up once."""
    # Both are measured to the microsecond; what binary fractions add beyond that must not buy a whole millisecond.
    return math.ceil(round(duration_ms + (init_ms or 0.0), 3))


def start_line(request_id: str, version: str) -> str:
    return f"START RequestId: {request_id} Version: {version}"


def end_line(request_id: str) -> str:
    return f"END RequestId: {request_id}"


def text_events(record: Record, events: Sequence[LogEvent], start_ms: int | None, end_ms: int) -> list[LogEvent]:
    """Return the log of an invocation as text: START, what was printed, END and REPORT. `start_ms` None: without START."""
    started = [] if start_ms is None else [(start_ms, start_line(record.request_id, record.version))]
    return [*started, *events, (end_ms, end_line(record.request_id)), (end_ms, report_line(record))]


def report_line(record: Record) -> str:
    """The REPORT line, separated by tabs. On success it ends with a tab, with a status it does not, as recorded from Lambda."""
    line = (
        f"REPORT RequestId: {record.request_id}\tDuration: {record.duration_ms:.2f} ms\tBilled Duration: {record.billed_ms} ms\t"
        f"Memory Size: {record.memory_mb} MB\tMax Memory Used: {record.max_memory_mb} MB\t"
    )
    if record.init_ms is not None:
        line += f"Init Duration: {record.init_ms:.2f} ms\t"
    if record.restore is not None:
        restore_ms, hooks_ms = record.restore
        line += f"Restore Duration: {restore_ms:.2f} ms\tBilled Restore Duration: {billed_ms(hooks_ms)} ms\t"
    if record.status != "success":
        line += f"Status: {record.status}"
        if record.error_type and record.status != "timeout":
            line += f"\tError Type: {record.error_type}"
    return line if "Sampled=1" not in record.trace else line + _trace_line(record.trace)


def _trace_line(trace: str) -> str:
    """The second line of REPORT, of an invocation that is traced."""
    parts = dict(part.split("=", 1) for part in trace.split(";") if "=" in part)
    return f"\nXRAY TraceId: {parts.get('Root', '')}\tSegmentId: {parts.get('Parent', '')}\tSampled: true\t"


def start_phase_line(word: str, runtime: str, version_arn: str) -> str:
    """`INIT_START Runtime Version: python:3.11.v1\tRuntime Version ARN: arn:...`; RESTORE_START where a snapshot is restored."""
    return f"{word} Runtime Version: {runtime_version(runtime)}\tRuntime Version ARN: {version_arn}"


def runtime_version(runtime: str) -> str:
    """Name the version of a runtime: `python:3.11.v1`."""
    family = runtime.rstrip("0123456789.x") if not runtime.startswith("provided") else "provided"
    version = runtime[len(family) :].strip(".").removesuffix(".x")
    return f"{family}:{version}.v1"


def init_report_line(init_ms: float, status: str, error_type: str | None, phase: str = "init", word: str = "INIT") -> str:
    """`phase` is `invoke` when the init was tried again inside an invocation. A success has no status, as in REPORT.

    `word` RESTORE: of a restore from a snapshot, which has no phases.
    """
    line = f"{word}_REPORT {word.capitalize()} Duration: {init_ms:.2f} ms" + (f"\tPhase: {phase}" if word == "INIT" else "")
    if status == "success":
        return line
    line += f"\tStatus: {status}"
    return f"{line}\tError Type: {error_type}" if error_type and status != "timeout" else line
