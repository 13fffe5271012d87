"""The loading of a data directory as a node does it, with nothing that runs code: what is there, what is reported, what is refused."""

import asyncio
import tarfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.base.health import Health
from hanabi.control.arns import AccountRegion
from hanabi.control.environment_cipher import EnvironmentCipher
from hanabi.control.migrations import FORMATS, move_home
from hanabi.control.plane import ControlPlane, open_control_plane
from hanabi.edge.auth.keys import KeyRing
from hanabi.images.code.code_store import CodeStore
from hanabi.images.identity import Identity, identify
from hanabi.images.layers.layer_sets import LayerSets
from hanabi.ledger import index
from hanabi.ledger.journal import FileJournal
from hanabi.ledger.logs import LogStore
from hanabi.ledger.usage_copy import SCHEMA as SUMS_SCHEMA
from hanabi.ledger.usage_copy import UsageCopy
from hanabi.services.iam.service import IamService
from hanabi.store.database import Database
from hanabi.store.scoped import ScopedStore
from hanabi.store.sqlite import SqliteStore
from hanabi.testing import ManualClock
from hanabi.triggers.event_log import SqliteEventLog
from hanabi.triggers.event_queue import DurableQueue
from tests.unit.control.support import FakeImages
from tests.unit.triggers.support import ScriptedInvoker

ACCOUNT, REGION = "000000000000", "us-east-1"
FIXTURES = Path(__file__).parent / "fixtures"
VERSION_0 = FIXTURES / "version-0.tar.gz"
ACCEPTED_MS = 1_795_882_312_207  # when the waiting event of the first fixture was accepted


def unpack(archive: Path, directory: Path) -> Path:
    with tarfile.open(archive) as tar:
        safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # since Python 3.11.4
        tar.extractall(directory, **safely)
    return directory


@dataclass
class Node:
    store: SqliteStore
    control: ControlPlane
    iam: IamService
    keys: KeyRing
    logs: LogStore
    record: Database
    events: DurableQueue
    invoker: ScriptedInvoker
    identity: Identity
    health: Health

    @property
    def why_incomplete(self) -> str:
        return self.identity.why_incomplete or self.store.why_incomplete or self.control.references.why_incomplete

    async def roles(self) -> list[dict[str, Any]]:
        return [role for _, role, _ in await self.store.list(f"{ACCOUNT}/iam/role/")]


@asynccontextmanager
async def open_node(data: Path) -> AsyncIterator[Node]:
    """As `hanabi.node.serve.serve` opens it."""
    clock = ManualClock(ACCEPTED_MS / 1000 + 5)
    health, invoker = Health(clock), ScriptedInvoker(clock)
    async with AsyncExitStack() as stack:
        home = AccountRegion(ACCOUNT, REGION)
        store = SqliteStore(data / "state.db", FORMATS, health, upgrade=move_home(home))
        stack.push_async_callback(store.close)
        await store.open()
        record = Database(data / "record.db", index.SCHEMA)
        stack.push_async_callback(record.close)
        sums = UsageCopy(Database(data / "usage.db", SUMS_SCHEMA), health)
        journal = FileJournal(data / "journal", record, sums, clock, health=health)
        await journal.open()
        stack.push_async_callback(journal.close)
        code = CodeStore(data / "code", clock)
        await code.open()
        identity = await identify(store, data, keeps=not code.is_empty)
        keys = KeyRing.open(data / "keys.json", region=REGION, account=ACCOUNT, clock=clock)
        layer_sets = LayerSets(data / "layers", code.place, clock)
        await layer_sets.open()
        control = await stack.enter_async_context(
            open_control_plane(
                ScopedStore(store, home.prefix),
                code,
                layer_sets,
                FakeImages(),
                clock,
                home,
                url_for=lambda url_id: f"http://{url_id}/",
                health=health,
                cipher=EnvironmentCipher.open(data / "environment.key"),
            )  # fmt: skip
        )
        accepted = SqliteEventLog(data / "events.db")
        stack.push_async_callback(accepted.close)
        await accepted.open()
        events = DurableQueue(accepted, control.catalog, invoker, clock)
        iam = IamService(ScopedStore(store, f"{ACCOUNT}/"), clock, control.functions.account_region)
        await iam.open()
        stack.push_async_callback(iam.close)
        logs = LogStore(journal, clock)
        await events.open()
        stack.push_async_callback(events.close)
        control.provisioned.on_provisioned(lambda version, count: None)
        async with asyncio.timeout(60):
            await events.wait_idle()
            yield Node(store, control, iam, keys, logs, record, events, invoker, identity, health)
