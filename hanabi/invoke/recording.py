"""The record, last log lines and result of an ended invocation, made from its outcome."""

from hanabi.contracts.functions import JsonLogs
from hanabi.contracts.invocation import Invocation, Outcome, Result
from hanabi.contracts.journal import Journal, LogEvent, Record
from hanabi.environment.execution import runtime_done
from hanabi.ledger import platform_events
from hanabi.ledger.log_tail import end_of_log
from hanabi.ledger.report import start_line, text_events


def make_record(invocation: Invocation, outcome: Outcome, now_ms: int) -> Record:
    version = invocation.route.version
    duration_us, init_us, restore_us = outcome.duration_us, outcome.init_us, outcome.restore_us
    # Init is billed like the invocation itself (since August 2025), of a restore its hooks; the sum is rounded up once.
    billed_us = duration_us + (init_us or 0 if restore_us is None else restore_us[1])
    return Record(
        request_id=invocation.request_id,
        function=version.record_name,
        version=version.version,
        memory_mb=version.memory_mb,
        started_ms=now_ms - duration_us // 1000,
        duration_ms=duration_us / 1000,
        billed_ms=-(-billed_us // 1000),
        init_ms=None if init_us is None else init_us / 1000,
        max_memory_mb=outcome.max_memory_mb,
        status=outcome.status,
        error_type=outcome.error_type,
        environment=outcome.environment,
        source=invocation.source,
        trace=invocation.trace,
        restore=None if restore_us is None else (restore_us[0] / 1000, restore_us[1] / 1000),
        attempt=invocation.attempt,
        tenant=version.tenant,
        extensions_ms=None if outcome.extensions_us is None else outcome.extensions_us / 1000,
    )


def early_result(invocation: Invocation, outcome: Outcome, now_ms: int) -> Result:
    """Make the result of a pending outcome. Its record is as of now, and is not written."""
    return _result(outcome, make_record(invocation, outcome, now_ms))


def record(journal: Journal, invocation: Invocation, outcome: Outcome, now_ms: int) -> Result:
    """Write the record with its log events. Raises `OSError` when it cannot be written."""
    version, made = invocation.route.version, make_record(invocation, outcome, now_ms)
    events, start_ms = outcome.events, outcome.start_ms
    if version.json_logs is not None:
        events += _json_lines(invocation, outcome, made, now_ms, version.json_logs)
        journal.finish(made, version.record_group, outcome.stream, events)
    else:
        if not outcome.started:  # after what the environment has logged so far
            events.append((made.started_ms, start_line(invocation.request_id, version.version)))
        journal.finish_text(made, version.record_group, outcome.stream, events, start_ms, now_ms)
    if outcome.on_record is not None:
        outcome.on_record(made)
    result = _result(outcome, made)
    if invocation.tail:
        lines = events if version.json_logs is not None else text_events(made, events, start_ms, now_ms)
        result.log_tail = end_of_log(outcome.tail, lines)
    return result


def _result(outcome: Outcome, made: Record) -> Result:
    error = None if outcome.status == "success" else "Unhandled"
    return Result(payload=outcome.payload, function_error=error, version=made.version, log_tail=b"", record=made)


def _json_lines(invocation: Invocation, outcome: Outcome, made: Record, now_ms: int, logs: JsonLogs) -> list[LogEvent]:
    """Make the last lines of an invocation whose logs are JSON; all of them, if its environment has logged none."""
    events = [(now_ms, platform_events.report(made))]
    if not outcome.started:
        start = platform_events.start(invocation.request_id, invocation.route.version, invocation.trace)
        events = [(made.started_ms, start), (now_ms, runtime_done(invocation, outcome)), *events]
    return [(time_ms, platform_events.json_line(time_ms, event)) for time_ms, event in events if platform_events.is_logged(event, logs)]
