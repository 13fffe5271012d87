"""All functions, in memory and in the store: loaded once, written through."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.contracts.store import Store
from hanabi.control.arns import AccountRegion
from hanabi.control.documents import read_function
from hanabi.control.model import Function, function_document, version_document
from hanabi.errors import DocumentDamaged, ResourceNotFound
from hanabi.store.formats import describe

Change = Callable[[Function | None], Function | None]


class Registry:
    """One change at a time. What is read here is on disk.

    A function's document names its published versions, which are written before it and removed after it: a crash in between leaves a
    version that no function names, and the next start puts it aside. A function one of whose documents cannot be read is left as it is:
    it is neither run nor changed, and its name is taken until it is deleted, which puts its documents aside.
    """

    def __init__(
        self,
        store: Store,
        account_region: AccountRegion,
        changed: Callable[[Function | None, Function | None], None],
        retries: RetryQueue,
        health: Health | None = None,
    ) -> None:
        self.account_region = account_region
        self.damaged: dict[str, DocumentDamaged] = {}  # by name
        self._store = store
        self._changed = changed
        self._health = health or Health()
        self._retries = retries
        self._functions: dict[str, Function] = {}
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        versions: dict[str, dict[str, dict[str, Any]]] = {}  # by name and number
        for key, document, _ in await self._store.list("versions/"):
            name, _, number = key.removeprefix("versions/").partition("/")
            versions.setdefault(name, {})[number] = document
        functions = await self._store.list("functions/")
        for key, reason in self._store.damaged.items():
            if key.startswith("functions/"):
                self._leave(key.removeprefix("functions/"), reason)
        urls: set[str] = set()
        for key, document, _ in functions:
            name = key.removeprefix("functions/")
            try:
                function = read_function(document, name, self.account_region.arn(name), versions.get(name, {}))
                mine = {url.id for url in function.urls.values()}
                if len(mine) < len(function.urls) or mine & urls:
                    raise ValueError("has a URL that another one has too")
            except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
                self._leave(name, describe(error))
                continue
            urls |= mine
            self._put(name, function)
        for name, numbers in versions.items():
            known = self._functions.get(name)
            for number in numbers.keys() - (known.versions.keys() if known else ()) if name not in self.damaged else ():
                await self._store.quarantine(_version_key(name, number))

    def _leave(self, name: str, reason: str) -> None:
        error = self.damaged[name] = DocumentDamaged(f"functions/{name}", reason)
        self._health.report(f"function {name}", f"The function {name} is neither run nor changed. {error}")

    def get(self, name: str) -> Function | None:
        """Raises `DocumentDamaged`."""
        if name in self.damaged:
            raise self._error(name)
        return self._functions.get(name)

    def find(self, name: str) -> Function:
        function = self.get(name)
        if function is None:
            raise ResourceNotFound(f"Function not found: {self.account_region.arn(name)}")
        return function

    def _error(self, name: str) -> DocumentDamaged:
        known = self.damaged[name]
        return DocumentDamaged(known.key, known.reason)  # a new one: whoever raises it adds to its traceback

    async def quarantine(self, name: str) -> None:
        """The documents of a damaged function, so that its name is free."""
        async with self._lock:
            keys = [key for key, _, _ in await self._store.list(f"versions/{name}/")]
            keys += [key for key in self._store.damaged if key.startswith(f"versions/{name}/")]
            for key in (*keys, f"functions/{name}"):  # the function itself last: until then this may be done again
                await self._store.quarantine(key)
            self.damaged.pop(name, None)
            self._health.clear(f"function {name}")

    def __iter__(self) -> Iterator[Function]:
        """In the order of their names."""
        return iter([self._functions[name] for name in sorted(self._functions)])

    async def commit(self, name: str, change: Change) -> Function | None:
        """Replace a function (None: absent) by what `change` makes of it. Not to be cancelled: disk and memory would part."""
        async with self._lock:
            old = self.get(name)
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
            key = _version_key(name, number)
            try:
                await self._store.delete(key)
            except Exception as error:
                what = f"Version {number} of {name} is gone, but its document cannot be removed"
                self._retries.add(key, what, partial(self._remove_document, name, number), error)

    async def _remove_document(self, name: str, number: str) -> None:
        """Unless a function of that name has such a version again."""
        async with self._lock:
            function = self._functions.get(name)
            if function is None or number not in function.versions:
                await self._store.delete(_version_key(name, number))

    def _put(self, name: str, new: Function | None) -> None:
        old = self._functions.pop(name, None)
        if new is not None:
            self._functions[name] = new
        self._changed(old, new)


def _version_key(name: str, number: str) -> str:
    return f"versions/{name}/{number}"
