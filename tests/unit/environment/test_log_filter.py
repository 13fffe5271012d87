"""Application log levels of lines that say their own."""

import pytest

from hanabi.environment.log_filter import drop_below

TIME = '"timestamp": "2024-11-02T16:51:31.587199Z"'


@pytest.mark.parametrize(
    ("line", "level", "kept"),
    [
        ("plain text", "FATAL", True),
        ("{not json", "FATAL", True),
        ('{"level": "debug", "msg": "m", ' + TIME + "}", "INFO", False),
        ('{"level": "debug", "msg": "m", ' + TIME + "}", "DEBUG", True),
        ('{"level": "WARNING", ' + TIME + "}", "WARN", True),
        ('{"level": "error", ' + TIME + "}", "FATAL", False),
        ('{"level": "debug"}', "INFO", True),  # without a time it is INFO
        ('{"level": "error"}', "WARN", False),
        ('{"level": "what", ' + TIME + "}", "INFO", True),
        ('{"level": 3, ' + TIME + "}", "WARN", False),
        ('{"level": "debug", "time": "2024-11-02T16:51:31+02:00"}', "INFO", False),
        ('{"level": "debug", "timestamp": "yesterday"}', "INFO", True),
        ('{"a": ' + "[" * 20_000, "INFO", True),
    ],
)
def test_levels(line: str, level: str, kept: bool) -> None:
    assert drop_below(level, [(1, line)]) == ([(1, line)] if kept else [])


def test_trace_keeps_all() -> None:
    assert len(drop_below("TRACE", [(1, '{"level": "trace"}')])) == 1
