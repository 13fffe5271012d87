"""What the rest of the node sees of all control planes together: routes, URLs, references, code. By names in the record."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.base.tasks import Tasks
from hanabi.contracts.functions import EventRules, FunctionVersion, Route
from hanabi.control.arns import LATEST, AccountRegion
from hanabi.control.layers.layer_names import LayerName
from hanabi.control.layers.model import LayerVersion
from hanabi.control.model import Function, Url
from hanabi.control.plane import ControlPlane
from hanabi.control.planes import ControlPlanes
from hanabi.control.record_names import RecordNames
from hanabi.errors import ResourceNotFound
from hanabi.quotas import ACCOUNT_CONCURRENCY


@dataclass(frozen=True, slots=True)
class PlacedUrl:
    """A function URL with the account and region that it belongs to."""

    url: Url
    plane: ControlPlane
    function: str  # its name in the record

    @property
    def qualifier(self) -> str | None:
        return self.url.qualifier

    @property
    def auth_type(self) -> str:
        return self.url.auth_type

    @property
    def cors(self) -> Mapping[str, Any] | None:
        return self.url.cors

    @property
    def streams(self) -> bool:
        return self.url.streams

    @property
    def arn(self) -> str:
        return self.plane.account_region.arn(self.url.function, self.qualifier)

    @property
    def policy(self) -> tuple[Mapping[str, Any], ...]:
        function = self.plane.functions.get(self.url.function)
        return tuple(function.policies.get(self.qualifier or LATEST, ())) if function else ()


class AllPlanes:
    """All planes together. A `contracts.functions.Catalog` and `ConcurrencyLimits`, by names in the record."""

    def __init__(self, planes: ControlPlanes) -> None:
        self._planes = planes
        self._names = RecordNames(planes.home)
        self._by_scope: dict[str, ControlPlane] = {}
        self._urls: dict[str, tuple[str, ControlPlane]] = {}  # id -> (scope, plane)
        planes.on_open(self._opened)
        planes.on_close(self._closed)

    def _opened(self, plane: ControlPlane) -> None:
        scope = self._names.scope(plane.account_region)
        self._by_scope[scope] = plane
        plane.urls.on_url(lambda url_id: self._urls.update({url_id: (scope, plane)}), self._forget_url)

    def _closed(self, place: AccountRegion) -> None:
        self._by_scope.pop(self._names.scope(place), None)

    def _forget_url(self, url_id: str) -> None:
        self._urls.pop(url_id, None)

    def functions(self) -> Iterator[Function]:
        return (function for plane in self._planes for function in plane.functions)

    # --- invocations --------------------------------------------------------------------------------------------------

    def resolve(self, function: str, qualifier: str | None) -> Route:
        place, name = self._names.split(function)
        plane = self._planes.find(place)
        if plane is None:
            raise ResourceNotFound(f"Function not found: {place.arn(name, qualifier or LATEST)}")
        return plane.catalog.resolve(name, qualifier)

    def event_rules(self, function: str, qualifier: str | None) -> EventRules:
        place, name = self._names.split(function)
        plane = self._planes.find(place)
        return plane.catalog.event_rules(name, qualifier) if plane is not None else EventRules()

    def account_concurrency(self, scope: str = "") -> tuple[int, int]:
        plane = self._by_scope.get(scope)
        return plane.catalog.account_concurrency() if plane is not None else (ACCOUNT_CONCURRENCY, ACCOUNT_CONCURRENCY)

    def is_reserved(self, name: str) -> bool:
        place, own = self._names.split(name)
        plane = self._planes.find(place)
        return plane is not None and plane.catalog.is_reserved(own)

    def find_layer(self, name: LayerName) -> LayerVersion | None:
        """Return a layer version of any account and region."""
        plane = self._planes.find(AccountRegion(name.account, name.region))
        return plane.layers.find_version(name) if plane is not None and name.number is not None else None

    # --- function URLs ------------------------------------------------------------------------------------------------

    def lookup(self, url_id: str) -> PlacedUrl | None:
        """Return the function URL of an id: ids are those of the whole node."""
        scope, plane = self._urls.get(url_id, ("", None))
        url = plane.urls.lookup(url_id) if plane is not None else None
        return PlacedUrl(url, plane, scope + url.function) if url is not None and plane is not None else None

    # --- what is in use, and whether it is there ----------------------------------------------------------------------

    @property
    def why_incomplete(self) -> str:
        """Why something that is in use may be missing here; empty: nothing is."""
        return next((why for plane in self._planes if (why := plane.references.why_incomplete)), "")

    def code(self) -> set[Path]:
        return self._union(lambda plane: plane.references.code())

    def layer_sets(self) -> set[Path]:
        return self._union(lambda plane: plane.references.layer_sets())

    def images(self) -> set[str]:
        return self._union(lambda plane: plane.references.images())

    def snapshots(self) -> set[str]:
        return self._union(lambda plane: plane.references.snapshots())

    def _union(self, of: Callable[[ControlPlane], Set[Any]]) -> set[Any]:
        return {each for plane in self._planes for each in of(plane)}

    async def require(self, version: FunctionVersion) -> None:
        """As `CodePresence.require`."""
        await self._of(version).presence.require(version)

    async def refuse(self, version: FunctionVersion) -> None:
        await self._of(version).presence.refuse(version)

    def _of(self, version: FunctionVersion) -> ControlPlane:
        place = AccountRegion(version.account, version.region)
        plane = self._planes.find(place)
        if plane is None:
            raise ResourceNotFound(f"Function not found: {version.arn}")
        return plane

    async def wait_idle(self) -> None:
        await asyncio.gather(*(plane.wait_idle() for plane in self._planes))


class PresenceChecks:
    """Runs the check of each plane's code for as long as the plane has functions. `close` it before the planes."""

    def __init__(self, planes: ControlPlanes) -> None:
        self._tasks = Tasks("presence")
        self._running: dict[AccountRegion, asyncio.Task[None]] = {}
        planes.on_open(lambda plane: plane.functions.listen(lambda old, new: self._changed(plane)))

    def _changed(self, plane: ControlPlane) -> None:
        place = plane.account_region
        if place not in self._running:
            self._running[place] = self._tasks.spawn(plane.presence.run(), f"presence of {place.prefix}")
        elif plane.functions.is_empty:
            self._running.pop(place).cancel()

    async def close(self) -> None:
        await self._tasks.cancel()
