"""The control planes of a node: one for each account and region that has something, or was asked for."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from hanabi.base.clock import Clock
from hanabi.base.tasks import SingleFlight
from hanabi.contracts.store import Store
from hanabi.control.arns import AccountRegion, is_account
from hanabi.control.plane import ControlPlane
from hanabi.control.regions import looks_like_region
from hanabi.errors import ShuttingDown, TooManyRequests

PLANES_MAX = 1_000  # open at a time
UNUSED_S = 900.0  # an empty one that was asked for so long ago may make room for another

Open = Callable[[AccountRegion], AbstractAsyncContextManager[ControlPlane]]


class ControlPlanes:
    """The control planes. `open_plane` opens one. A plane that has nothing has no task, and may be closed for others."""

    def __init__(self, store: Store, home: AccountRegion, open_plane: Open, clock: Clock) -> None:
        self.home = home
        self._store = store
        self._open_plane = open_plane
        self._clock = clock
        self._planes: dict[tuple[str, str], ControlPlane] = {}
        self._stacks: dict[tuple[str, str], AsyncExitStack] = {}
        self._asked: dict[tuple[str, str], float] = {}  # when it was asked for last
        self._listeners: list[Callable[[ControlPlane], None]] = []
        self._on_close: list[Callable[[AccountRegion], None]] = []
        self._opening: SingleFlight[tuple[str, str], ControlPlane] = SingleFlight(closed=ShuttingDown)

    async def open(self) -> None:
        """Open the planes that have something, and the home."""
        for account in await self._store.segments(""):
            for region in await self._store.segments(f"{account}/") if is_account(account) else ():
                if looks_like_region(region):
                    await self.get(AccountRegion(account, region))
        await self.get(self.home)

    async def close(self) -> None:
        await self._opening.close()
        await asyncio.gather(*(stack.aclose() for stack in self._stacks.values()))

    def on_open(self, opened: Callable[[ControlPlane], None]) -> None:
        """Call back with each plane: those that are open now, and each later one before it is used."""
        self._listeners.append(opened)
        for plane in self:
            opened(plane)

    def on_close(self, closed: Callable[[AccountRegion], None]) -> None:
        """Call back when an empty plane is to be closed: nobody may use it from then on."""
        self._on_close.append(closed)

    def __iter__(self) -> Iterator[ControlPlane]:
        return iter(list(self._planes.values()))

    def find(self, place: AccountRegion) -> ControlPlane | None:
        """Return a plane that is open, as all are that have something."""
        return self._planes.get((place.account, place.region))

    async def get(self, place: AccountRegion) -> ControlPlane:
        """Return a plane, opened if need be. Raises `TooManyRequests` when too many are."""
        key = (place.account, place.region)
        if (plane := self._planes.get(key)) is not None:
            self._asked[key] = self._clock.monotonic()
            return plane
        return await self._opening.run(key, lambda: self._open(place), f"control plane of {key}")

    async def _open(self, place: AccountRegion) -> ControlPlane:
        key = (place.account, place.region)
        if len(self._planes) + len(self._opening) > PLANES_MAX:
            await self._make_room()
        async with AsyncExitStack() as stack:
            plane = await stack.enter_async_context(self._open_plane(place))
            self._stacks[key] = stack.pop_all()
        self._planes[key], self._asked[key] = plane, self._clock.monotonic()
        for opened in self._listeners:
            opened(plane)
        return plane

    async def _make_room(self) -> None:
        """Close the empty plane that nobody asked for longest."""
        for asked, key, plane in sorted(((self._asked[key], key, plane) for key, plane in self._planes.items()), key=lambda each: each[:2]):
            if asked > self._clock.monotonic() - UNUSED_S:
                break
            place = plane.account_region
            if place == self.home or await self._store.segments(place.prefix):
                continue
            if self._planes.get(key) is plane and self._asked[key] == asked and plane.is_idle:  # meanwhile it may be in use, or closed
                for closed in self._on_close:
                    closed(place)
                del self._planes[key], self._asked[key]
                await self._stacks.pop(key).aclose()
                return
        raise TooManyRequests("CallerRateLimitExceeded")


@asynccontextmanager
async def open_control_planes(store: Store, home: AccountRegion, open_plane: Open, clock: Clock) -> AsyncIterator[ControlPlanes]:
    planes = ControlPlanes(store, home, open_plane, clock)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(planes.close)
        await planes.open()
        yield planes
