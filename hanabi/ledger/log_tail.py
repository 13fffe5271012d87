"""The end of an invocation's log, for an invoke response with LogType=Tail."""

from collections.abc import Sequence

from hanabi.contracts.journal import LogEvent
from hanabi.quotas import LOG_TAIL_BYTES


def end_of_log(tail: bytes, events: Sequence[LogEvent]) -> bytes:
    """Return the last bytes of a log and of the lines after it, however long its lines are."""
    lines: list[bytes] = []
    size = 0
    for _, text in reversed(events):
        lines.append(text[-LOG_TAIL_BYTES:].encode() + b"\n")
        size += len(lines[-1])
        if size >= LOG_TAIL_BYTES:
            break
    else:
        lines.append(tail)
    return b"".join(reversed(lines))[-LOG_TAIL_BYTES:]
