"""Application logs below the function's level, dropped where its logs are JSON.

AWS Lambda developer guide, "Log-level filtering": a line that is a JSON object has the level that it names; without a known one, or
without a time, it is INFO. Other text is never dropped.
"""

import json
from datetime import datetime
from typing import Any

from hanabi.contracts.journal import LogEvent
from hanabi.ledger.platform_events import INFO, LEVELS

TIME_KEYS = ("timestamp", "time", "@timestamp", "ts")  # as the runtimes' own loggers name it
PARSED_MAX_CHARS = 16 * 1024  # a longer line is INFO: the loop has other work


def drop_below(level: str, events: list[LogEvent]) -> list[LogEvent]:
    least = LEVELS[level]
    if least == 0:
        return events
    return [event for event in events if event[1][:1] != "{" or level_of(event[1]) >= least]


def level_of(line: str) -> int:
    """Return the level of a line that may be a JSON object."""
    if len(line) > PARSED_MAX_CHARS:
        return INFO
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return max(LEVELS.values())  # it is no JSON
    level = said.get("level")
    if not isinstance(level, str) or not _has_time(said):
        return INFO
    return LEVELS.get(_NAMES.get(level.upper(), level.upper()), INFO)


_NAMES = {"WARNING": "WARN", "CRITICAL": "FATAL"}  # Python's


def _has_time(said: dict[str, Any]) -> bool:
    return any(_is_time(said[key]) for key in TIME_KEYS if key in said)


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and "T" in value and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
