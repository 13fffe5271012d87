"""The state of a node on disk, opened: documents, accepted events, the journal, the owner's key."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.key_file import read_key
from hanabi.control.arns import AccountRegion
from hanabi.control.environment_cipher import EnvironmentCipher
from hanabi.control.home import find_home
from hanabi.control.migrations import FORMATS, move_home
from hanabi.edge.auth.keys import KeyRing
from hanabi.ledger import index
from hanabi.ledger import usage_copy as sums_copy
from hanabi.ledger.index_writer import ProcessIndexWriter
from hanabi.ledger.journal import FileJournal
from hanabi.ledger.usage_copy import UsageCopy
from hanabi.node.config import NodeSettings
from hanabi.store.database import Database
from hanabi.store.sqlite import SqliteStore
from hanabi.triggers.event_log import SqliteEventLog


@dataclass(frozen=True, slots=True)
class State:
    store: SqliteStore  # functions, roles
    accepted: SqliteEventLog  # events that a 202 was answered to
    journal: FileJournal  # the record of invocations
    keys: KeyRing
    cipher: EnvironmentCipher  # of environment variables
    home: AccountRegion  # where this data directory began


@asynccontextmanager
async def open_state(settings: NodeSettings, clock: Clock, health: Health) -> AsyncIterator[State]:
    """Open the state. Closed at exit, the journal first."""
    data = settings.data_dir
    async with AsyncExitStack() as stack:
        first = _first_place(settings)
        store = SqliteStore(data / "state.db", FORMATS, health, clock, upgrade=move_home(first))
        await store.open()
        stack.push_async_callback(store.close)
        home = await find_home(store, first)
        accepted = SqliteEventLog(data / "events.db")
        stack.push_async_callback(accepted.close)
        await accepted.open()
        if accepted.lost:
            health.report("lost writes of events.db", accepted.lost)
        keys = KeyRing.open(settings.keys_file, region=settings.region, account=settings.account, clock=clock)
        record = Database(data / "record.db", index.SCHEMA)
        stack.push_async_callback(record.close)
        sums = UsageCopy(Database(data / "usage.db", sums_copy.SCHEMA), health)
        segments = settings.directory("journal")
        index_writer = ProcessIndexWriter(record, segments, clock)
        journal = FileJournal(segments, record, sums, clock, index_writer=index_writer, health=health)
        await journal.open()
        stack.push_async_callback(journal.close)
        yield State(store, accepted, journal, keys, EnvironmentCipher.open(data / "environment.key"), home)


def _first_place(settings: NodeSettings) -> AccountRegion:
    """Return the account and region of what an older Hanabi, which had one, has left here: those of its last start."""
    try:
        key = read_key(settings.keys_file)
    except FileNotFoundError:
        return AccountRegion(settings.account, settings.region)
    return AccountRegion(key.account, key.region)
