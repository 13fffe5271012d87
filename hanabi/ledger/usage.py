"""What was used and what it would cost: sums over the ledger by function and period."""

import contextlib
import sqlite3
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hanabi.ledger import index
from hanabi.ledger.index import read_counted, read_progress, set_sums, write_progress
from hanabi.ledger.journal import FileJournal
from hanabi.ledger.losses import Losses
from hanabi.quotas import GB_SECOND_PRICE_USD, REQUEST_PRICE_USD

UNINDEXED_LIMIT_BYTES = 64 * 1024 * 1024  # bytes of the journal that are summed up beside an index that is behind
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

    def __add__(self, other: "UsageRow") -> "UsageRow":
        sums = (getattr(self, name) + getattr(other, name) for name in ("requests", "errors", "billed_ms", "mb_ms"))
        return UsageRow(self.function, self.period, *sums)

    @property
    def gb_seconds(self) -> float:
        return self.mb_ms / 1024 / 1000

    @property
    def cost(self) -> float:
        """US dollars."""
        return self.requests * REQUEST_PRICE_USD + self.gb_seconds * GB_SECOND_PRICE_USD


@dataclass(frozen=True, slots=True)
class UsageReport:
    """By period, then function; `lost` is in no sum and never will be; `behind`: why the index does not have all yet, or nothing."""

    rows: list[UsageRow]
    lost: Losses
    behind: str = ""
    until_ms: int | None = None  # up to when the sums are whole; None: they are, all the same

    @property
    def note(self) -> str:
        if not self.behind:
            return ""
        held = f"the index of the record cannot be brought up to date ({self.behind})"
        if self.until_ms is None:
            return f"{held}; what it lacks was read from the journal, nothing is missing"
        when = datetime.fromtimestamp(self.until_ms / 1000, UTC)
        return f"{held}: these sums are whole up to {when:%Y-%m-%d %H:%M:%S} UTC only"


class Usage:
    """Reads the hourly sums, after what is in the journal has got there; where it cannot, adds it up beside them."""

    def __init__(self, journal: FileJournal) -> None:
        self._journal = journal

    async def rows(self, period: str, *, function: str | None = None, since_ms: int = 0, until_ms: int = 1 << 62) -> list[UsageRow]:
        """By period, then function. `since_ms` and `until_ms` count by whole hours; `period` is a key of PERIODS."""
        return (await self.report(period, function=function, since_ms=since_ms, until_ms=until_ms)).rows

    async def report(self, period: str, *, function: str | None = None, since_ms: int = 0, until_ms: int = 1 << 62) -> UsageReport:
        """As `rows`, with what they lack. Raises sqlite3.Error or OSError when nothing can be read."""
        behind = await self._journal.try_wait_indexed()

        def select(connection: sqlite3.Connection) -> list[UsageRow]:
            rows = connection.execute(
                "SELECT function, strftime(?, hour_ms / 1000, 'unixepoch') AS period, sum(requests), sum(errors), sum(billed_ms), "
                "sum(billed_ms * memory_mb) FROM usage WHERE (?2 IS NULL OR function = ?2) AND hour_ms > ?3 - 3600000 AND hour_ms < ?4 "
                "GROUP BY period, function ORDER BY period, function",
                (PERIODS[period], function, since_ms, until_ms),
            )
            return [UsageRow(*row) for row in rows]

        if not behind:
            return UsageReport(await self._journal.read(select), replace(self._journal.tally.lost))

        def select_both(connection: sqlite3.Connection) -> tuple[list[UsageRow], int | None]:
            with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as beside:
                whole_until_ms = self._add_up(connection, beside)
                return _merge([*select(connection), *select(beside)]), whole_until_ms

        rows, whole_until_ms = await self._journal.read(select_both)
        return UsageReport(rows, replace(self._journal.tally.lost), behind, whole_until_ms)

    def _add_up(self, connection: sqlite3.Connection, beside: sqlite3.Connection) -> int | None:
        """Index what is in the journal and not in the index, for now. When the last invocation of it began, if that was not all."""
        beside.executescript("".join([index.SCHEMA.script, *(step for step in index.SCHEMA.migrations if isinstance(step, str))]))
        set_sums(beside, [], read_counted(connection))
        write_progress(beside, *read_progress(connection))
        return self._journal.index_beside(beside, UNINDEXED_LIMIT_BYTES)


def _merge(rows: list[UsageRow]) -> list[UsageRow]:
    merged: dict[tuple[str, str], UsageRow] = {}
    for row in rows:
        before = merged.get((row.period, row.function))
        merged[row.period, row.function] = row if before is None else before + row
    return [merged[key] for key in sorted(merged)]
