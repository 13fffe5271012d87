"""The stores that the contract tests run on."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from hanabi.contracts.store import Store
from hanabi.store.scoped import ScopedStore
from hanabi.store.sqlite import SqliteStore
from hanabi.testing.clock import ManualClock
from hanabi.testing.store import MemoryDocuments, MemoryStore
from tests.waiting import until


class Node:
    """Stores on the same documents, as those of as many processes."""

    def __init__(self, make: Callable[[], Store], clock: ManualClock, part: str = "") -> None:
        self._make = make
        self._part = part
        self.whole: Store | None = None  # of which the last one opened is a part
        self._clock = clock
        self.stack = AsyncExitStack()

    async def open(self) -> Store:
        store = self._make()
        if isinstance(store, SqliteStore):
            await store.open()
            self.stack.push_async_callback(store.close)
        if self._part:
            await store.put("another/part", {})
            self.whole = store
            return ScopedStore(store, self._part)
        return store

    async def until(self, condition: Callable[[], object]) -> None:
        """Let time pass until what was written elsewhere is known."""
        await until(condition, clock=self._clock)


@asynccontextmanager
async def open_node(kind: str, directory: Path) -> AsyncIterator[Node]:
    """`kind` is one of KINDS."""
    clock, documents = ManualClock(), MemoryDocuments()

    def make() -> Store:
        return MemoryStore(documents) if kind == "memory" else SqliteStore(directory / "state.db", clock=clock)

    node = Node(make, clock, "a/part/" if kind == "part of sqlite" else "")
    async with node.stack:
        yield node


KINDS = ("sqlite", "memory", "part of sqlite")
