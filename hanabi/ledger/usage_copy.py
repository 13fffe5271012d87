"""The second copy of the hourly sums, which are what is billed: `usage.db`, up to a position of the journal."""

import sqlite3

from hanabi.base.health import Health
from hanabi.errors import DatabaseDamaged
from hanabi.ledger.index import HOUR_MS, JournalPosition, Sums, read_counted, read_progress
from hanabi.store.database import Database
from hanabi.store.schema import Schema

SCHEMA = Schema(
    """
CREATE TABLE IF NOT EXISTS usage (
    function TEXT NOT NULL, hour_ms INTEGER NOT NULL, memory_mb INTEGER NOT NULL,
    requests INTEGER NOT NULL, errors INTEGER NOT NULL, billed_ms INTEGER NOT NULL,
    PRIMARY KEY (function, hour_ms, memory_mb)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (one INTEGER PRIMARY KEY CHECK (one = 1), segment INTEGER NOT NULL, offset INTEGER NOT NULL);
""",
    fix="Hanabi moves it aside and makes it anew from record.db",
)


class UsageCopy:
    """A copy of the sums. `place`: the journal position up to which it has them. Segments from there on must stay."""

    def __init__(self, database: Database, health: Health) -> None:
        self.place: JournalPosition = (0, 0)
        self._database = database
        self._health = health

    async def open(self) -> None:
        """Open the copy. A damaged one is moved aside: the next `save` writes all of it again."""
        try:
            await self._database.open()
            self.place = await self._database.read(read_progress)
        except DatabaseDamaged as error:
            aside = await self._database.quarantine()
            self._health.report("record-copy", f"{error}. It is kept as {aside}")
            self.place = (0, 0)

    async def close(self) -> None:
        await self._database.close()

    async def load(self) -> list[Sums]:
        return await self._database.read(lambda connection: connection.execute("SELECT * FROM usage").fetchall())

    async def save(self, record: Database, since_ms: int) -> None:
        """Copy the sums from the index: those of hours from `since_ms` on, or all when there was no copy."""
        if self.place == (0, 0):
            since_ms = 0

        def select(connection: sqlite3.Connection) -> tuple[list[Sums], JournalPosition]:
            rows = connection.execute("SELECT * FROM usage WHERE hour_ms > ?", (since_ms - HOUR_MS,)).fetchall()
            return rows, max(read_progress(connection), read_counted(connection))

        rows, place = await record.read(select)

        def replace(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?, ?)", rows)
            connection.execute("INSERT OR REPLACE INTO progress VALUES (1, ?, ?)", place)

        await self._database.write(replace)
        self.place = place
