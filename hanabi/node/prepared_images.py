"""Images for the control plane and the fleet: a runtime in use is also kept in the pool."""

import logging
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from hanabi.base.retry import RetryQueue
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Driver
from hanabi.control.runtime_management import explain_pin, runtime_id
from hanabi.environment.node_heap import for_memory, for_version
from hanabi.environment.variables import preload_of
from hanabi.errors import ImageError
from hanabi.images.containers.container_images import ContainerImages
from hanabi.images.runtimes.roots import RuntimeImages
from hanabi.images.runtimes.sources import PENDING
from hanabi.node.artifacts import Artifacts
from hanabi.quotas import MEMORY_DEFAULT_MB

ANNOUNCE_INTERVAL_S = 600.0  # at most: a root that cannot be built is not tried all the time
log = logging.getLogger(__name__)


class PreparedRuntimes:
    """The runtimes. `keep_pool_for` is called with each that functions use."""

    def __init__(self, images: RuntimeImages, driver: Driver, keep_pool_for: Callable[[RuntimeImage], None]) -> None:
        self.why_pending = images.why_pending
        self.prepare_code = driver.prepare_directory
        self._images = images
        self._driver = driver
        self._keep_pool_for = keep_pool_for

    async def why_unavailable(self, runtime: str) -> str:
        """Return why functions of a runtime cannot run on this host; empty: they can."""
        missing = "" if self._images.sources.missing == PENDING else await self._images.why_missing(runtime)
        return missing or await self._driver.why_unavailable(self._images.stand_in(runtime))

    async def ensure(self, runtime: str, progress: Callable[[str], None] = lambda line: None) -> RuntimeImage:
        image = await self._images.ensure(runtime, lambda line: progress(f"building the runtime root of {runtime}: {line}"))
        if self._driver.can_snapshot:
            progress(f"making the snapshot that microVMs of {runtime} start from")
        await self._driver.prepare(image, preload_of(image))
        self._keep_pool_for(for_memory(image, MEMORY_DEFAULT_MB))
        return image

    async def announce(self, runtimes: Iterable[str], retries: RetryQueue) -> None:
        """Fill the pool for functions of an earlier run: their runtimes are not requested before the first cold start otherwise."""
        for runtime in runtimes:
            await retries.do(f"announce.{runtime}", f"No environments of {runtime} can be kept ready", partial(self.ensure, runtime))


class PreparedContainers:
    """The container images."""

    def __init__(self, containers: ContainerImages, driver: Driver) -> None:
        self.resolve = containers.resolve
        self.find_missing = containers.find_missing
        self._containers = containers
        self._driver = driver

    async def ensure(self, image: str, progress: Callable[[str], None] = lambda line: None) -> RuntimeImage:
        ready = await self._containers.ensure(image, progress)
        await self._driver.prepare(ready, preload_of(ready))
        return ready


class Presence(Protocol):
    async def require(self, version: FunctionVersion) -> None:
        """Raise `ResourceConflict` when a version's zip is missing. Cheap when it exists."""

    async def refuse(self, version: FunctionVersion) -> None:
        """Check a version of which something was not found; raise `ResourceConflict` unless it could be fixed."""


class VersionImages:
    """The images of versions. `presence` checks that a version's code exists."""

    def __init__(self, artifacts: Artifacts, presence: Callable[[], Presence]) -> None:
        self._artifacts = artifacts
        self._presence = presence

    async def find(self, version: FunctionVersion) -> RuntimeImage:
        """Return the image of a version. Raises `ResourceConflict` when its code is missing."""
        containers, presence = self._artifacts.containers, self._presence()
        if version.container is None:
            await presence.require(version)
            image = await self._artifacts.runtimes.ensure(version.runtime)
            if version.runtime_version and runtime_id(image.version_arn) != version.runtime_version:
                raise ImageError(explain_pin(version.runtime_version), "missing")
            return for_version(image, version)
        try:
            image = await containers.ensure(version.container.image)
            if os.access(image.root, os.F_OK):
                return image
        except ImageError as error:
            log.warning("the image of %s:%s is not there: %s", version.name, version.version, error)
        await presence.refuse(version)
        return await containers.ensure(version.container.image)
