"""The pool: environments started ahead of time, without a function yet, for faster cold starts.

A pooled environment never ran user code. One with a bundled bootstrap has it loaded and waiting; an OS-only one has only its agent.
"""

import asyncio
from collections.abc import Callable

from hanabi.contracts.images import RuntimeImage
from hanabi.environment.environment import Environment

SIZES_MAX = 4  # of one runtime whose process is started for a size of memory; functions of other sizes are started when they are asked for
Kind = tuple[str, tuple[str, ...]]


def _kind(image: RuntimeImage) -> Kind:
    """Return the kind of a pooled environment: what runs in it."""
    return image.digest, image.command


class Pool:
    """The pool: up to `size` environments for each runtime image in use. `Refill` makes them; `changed` wakes it."""

    def __init__(self, size: int, changed: asyncio.Event) -> None:
        self._size = size
        self._changed = changed
        self._images: dict[Kind, RuntimeImage] = {}
        self._members: dict[Kind, list[Environment]] = {}

    def keep_for(self, image: RuntimeImage) -> None:
        """Keep environments of this runtime ready: functions of it exist."""
        if (kind := _kind(image)) not in self._images and sum(each[0] == image.digest for each in self._images) < SIZES_MAX:
            self._images[kind] = image
            self._changed.set()

    def add(self, environment: Environment) -> None:
        self._members.setdefault(_kind(environment.image), []).append(environment)

    def take(self, image: RuntimeImage, fits: Callable[[Environment], bool]) -> Environment | None:
        """Take a live one that fits, or None: the oldest, as the youngest may still be loading its bootstrap."""
        self.keep_for(image)
        members = self._members.get(_kind(image), [])
        for environment in members:
            if environment.usable and fits(environment):
                members.remove(environment)
                self._changed.set()
                return environment
        return None

    def remove(self, environment: Environment) -> None:
        """Remove an environment. Idempotent."""
        members = self._members.get(_kind(environment.image), [])
        if environment in members:
            members.remove(environment)
            self._changed.set()

    def evict_one(self) -> Environment | None:
        """Take out the one needed least, for a full host."""
        members = max(self._members.values(), key=len, default=[])
        return members.pop(0) if members else None

    def __len__(self) -> int:
        return sum(map(len, self._members.values()))

    def next_to_fill(self) -> RuntimeImage | None:
        """Return an image with too few environments, in turn, so that one that fails does not starve the others."""
        for kind, image in self._images.items():
            if len(self._members.get(kind, [])) < self._size:
                self._images[kind] = self._images.pop(kind)
                return image
        return None
