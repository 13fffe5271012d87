"""A part of a document store: the documents below one prefix, seen without it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from hanabi.contracts.store import Change, Document, Store, Watch, Write
from hanabi.errors import DocumentDamaged


class ScopedStore:
    """A `contracts.Store` of the documents of `store` below `prefix`, which ends in a slash."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    @property
    def damaged(self) -> dict[str, str]:
        prefix = self._prefix
        return {key.removeprefix(prefix): why for key, why in self._store.damaged.items() if key.startswith(prefix)}

    async def get(self, key: str) -> tuple[Document, int] | None:
        try:
            return await self._store.get(self._prefix + key)
        except DocumentDamaged as error:
            raise DocumentDamaged(key, error.reason) from None

    async def list(self, prefix: str) -> list[tuple[str, Document, int]]:
        found = await self._store.list(self._prefix + prefix)
        return [(key.removeprefix(self._prefix), document, revision) for key, document, revision in found]

    async def segments(self, prefix: str) -> tuple[str, ...]:
        return await self._store.segments(self._prefix + prefix)

    async def write(self, writes: Sequence[Write]) -> int:
        return await self._store.write([replace(write, key=self._prefix + write.key) for write in writes])

    async def put(self, key: str, value: Document, *, revision: int | None = None) -> int:
        return await self._store.put(self._prefix + key, value, revision=revision)

    async def delete(self, key: str, *, revision: int | None = None) -> None:
        await self._store.delete(self._prefix + key, revision=revision)

    async def quarantine(self, key: str) -> None:
        await self._store.quarantine(self._prefix + key)

    def watch(self, prefix: str, changed: Callable[[Change], None]) -> Watch:
        def tell(change: Change) -> None:
            changed(replace(change, key=change.key.removeprefix(self._prefix)))

        return self._store.watch(self._prefix + prefix, tell)
