"""All functions, in memory and in the store: loaded once, written through."""

import asyncio
import logging
from collections.abc import Callable, Iterator

from hanabi.contracts import Store
from hanabi.control.model import Function, function_document, read_function, version_document
from hanabi.control.names import Place
from hanabi.errors import ResourceNotFound

Change = Callable[[Function | None], Function | None]
log = logging.getLogger(__name__)


class Registry:
    """One change at a time. What is read here is on disk.

    A function's document names its published versions, which are written before it and removed after it: a crash in between
    leaves a version that no function names, and the next start removes it.
    """

    def __init__(self, store: Store, place: Place, changed: Callable[[Function | None, Function | None], None]) -> None:
        self.place = place
        self._store = store
        self._changed = changed
        self._functions: dict[str, Function] = {}
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        versions = {key: document for key, document, _ in await self._store.list("versions/")}
        for key, document, _ in await self._store.list("functions/"):
            name = key.removeprefix("functions/")
            own = {number: versions.pop(_version_key(name, number)) for number in document["versions"]}
            self._put(name, read_function(document, name, self.place.arn(name), own))
        for key in versions:
            await self._store.delete(key)

    def get(self, name: str) -> Function | None:
        return self._functions.get(name)

    def find(self, name: str) -> Function:
        function = self._functions.get(name)
        if function is None:
            raise ResourceNotFound(f"Function not found: {self.place.arn(name)}")
        return function

    def __iter__(self) -> Iterator[Function]:
        """In the order of their names."""
        return iter([self._functions[name] for name in sorted(self._functions)])

    async def commit(self, name: str, change: Change) -> Function | None:
        """Replace a function (None: absent) by what `change` makes of it. Not to be cancelled: disk and memory would part."""
        async with self._lock:
            old = self._functions.get(name)
            new = change(old)
            if new is not old:
                await self._write(name, old, new)
                self._put(name, new)
            return new

    async def _write(self, name: str, old: Function | None, new: Function | None) -> None:
        before = old.versions if old else {}
        after = new.versions if new else {}
        for number, version in after.items():
            if new is not None and version is not before.get(number):
                await self._store.put(_version_key(name, number), version_document(new, version))
        if new is not None:
            await self._store.put(f"functions/{name}", function_document(new))
        else:
            await self._store.delete(f"functions/{name}")
        for number in before.keys() - after.keys():
            try:
                await self._store.delete(_version_key(name, number))
            except Exception:
                log.exception("version %s of %s is gone, but its document is not yet", number, name)

    def _put(self, name: str, new: Function | None) -> None:
        old = self._functions.pop(name, None)
        if new is not None:
            self._functions[name] = new
        self._changed(old, new)


def _version_key(name: str, number: str) -> str:
    return f"versions/{name}/{number}"
