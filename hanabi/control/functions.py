"""The functions of one account in one region, over the registry."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.store import Document, Store
from hanabi.control.arns import AccountRegion
from hanabi.control.documents import read_function
from hanabi.control.environment_cipher import EnvironmentCipher, is_plain
from hanabi.control.model import Function, function_document, version_document
from hanabi.control.registry import Kind, Registry
from hanabi.errors import ResourceConflict, ResourceNotFound, RevisionMismatch, StorageFailed

log = logging.getLogger(__name__)


class Functions(Registry[Function]):
    """The functions. A document is `functions/<name>`, its published versions `versions/<name>/<number>`. They change together only.

    With a `cipher`, environment variables are encrypted in them.
    """

    def __init__(
        self,
        store: Store,
        account_region: AccountRegion,
        clock: Clock,
        health: Health | None = None,
        cipher: EnvironmentCipher | None = None,
    ) -> None:
        self._cipher = cipher
        self._plain: set[str] = set()  # names of those whose variables an earlier Hanabi did not encrypt

        def decode(name: str, document: Document, versions: Mapping[str, Document]) -> Function:
            document, versions = self._unseal(name, document, versions)
            return read_function(document, name, account_region.arn(name), versions)

        kind = Kind("function", "functions/", decode, self._encode, "versions/", self._changed_versions)
        super().__init__(store, kind, clock, health)
        self.account_region = account_region
        self._clock = clock
        self._url_owners: dict[str, str] = {}  # id -> name of its function

    def find(self, name: str) -> Function:
        """Return a function. Raises `ResourceNotFound`."""
        function = self.get(name)
        if function is None:
            raise ResourceNotFound(f"Function not found: {self.account_region.arn(name)}")
        return function

    async def change(self, name: str, change: Callable[[Function], Function]) -> Function:
        """Replace a function by what `change` makes of it. Raises `ResourceNotFound`."""
        return await self.replace(name, lambda old: change(old or self.find(name)))

    async def replace(self, name: str, change: Callable[[Function | None], Function]) -> Function:
        """As `change`, for a function that may not exist."""
        function = await self.commit(name, change)
        assert function is not None
        return function

    async def apply(self, name: str, change: Callable[[Function | None], Function | None]) -> Function | None:
        try:
            return await super().apply(name, change)
        except RevisionMismatch:
            raise ResourceConflict(
                f"The operation cannot be performed at this time. An update is in progress for resource: {self.account_region.arn(name)}"
            ) from None

    def check(self, name: str, value: Function) -> None:
        ids = [url.id for url in value.urls.values()]
        if len(set(ids)) < len(ids) or any(self._url_owners.setdefault(url_id, name) != name for url_id in ids):
            raise ValueError("has a URL that another one has too")

    @property
    def why_incomplete(self) -> str:
        """Why the needs of functions are not fully known; empty: they are."""
        damaged = sorted(self.damaged)
        return f"functions whose documents are damaged: {', '.join(damaged[:5])}; what they need is not known" if damaged else ""

    def now_ms(self) -> int:
        return int(self._clock.time() * 1000)

    # --- documents ----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        await super().open()
        for name in sorted(self._plain - self.damaged.keys()):
            try:
                await self.update(name, _written_again)
            except (StorageFailed, RevisionMismatch, ResourceConflict) as error:
                log.warning("The environment variables of function %s are encrypted with its next change: %s", name, error)
        self._plain.clear()

    def _encode(self, function: Function) -> Document:
        document = function_document(function)
        if self._cipher is not None:
            for each in ("latest", "serving"):
                if document[each] is not None:
                    document[each] = self._cipher.seal(document[each], function.id)
        return document

    def _changed_versions(self, old: Function | None, new: Function | None) -> Mapping[str, Document | None]:
        before, after = old.versions if old else {}, new.versions if new else {}
        changed: dict[str, Document | None] = {number: None for number in before.keys() - after.keys()}
        for number, version in after.items() if new is not None else ():
            if new is not None and version is not before.get(number):
                document = version_document(new, version)
                changed[number] = document if self._cipher is None else self._cipher.seal(document, new.id)
        return changed

    def _unseal(self, name: str, document: Document, versions: Mapping[str, Document]) -> tuple[Document, Mapping[str, Document]]:
        """Decrypt the variables of a function's documents, and note those that are not encrypted."""
        cipher = self._cipher
        if cipher is None:
            return document, versions
        if any(map(is_plain, (document.get("latest"), document.get("serving"), *versions.values()))):
            self._plain.add(name)
        opened: dict[str, Any] = {
            each: cipher.unseal(document[each], document.get("id")) for each in ("latest", "serving") if each in document
        }
        return {**document, **opened}, {number: cipher.unseal(version, document.get("id")) for number, version in versions.items()}


def _written_again(function: Function) -> Function:
    """Return an equal function, all of whose documents are written."""
    return replace(function, versions={number: replace(version) for number, version in function.versions.items()})
