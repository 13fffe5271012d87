"""Runtime images by name: of the source that the owner chose, got at first use."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.tasks import SingleFlight
from hanabi.contracts.images import RuntimeImage
from hanabi.errors import ImageError
from hanabi.images.builders.progress import decode_count
from hanabi.images.builders.worker import Priority
from hanabi.images.runtimes.alternatives import alternative, explain_missing
from hanabi.images.runtimes.base_image_store import BaseImageStore
from hanabi.images.runtimes.names import NAMES
from hanabi.images.runtimes.package_roots import PackageRoots
from hanabi.images.runtimes.sources import AUTO, AWS, DISTRIBUTION, PENDING, RuntimeSources

Progress = Callable[[str], None]
log = logging.getLogger(__name__)


class RuntimeImages:
    """The runtime images. `ensure` returns a runtime's image. Builds and pulls are processes, which `close` ends."""

    def __init__(self, directory: Path, guest: Path, sources: RuntimeSources | None = None, clock: Clock | None = None) -> None:
        self.sources = sources or RuntimeSources(choice=DISTRIBUTION)
        self.packages = PackageRoots(directory, guest)
        self.base_images = BaseImageStore(directory, self.sources, clock, guest)
        self._ready: dict[str, RuntimeImage] = {}
        self._making: SingleFlight[str, RuntimeImage] = SingleFlight(self._forget)
        self._listeners: dict[str, list[Progress]] = {}
        self._said: dict[str, str] = {}  # the last line of what is being made
        self._priorities: dict[str, Priority] = {}

    def known(self, runtime: str) -> bool:
        """Whether Lambda creates functions of such a runtime."""
        return runtime in NAMES

    def stand_in(self, runtime: str) -> str:
        """Return the runtime that is run for it: itself, or its substitute."""
        return self.sources.substitutes.get(runtime, runtime)

    def is_there(self, runtime: str) -> bool:
        """Whether the runtime is on this host. Blocks briefly."""
        return self._source_on_disk(self.stand_in(runtime)) != ""

    def _source_on_disk(self, runtime: str) -> str:
        """Return the source of what is on this host already; empty: nothing is."""
        choice = self.sources.choice
        if choice in (AUTO, AWS) and self.base_images.pinned(runtime):
            return AWS
        return DISTRIBUTION if choice in (AUTO, DISTRIBUTION) and self.packages.is_built(runtime) else ""

    async def find_source(self, runtime: str) -> str:
        """Find the source that a runtime is had from now, AWS or DISTRIBUTION. Raises `ImageError`: from none, and what to do."""
        if there := await asyncio.to_thread(self._source_on_disk, runtime):
            return there
        packages, reason = self.packages.has(runtime) and self.sources.choice != AWS, ""
        if self.sources.choice != DISTRIBUTION and self.known(runtime):
            try:
                await self.base_images.find(runtime)
                return AWS
            except ImageError as error:
                reason = str(error)
                if packages:
                    log.info("AWS's base image of %s is not to be had (%s): its root is built of packages", runtime, reason)
        if packages:
            return DISTRIBUTION
        raise ImageError(explain_missing(runtime, self.sources.choice, reason), "missing")

    async def why_missing(self, runtime: str) -> str:
        """Return why a runtime is not to be had, and what to do instead; empty: it is."""
        try:
            await self.find_source(self.stand_in(runtime))
        except ImageError as error:
            return str(error)
        return ""

    async def why_pending(self, runtime: str) -> str:
        """Return why functions of a runtime stay pending until it is to be had; empty: they do not."""
        return await self.why_missing(runtime) if self.sources.missing == PENDING else ""

    async def ensure(self, runtime: str, progress: Progress | None = None, *, urgent: bool = True, source: str = "") -> RuntimeImage:
        """Return the image of a runtime, made now if absent; concurrent callers share one build or pull. Raises `ImageError`.

        `progress` gets the progress, including earlier lines. A build has low priority until one caller is urgent. `source`: from there
        only, whatever the owner chose.
        """
        runtime = self.stand_in(runtime)
        if not source and (image := self._ready.get(runtime)):
            return image
        if progress:
            self._listeners.setdefault(runtime, []).append(progress)
            if said := self._said.get(runtime):
                progress(said)
        if runtime not in self._making:
            self._priorities[runtime] = Priority(low=not urgent)
        elif urgent:
            self._priorities[runtime].lift()
        return await self._making.run(runtime, lambda: self._make(runtime, source), f"image {runtime}")

    def _forget(self, runtime: str) -> None:
        self._listeners.pop(runtime, None)
        self._said.pop(runtime, None)
        self._priorities.pop(runtime, None)

    async def close(self) -> None:
        """Stop running builds and pulls."""
        await self._making.close()
        await self.base_images.close()

    async def _make(self, runtime: str, source: str) -> RuntimeImage:
        chosen = source or await self.find_source(runtime)
        if source == DISTRIBUTION and not self.packages.has(runtime):
            raise ImageError(f"no packages that Hanabi knows have {runtime}. What to do: {alternative(runtime)}", "missing")
        try:
            image = await self._make_from(chosen, runtime)
        except ImageError as error:
            if source or chosen != AWS or self.sources.choice != AUTO or not self.packages.has(runtime):
                raise
            log.warning("AWS's base image of %s cannot be had now (%s): its root is built of packages", runtime, error)
            image = await self._make_from(DISTRIBUTION, runtime)
        self._ready[runtime] = image
        return image

    async def _make_from(self, source: str, runtime: str) -> RuntimeImage:
        def tell(line: str) -> None:
            self._tell(runtime, line)

        if source == AWS:
            return await self.base_images.ensure(runtime, tell)
        return await self.packages.ensure(runtime, tell, self._priorities[runtime])

    def _tell(self, runtime: str, line: str) -> None:
        self._said[runtime] = line
        if decode_count(line) is None:
            log.info("runtime root of %s: %s", runtime, line)
        for progress in self._listeners.get(runtime, ()):
            progress(line)

    def remove(self, runtime: str) -> bool:
        """Remove all that a runtime has on this host; False when there was nothing. No running node may use it."""
        self._ready.clear()
        return any([self.packages.remove(runtime), self.base_images.remove(runtime)])


def missing_of(images: RuntimeImages, runtimes: Iterable[str]) -> list[str]:
    """List the runtimes that are not on this host, in their order, without repetition. Blocks briefly."""
    return [runtime for runtime in dict.fromkeys(runtimes) if images.known(runtime) and not images.is_there(runtime)]
