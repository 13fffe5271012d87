"""The append-only journal: log events, and one record for each invocation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True, kw_only=True)
class Record:
    """The one record of an invocation; REPORT, metrics, bill and API answer derive from it."""

    request_id: str
    function: str
    version: str
    memory_mb: int
    started_ms: int  # Unix ms
    duration_ms: float
    billed_ms: int  # ceil(init + duration)
    init_ms: float | None  # of a cold start, else None
    max_memory_mb: int
    status: str  # "success" | "error" | "timeout"
    error_type: str | None
    environment: str
    source: str
    trace: str = ""
    restore: tuple[float, float] | None = None  # (ms of the restore, ms of its hooks) of a cold start from a snapshot
    attempt: int = 1  # of an event that failed before: 2, then 3
    tenant: str = ""  # of a function with tenant isolation
    extensions_ms: float | None = None  # of its duration, after the runtime's answer; None: no extension was told of the invocation


LogEvent = tuple[int, str]  # (Unix ms, text without trailing newline)


class Journal(Protocol):
    """The append-only journal of log lines and invocation records. Writes reach the kernel before they return."""

    full: bool  # no invocation may begin: there might be no room for its record

    def log(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        """Append log events to a stream (made when new)."""

    def finish(self, record: Record, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        """Append an invocation's record together with its last log events, in one write."""

    def finish_text(self, record: Record, group: str, stream: str, events: Sequence[LogEvent], start_ms: int | None, end_ms: int) -> None:
        """As `finish`, of a function whose logs are text: around the events are the lines that follow from its record.

        `start_ms`: when START was, None where it has been written; `end_ms`: when END and REPORT were.
        """

    async def wait_indexed(self) -> None:
        """Wait until everything written before the call can be queried."""
