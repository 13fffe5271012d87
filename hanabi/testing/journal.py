"""A journal in memory."""

from collections.abc import Sequence

from hanabi.contracts.journal import LogEvent, Record
from hanabi.ledger.report import text_events


class MemoryJournal:
    """A `contracts.Journal` that keeps its entries in lists. A test sets `full`."""

    def __init__(self) -> None:
        self.full = False
        self.events: list[LogEvent] = []
        self.records: list[Record] = []

    def log(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        self.events += events

    def finish(self, record: Record, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        self.log(group, stream, events)
        self.records.append(record)

    def finish_text(self, record: Record, group: str, stream: str, events: Sequence[LogEvent], start_ms: int | None, end_ms: int) -> None:
        self.finish(record, group, stream, text_events(record, events, start_ms, end_ms))

    async def wait_indexed(self) -> None:
        return

    @property
    def lines(self) -> list[str]:
        return [text for _, text in self.events]
