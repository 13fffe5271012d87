"""What was used and what it would cost: sums over the ledger by function and period."""

import sqlite3
from dataclasses import dataclass

from hanabi.ledger.journal import FileJournal
from hanabi.ledger.report import GB_SECOND_PRICE, REQUEST_PRICE
from hanabi.store.database import Database

PERIODS = {"hour": "%Y-%m-%dT%H:00Z", "day": "%Y-%m-%d", "month": "%Y-%m"}  # UTC


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The use of one function in one period. All counts are whole numbers, so that sums are exact."""

    function: str
    period: str
    requests: int
    errors: int
    billed_ms: int
    mb_ms: int  # billed ms times memory

    @property
    def gb_seconds(self) -> float:
        return self.mb_ms / 1024 / 1000

    @property
    def cost(self) -> float:
        """US dollars."""
        return self.requests * REQUEST_PRICE + self.gb_seconds * GB_SECOND_PRICE


class Usage:
    """Reads the hourly sums, after what is in the journal has got there."""

    def __init__(self, database: Database, journal: FileJournal) -> None:
        self._database = database
        self._journal = journal

    async def rows(self, period: str, *, function: str | None = None, since_ms: int = 0, until_ms: int = 1 << 62) -> list[UsageRow]:
        """By period, then function. `since_ms` and `until_ms` count by whole hours; `period` is a key of PERIODS."""
        await self._journal.settle()

        def select(connection: sqlite3.Connection) -> list[UsageRow]:
            rows = connection.execute(
                "SELECT function, strftime(?, hour_ms / 1000, 'unixepoch') AS period, sum(requests), sum(errors), sum(billed_ms), "
                "sum(billed_ms * memory_mb) FROM usage WHERE (?2 IS NULL OR function = ?2) AND hour_ms > ?3 - 3600000 AND hour_ms < ?4 "
                "GROUP BY period, function ORDER BY period, function",
                (PERIODS[period], function, since_ms, until_ms),
            )
            return [UsageRow(*row) for row in rows]

        return await self._database.read(select)
