"""Environments started ahead of time that belong to no function yet: cold starts bought in advance.

A pooled environment never saw user code. One with a bundled bootstrap has it loaded and waiting; an OS-only one has its agent only.
"""

import asyncio
from collections.abc import Callable

from hanabi.contracts.images import RuntimeImage
from hanabi.environment.environment import Environment

SIZES_MAX = 4  # of one runtime whose process is started for a size of memory; functions of other sizes are started when they are asked for
Kind = tuple[str, tuple[str, ...]]


def _kind(image: RuntimeImage) -> Kind:
    """What runs in a pooled environment."""
    return image.digest, image.command


class Pool:
    """Up to `size` environments for each runtime image in use. `Refill` makes them; `changed` wakes it."""

    def __init__(self, size: int, changed: asyncio.Event) -> None:
        self._size = size
        self._changed = changed
        self._images: dict[Kind, RuntimeImage] = {}
        self._members: dict[Kind, list[Environment]] = {}

    def keep_for(self, image: RuntimeImage) -> None:
        """Functions of this runtime exist: keep some environments ready."""
        if (kind := _kind(image)) not in self._images and sum(each[0] == image.digest for each in self._images) < SIZES_MAX:
            self._images[kind] = image
            self._changed.set()

    def add(self, environment: Environment) -> None:
        self._members.setdefault(_kind(environment.image), []).append(environment)

    def take(self, image: RuntimeImage, fits: Callable[[Environment], bool]) -> Environment | None:
        """One that fits, or None: the oldest, as the bootstrap of the youngest may be loading still. It must not have died meanwhile."""
        self.keep_for(image)
        members = self._members.get(_kind(image), [])
        for environment in members:
            if environment.usable and fits(environment):
                members.remove(environment)
                self._changed.set()
                return environment
        return None

    def remove(self, environment: Environment) -> None:
        """One that is not there is no error."""
        members = self._members.get(_kind(environment.image), [])
        if environment in members:
            members.remove(environment)
            self._changed.set()

    def evict_one(self) -> Environment | None:
        """The one that is missed least, for a host that is full."""
        members = max(self._members.values(), key=len, default=[])
        return members.pop(0) if members else None

    def __len__(self) -> int:
        return sum(map(len, self._members.values()))

    def next_to_fill(self) -> RuntimeImage | None:
        """An image of which there are too few; each in its turn, so that one that fails does not starve the others."""
        for kind, image in self._images.items():
            if len(self._members.get(kind, [])) < self._size:
                self._images[kind] = self._images.pop(kind)
                return image
        return None
