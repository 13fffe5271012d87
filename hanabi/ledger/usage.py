"""Usage and its cost: sums over the ledger by function and period."""

import contextlib
import sqlite3
from dataclasses import replace

from hanabi.contracts.usage import PERIODS, UsageReport, UsageRow
from hanabi.errors import StorageFailed
from hanabi.ledger import index
from hanabi.ledger.index import read_counted, read_progress, set_sums, write_progress
from hanabi.ledger.journal import FileJournal

UNINDEXED_LIMIT_BYTES = 64 * 1024 * 1024  # bytes of the journal that are summed up in memory when the index is behind


class JournalUsage:
    """A `contracts.usage.Usage` from the hourly sums; when the index cannot be brought up to date, the rest is added up in memory."""

    def __init__(self, journal: FileJournal) -> None:
        self._journal = journal

    async def rows(
        self, period: str, *, scope: str = "", function: str | None = None, since_ms: int = 0, until_ms: int = 1 << 62
    ) -> list[UsageRow]:
        """Rows of a scope by period, then function. `since_ms` and `until_ms` count by whole hours; `period` is a key of PERIODS."""
        return (await self.report(period, scope=scope, function=function, since_ms=since_ms, until_ms=until_ms)).rows

    async def report(
        self, period: str, *, scope: str = "", function: str | None = None, since_ms: int = 0, until_ms: int = 1 << 62
    ) -> UsageReport:
        """Report rows with losses and why the index is behind. Raises `StorageFailed` when nothing can be read."""
        try:
            return await self._report(period, scope, function, since_ms, until_ms)
        except (OSError, sqlite3.Error) as error:
            raise StorageFailed(str(error)) from error

    async def _report(self, period: str, scope: str, function: str | None, since_ms: int, until_ms: int) -> UsageReport:
        behind = await self._journal.try_wait_indexed()

        def select(connection: sqlite3.Connection) -> list[UsageRow]:
            rows = connection.execute(
                "SELECT substr(function, ?5), strftime(?1, hour_ms / 1000, 'unixepoch') AS period, sum(requests), sum(errors), "
                "sum(billed_ms), sum(billed_ms * memory_mb) FROM usage WHERE (?2 IS NULL OR function = ?2) "
                "AND hour_ms > ?3 - 3600000 AND hour_ms < ?4 "
                "AND substr(function, 1, length(?6)) = ?6 AND NOT instr(substr(function, ?5), ':') "
                "GROUP BY period, function ORDER BY period, function",
                (PERIODS[period], None if function is None else scope + function, since_ms, until_ms, len(scope) + 1, scope),
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
        """Index the unindexed part of the journal temporarily. Returns when its last invocation began, if more is left."""
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
