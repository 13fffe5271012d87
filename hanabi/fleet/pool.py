"""Environments started ahead of time that belong to no function yet: cold starts bought in advance.

A pooled environment never saw user code. One with a bundled bootstrap has it loaded and waiting; an OS-only one has its agent only.
"""

import asyncio
from collections.abc import Awaitable, Callable

from hanabi.base.health import Health
from hanabi.contracts.images import RuntimeImage
from hanabi.environment.environment import Environment

RETRY_S = 5.0

SIZES_MAX = 4  # of one runtime whose process is started for a size of memory; functions of other sizes are started when they are asked for
Kind = tuple[str, tuple[str, ...]]


def _kind(image: RuntimeImage) -> Kind:
    """What runs in a pooled environment."""
    return image.digest, image.command


class Pool:
    """Keeps up to `size` environments per runtime image; refills one at a time, and only while nobody waits for a start.

    `on_pooled` is called when there is one more: somebody may have come to wait for its place meanwhile.
    """

    def __init__(
        self,
        make: Callable[[RuntimeImage], Awaitable[Environment]],
        may_refill: Callable[[], bool],
        on_pooled: Callable[[], None],
        size: int,
        health: Health | None = None,
    ) -> None:
        self._health = health or Health()
        self._make = make
        self._may_refill = may_refill
        self._on_pooled = on_pooled
        self._size = size
        self._images: dict[Kind, RuntimeImage] = {}
        self._members: dict[Kind, list[Environment]] = {}
        self._wake = asyncio.Event()
        self._failed = False  # lately: what fails at once must not be tried all the time

    def keep_for(self, image: RuntimeImage) -> None:
        """Functions of this runtime exist: keep some environments ready."""
        if (kind := _kind(image)) not in self._images and sum(each[0] == image.digest for each in self._images) < SIZES_MAX:
            self._images[kind] = image
            self._wake.set()

    def take(self, image: RuntimeImage, fits: Callable[[Environment], bool]) -> Environment | None:
        """A ready one that fits, or None. It must not have died while it waited."""
        self.keep_for(image)
        members = self._members.get(_kind(image), [])
        for environment in reversed(members):
            if not environment.to_destroy and fits(environment):
                members.remove(environment)
                self._wake.set()
                return environment
        return None

    def remove(self, environment: Environment) -> None:
        members = self._members.get(_kind(environment.image), [])
        if environment in members:
            members.remove(environment)
            self._wake.set()

    def on_member_died(self) -> None:
        """One has died by itself."""
        self._failed = True

    def evict_one(self) -> Environment | None:
        """The one that is missed least, for a host that is full."""
        members = max(self._members.values(), key=len, default=[])
        return members.pop(0) if members else None

    def __len__(self) -> int:
        return sum(map(len, self._members.values()))

    def wake(self) -> None:
        """Circumstances changed: look again whether to refill."""
        self._wake.set()

    async def run(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Refill until cancelled."""
        while True:
            await self._wake.wait()
            if self._failed:
                self._failed = False
                await sleep(RETRY_S)
            self._wake.clear()
            image = self._next_to_fill()
            if image is None or not self._may_refill():
                continue
            self._images[_kind(image)] = self._images.pop(_kind(image))  # to the end: one that fails must not starve the others
            try:
                environment = await self._make(image)
            except Exception as error:
                self._health.report(f"pool.{image.digest}", f"No environment of {image.runtime} can be made for the pool: {error}")
                self._failed = True
            else:
                self._health.clear(f"pool.{image.digest}")
                if environment.to_destroy:
                    self._failed = True
                else:
                    self._members.setdefault(_kind(image), []).append(environment)
                    self._on_pooled()
            self._wake.set()

    def _next_to_fill(self) -> RuntimeImage | None:
        for kind, image in self._images.items():
            if len(self._members.get(kind, [])) < self._size:
                return image
        return None
