"""A store in memory: a `contracts.Store`. Several handles on the same documents act as several processes on one file."""

import json
from collections.abc import Callable, Sequence

from hanabi.contracts.store import Change, Document, Watch, Write
from hanabi.errors import RevisionMismatch
from hanabi.store.watches import Watches


class MemoryDocuments:
    """The documents that several stores share."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, int]] = {}  # key -> (JSON text, revision)
        self.revision = 0
        self.stores: list[MemoryStore] = []


class MemoryStore:
    """A handle on documents; on new ones unless given."""

    def __init__(self, documents: MemoryDocuments | None = None) -> None:
        self.damaged: dict[str, str] = {}
        self.documents = documents or MemoryDocuments()
        self.documents.stores.append(self)
        self._watches = Watches()

    @property
    def rows(self) -> dict[str, tuple[str, int]]:
        return self.documents.rows

    async def get(self, key: str) -> tuple[Document, int] | None:
        row = self.rows.get(key)
        return None if row is None else (json.loads(row[0]), row[1])

    async def list(self, prefix: str) -> list[tuple[str, Document, int]]:
        return [(key, json.loads(text), revision) for key, (text, revision) in sorted(self.rows.items()) if key.startswith(prefix)]

    async def segments(self, prefix: str) -> tuple[str, ...]:
        return tuple(sorted({key.removeprefix(prefix).partition("/")[0] for key in self.rows if key.startswith(prefix)}))

    async def write(self, writes: Sequence[Write]) -> int:
        for write in writes:
            current = self.rows[write.key][1] if write.key in self.rows else 0
            if write.revision is not None and write.revision != current:
                raise RevisionMismatch(f"{write.key} is at revision {current}, not {write.revision}")
        effective = {write.key: write.value for write in writes if write.value is not None or write.key in self.rows}
        self.documents.revision += bool(effective)
        revision = self.documents.revision
        for key, value in effective.items():
            if value is None:
                del self.rows[key]
            else:
                self.rows[key] = (json.dumps(value), revision)
        for key, value in effective.items():
            self._tell(key, value, revision)
        return revision

    async def put(self, key: str, value: Document, *, revision: int | None = None) -> int:
        return await self.write([Write(key, value, revision)])

    async def delete(self, key: str, *, revision: int | None = None) -> None:
        await self.write([Write(key, None, revision)])

    async def quarantine(self, key: str) -> None:
        self.documents.revision += 1
        if key in self.rows:
            self.rows[f"quarantine/{self.documents.revision}/{key}"] = self.rows.pop(key)
            self._tell(key, None, self.documents.revision)

    def watch(self, prefix: str, changed: Callable[[Change], None]) -> Watch:
        return self._watches.add(prefix, changed)

    def _tell(self, key: str, value: Document | None, revision: int) -> None:
        for store in self.documents.stores:
            copy = None if value is None else json.loads(json.dumps(value))
            store._watches.tell(key, copy, revision, gone=value is None)
