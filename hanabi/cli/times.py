"""Times as typed on the command line."""

import re
import time
from datetime import UTC, datetime

from hanabi.cli.failure import Failure

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def parse_time(text: str) -> float:
    """Return Unix seconds of `90s`, `15m`, `1h`, `2d`, `1w` ago, or of an ISO 8601 time (UTC unless it says otherwise)."""
    if match := re.fullmatch(r"(\d{1,9})([smhdw])", text):
        return max(time.time() - int(match[1]) * _UNITS[match[2]], 0.0)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Failure(f"{text!r} is no time: say 10m, 1h, 2d or 2026-11-24T10:00:00", 2) from None
    return max((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), 0.0)
