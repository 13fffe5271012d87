"""A registry of one kind of value, in the store and in memory: loaded once, written through, following changes made elsewhere."""

import asyncio
from bisect import bisect_left, insort
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.contracts.store import Change, Document, Store, Watch, Write
from hanabi.errors import DocumentDamaged, RevisionMismatch
from hanabi.store.formats import describe

T = TypeVar("T")
R = TypeVar("R")
ATTEMPTS = 10  # of one change, while others change the same
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)  # what `Kind.decode` may raise

Parts = Mapping[str, Document]


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """How values of one kind are stored: each as a document, some with further documents, their parts.

    Every change of a value changes its document, so the document's revision is that of the whole.
    """

    name: str  # for people: "function"
    prefix: str  # of the document's key, before the value's name
    decode: Callable[[str, Document, Parts], T]  # name, document, parts by name. Raises one of UNREADABLE
    encode: Callable[[T], Document]
    parts: str = ""  # prefix of the parts' keys, before `<value's name>/<part's name>`; empty: there are none
    encode_parts: Callable[[T | None, T | None], Mapping[str, Document | None]] = lambda old, new: {}  # those that differ; None: gone


class Registry(Generic[T]):
    """The registry: one change at a time. Everything read here is on disk.

    A change is one compare-and-set batch in the store. When another writer was faster, it is made again from the new value. An
    unreadable value is not changed, and its name is taken, until it is quarantined.
    """

    def __init__(self, store: Store, kind: Kind[T], clock: Clock, health: Health | None = None) -> None:
        self.kind = kind
        self.damaged: dict[str, DocumentDamaged] = {}  # by name
        self._store = store
        self._health = health or Health(clock)
        self._retries = RetryQueue(clock, self._health)
        self._values: dict[str, T] = {}
        self._order: list[str] = []  # their names
        self._revisions: dict[str, int] = {}
        self._listeners: list[Callable[[T | None, T | None], None]] = []
        self._lock = asyncio.Lock()
        self._behind: dict[str, int] = {}  # name -> revision that others have written
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watch: Watch | None = None

    async def open(self) -> None:
        """Load all values. Orphaned parts, left by a crash of an older Hanabi, are quarantined."""
        self._watch = self._store.watch(self.kind.prefix, self._on_change)
        parts: dict[str, dict[str, Document]] = {}
        for key, document, _ in await self._store.list(self.kind.parts) if self.kind.parts else ():
            name, _, part = key.removeprefix(self.kind.parts).partition("/")
            parts.setdefault(name, {})[part] = document
        documents = await self._store.list(self.kind.prefix)
        for key, reason in self._store.damaged.items():
            if key.startswith(self.kind.prefix):
                self._leave(key.removeprefix(self.kind.prefix), reason)
        for key, document, revision in documents:
            name = key.removeprefix(self.kind.prefix)
            self._load(name, (document, revision), parts.get(name, {}))
        for name, found in parts.items():
            known = self.kind.encode_parts(None, self._values.get(name))
            for part in found.keys() - known.keys() if name not in self.damaged else ():
                await self._store.quarantine(self._part_key(name, part))

    async def close(self) -> None:
        """Wait for changes to end."""
        if self._watch is not None:
            self._watch.close()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._retries.close()

    def listen(self, changed: Callable[[T | None, T | None], None]) -> None:
        """Call back with (old, new) at once on every change; None: absent. Existing values are reported as new."""
        self._listeners.append(changed)
        for value in self:
            changed(None, value)

    @property
    def tasks(self) -> "set[asyncio.Task[Any]]":
        """The changes under way."""
        return set(self._tasks)

    # --- reading ------------------------------------------------------------------------------------------------------

    def get(self, name: str) -> T | None:
        """Return a value. Raises `DocumentDamaged`."""
        if name in self.damaged:
            known = self.damaged[name]
            raise DocumentDamaged(known.key, known.reason)  # a new exception each time: raising it adds to its traceback
        return self._values.get(name)

    def revision(self, name: str) -> int:
        """Return the revision in the store; 0: no such value."""
        return self._revisions.get(name, 0)

    def names(self) -> list[str]:
        """Return the names in order, those of damaged values too."""
        return sorted({*self._values, *self.damaged})

    @property
    def is_empty(self) -> bool:
        """Whether there is none, not even a damaged one."""
        return not self._values and not self.damaged

    def __iter__(self) -> Iterator[T]:
        """Iterate in the order of names."""
        return iter([self._values[name] for name in self._order])

    def values_from(self, name: str) -> Iterator[T]:
        """Iterate in the order of names, from a name on, without looking at those before it. For use at once: changes would disturb it."""
        return (self._values[self._order[at]] for at in range(bisect_left(self._order, name), len(self._order)))

    # --- changing -----------------------------------------------------------------------------------------------------

    async def commit(self, name: str, change: Callable[[T | None], T | None]) -> T | None:
        """Replace a value (None: absent) by `change` of it, which may be called several times.

        When the caller is cancelled, the change still ends. Raises what `change` raises, and `RevisionMismatch` when other writers keep
        changing the same value.
        """
        return await asyncio.shield(self.begin(name, change))

    def begin(self, name: str, change: Callable[[T | None], T | None]) -> "asyncio.Task[T | None]":
        """As `commit`, for callers that must know when the change has ended. Do not cancel it: disk and memory would differ."""
        return self._own(self.apply(name, change), f"change of {self.kind.name} {name}")

    async def update(self, name: str, change: Callable[[T], T]) -> None:
        """As `commit`, but an absent value stays absent."""
        await self.commit(name, lambda now: None if now is None else change(now))

    async def quarantine(self, name: str) -> None:
        """Quarantine the documents of a damaged value, which frees its name."""
        async with self._lock:
            below = self._part_key(name, "")
            keys = [key for key, _, _ in await self._store.list(below)] if self.kind.parts else []
            keys += [key for key in self._store.damaged if self.kind.parts and key.startswith(below)]
            for key in (*keys, self.kind.prefix + name):  # the value's own document last: until then this can be repeated
                await self._store.quarantine(key)
            self._mended(name)
            self._catch_up()

    async def apply(self, name: str, change: Callable[[T | None], T | None]) -> T | None:
        """Run a change, for `begin`."""
        async with self._lock:
            try:
                return await self._try_commit(name, change, ATTEMPTS)
            finally:
                self._catch_up()

    async def _try_commit(self, name: str, change: Callable[[T | None], T | None], attempts: int) -> T | None:
        old = self.get(name)
        new = change(old)
        if new is old:
            return new
        key, parts = self.kind.prefix + name, self.kind.encode_parts(old, new)
        document = Write(key, None if new is None else self.kind.encode(new), self.revision(name))
        try:
            revision = await self._store.write([document, *(Write(self._part_key(name, part), each) for part, each in parts.items())])
        except RevisionMismatch:
            if attempts == 1:
                raise
            await self._reload(name)
            return await self._try_commit(name, change, attempts - 1)
        if self._behind.get(name) == revision:  # the store has told of this very change
            del self._behind[name]
        self._put(name, new, revision)
        return new

    def _own(self, work: Coroutine[Any, Any, R], name: str) -> "asyncio.Task[R]":
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # mark it as retrieved: no caller may be waiting any more

    # --- what others write --------------------------------------------------------------------------------------------

    def _on_change(self, change: Change) -> None:
        self._behind[change.key.removeprefix(self.kind.prefix)] = change.revision
        if not self._lock.locked():  # else a change is under way, which checks at its end
            self._catch_up()

    def _catch_up(self) -> None:
        behind, self._behind = self._behind, {}
        for name, revision in behind.items():
            if revision > self.revision(name):
                self._own(self._follow(name), f"news of {self.kind.name} {name}")

    async def _follow(self, name: str) -> None:
        async def reload() -> None:
            async with self._lock:
                await self._reload(name)
                self._catch_up()

        what = f"The {self.kind.name} {name} was changed elsewhere, and cannot be read"
        await self._retries.do(f"news of {self.kind.name} {name}", what, reload)

    async def _reload(self, name: str) -> None:
        """Read a document and its parts from the store, at the same revision."""
        key, below = self.kind.prefix + name, self._part_key(name, "")
        parts: dict[str, Document] = {}
        try:
            found = await self._store.get(key)
            while self.kind.parts:
                parts = {part.removeprefix(below): document for part, document, _ in await self._store.list(below)}
                before, found = found, await self._store.get(key)
                if found == before:
                    break
        except DocumentDamaged as error:
            self._leave(name, error.reason)
            return
        if found is None:
            self._mended(name)
            self._put(name, None, 0)
        else:
            self._load(name, found, parts)

    def _load(self, name: str, found: tuple[Document, int], parts: Parts) -> None:
        try:
            value = self.kind.decode(name, found[0], parts)
            self.check(name, value)
        except UNREADABLE as error:
            self._leave(name, describe(error))
        else:
            self._mended(name)
            self._put(name, value, found[1])

    def check(self, name: str, value: T) -> None:
        """Raise `ValueError` for a value that conflicts with others."""

    # --- memory -------------------------------------------------------------------------------------------------------

    def _put(self, name: str, new: T | None, revision: int) -> None:
        old = self._values.pop(name, None)
        self._revisions.pop(name, None)
        if new is not None:
            self._values[name], self._revisions[name] = new, revision
        if old is None and new is not None:
            insort(self._order, name)
        elif old is not None and new is None:
            del self._order[bisect_left(self._order, name)]
        if old is not new:
            for changed in self._listeners:
                changed(old, new)

    def _leave(self, name: str, reason: str) -> None:
        error = self.damaged[name] = DocumentDamaged(self.kind.prefix + name, reason)
        self._health.report(f"{self.kind.name} {name}", f"The {self.kind.name} {name} is neither used nor changed. {error}")
        self._put(name, None, 0)

    def _mended(self, name: str) -> None:
        if self.damaged.pop(name, None) is not None:
            self._health.clear(f"{self.kind.name} {name}")

    def _part_key(self, name: str, part: str) -> str:
        return f"{self.kind.parts}{name}/{part}"
