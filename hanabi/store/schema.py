"""Database schemas and their migrations. `PRAGMA user_version` is a file's version.

Version 0 is what Hanabi wrote before its files had versions. A released migration never changes; a new one is appended.
"""

import logging
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hanabi.base.files import sync_path
from hanabi.errors import DatabaseDamaged, StateTooNew

CHECKED_BYTES = 64 << 20  # bytes of a file that is checked whole at its opening; of a larger one only what is read
RESTORE = "put back a copy of it that is whole (docs/upgrades.md)"
Migration = str | Callable[[sqlite3.Connection], None]  # a script, or what does it
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema. `script` makes version 0 in an empty file; `migrations` follow, the first from 0 to 1, for new files as well.

    `counter` selects a number that never falls and grows with every write that must not be lost: `Database.lost` says when it fell.
    """

    script: str
    migrations: tuple[Migration, ...] = ()
    fix: str = RESTORE  # what to do with a file that is damaged
    counter: str = ""

    @property
    def version(self) -> int:
        return len(self.migrations)


def check(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Raise `StateTooNew` or `DatabaseDamaged`. Changes nothing."""
    version = _version(connection)
    if version > schema.version:
        raise StateTooNew(path, version, schema.version)
    if version < 0:
        raise DatabaseDamaged(path, f"is damaged: it says that its version is {version}", schema.fix)
    if path.stat().st_size <= CHECKED_BYTES:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise DatabaseDamaged(path, f"is damaged: {found}", schema.fix)


def upgrade(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Run all migrations in one transaction, after copying the file to `<name>.before-vN`."""
    version = _version(connection)
    is_new = connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    if version == schema.version and not (is_new or version == 0):
        return
    if version < schema.version and not is_new:
        backup = _back_up(connection, path, schema.version)
        log.warning("%s goes from version %d to %d; as it was it is kept in %s", path, version, schema.version, backup)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in (schema.script, *schema.migrations) if version == 0 else schema.migrations[version:]:
            if callable(step):
                step(connection)
            else:
                _run(connection, step)
        connection.execute(f"PRAGMA user_version = {schema.version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def is_damage(error: BaseException) -> bool:
    """Whether an SQLite error means that the file is no database, or a damaged one."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _back_up(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    """Copy the file to the first free name, synced and readable by its owner only. Never overwrites a copy."""
    name = backup = path.with_name(f"{path.name}.before-v{version}")
    number = 1
    while backup.exists():
        number += 1
        backup = name.with_name(f"{name.name}-{number}")
    draft = path.with_name(f"{path.name}.backup-draft")
    draft.unlink(missing_ok=True)
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        target = sqlite3.connect(draft)
        try:
            connection.backup(target)
        finally:
            target.close()
        sync_path(draft)
        draft.rename(backup)
        sync_path(path.parent)
    except (OSError, sqlite3.Error) as error:
        if is_damage(error):
            raise
        raise sqlite3.OperationalError(f"{path} cannot be copied before it is upgraded: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return backup


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Run a script like `executescript`, which would end the transaction."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
