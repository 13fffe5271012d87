"""The functions of one account in one region, over the registry."""

from collections.abc import Callable, Mapping

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.store import Document, Store
from hanabi.control.arns import AccountRegion
from hanabi.control.documents import read_function
from hanabi.control.model import Function, function_document, version_document
from hanabi.control.registry import Kind, Registry
from hanabi.errors import ResourceConflict, ResourceNotFound, RevisionMismatch


class Functions(Registry[Function]):
    """The functions. A document is `functions/<name>`, its published versions `versions/<name>/<number>`. They change together only."""

    def __init__(self, store: Store, account_region: AccountRegion, clock: Clock, health: Health | None = None) -> None:
        def decode(name: str, document: Document, versions: Mapping[str, Document]) -> Function:
            return read_function(document, name, account_region.arn(name), versions)

        kind = Kind("function", "functions/", decode, function_document, "versions/", _changed_versions)
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


def _changed_versions(old: Function | None, new: Function | None) -> Mapping[str, Document | None]:
    before, after = old.versions if old else {}, new.versions if new else {}
    changed: dict[str, Document | None] = {number: None for number in before.keys() - after.keys()}
    if new is not None:
        changed |= {number: version_document(new, version) for number, version in after.items() if version is not before.get(number)}
    return changed
