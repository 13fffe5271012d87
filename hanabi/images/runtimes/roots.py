"""Runtime images by name: root and bootstrap, built at first use."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hanabi.base.files import remove_at_once
from hanabi.base.tasks import SingleFlight
from hanabi.contracts.images import RuntimeImage
from hanabi.errors import ImageError
from hanabi.images.builders.progress import decode_count
from hanabi.images.builders.worker import Priority, run_builder
from hanabi.images.drives.drives import remove_drives
from hanabi.images.paths import is_whole, make_readable, read_about, root_path
from hanabi.images.runtimes.alternatives import explain_missing, runtimes_without_root
from hanabi.images.runtimes.bootstraps import install_bootstrap
from hanabi.images.runtimes.recipes import RUNTIMES, digest_recipe

CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"  # Debian's ...
_CERTIFICATES_TOO = ("etc/ssl/certs/ca-bundle.crt", "etc/pki/tls/certs/ca-bundle.crt")  # ... and where Amazon Linux, so Lambda, has them
Progress = Callable[[str], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RuntimeListing:
    """One row of `hanabi images`."""

    runtime: str
    digest: str
    built: bool
    size: int | None  # bytes on disk; files that it shares with other roots included
    path: str | None
    how: str  # to get it, or what to do instead; empty when it is there
    available: bool = True  # whether a root of it can be built


class RuntimeImages:
    """The runtime images. `ensure` returns a runtime's image. Builds are processes, which `close` ends."""

    def __init__(self, directory: Path, guest: Path) -> None:
        self._directory = directory
        self._guest = guest
        self._ready: dict[str, RuntimeImage] = {}
        self._making: SingleFlight[str, RuntimeImage] = SingleFlight(self._forget)
        self._listeners: dict[str, list[Progress]] = {}
        self._said: dict[str, str] = {}  # the last line of what is being made
        self._priorities: dict[str, Priority] = {}

    def known(self, runtime: str) -> bool:
        """Whether there is such a runtime."""
        return runtime in RUNTIMES

    def why_missing(self, runtime: str) -> str:
        """Return why a runtime has no root, and what to do instead; empty: it has one, or one can be built."""
        return "" if runtime in RUNTIMES else explain_missing(runtime)

    def is_built(self, runtime: str) -> bool:
        """Whether the root of a runtime exists."""
        return is_whole(root_path(self._directory, RUNTIMES[runtime].recipe))

    async def ensure(self, runtime: str, progress: Progress | None = None, *, urgent: bool = True) -> RuntimeImage:
        """Return the image of a runtime, built now if absent; concurrent callers share one build. Raises `ImageError`.

        `progress` gets the build's progress, including earlier lines. A build has low priority until one caller is urgent.
        """
        if image := self._ready.get(runtime):
            return image
        if runtime not in RUNTIMES:
            raise ImageError(explain_missing(runtime))
        if progress:
            self._listeners.setdefault(runtime, []).append(progress)
            if said := self._said.get(runtime):
                progress(said)
        if runtime not in self._making:
            self._priorities[runtime] = Priority(low=not urgent)
        elif urgent:
            self._priorities[runtime].lift()
        return await self._making.run(runtime, lambda: self._make(runtime), f"image {runtime}")

    def _forget(self, runtime: str) -> None:
        self._listeners.pop(runtime, None)
        self._said.pop(runtime, None)
        self._priorities.pop(runtime, None)

    async def close(self) -> None:
        """Stop running builds."""
        await self._making.close()

    async def _make(self, runtime: str) -> RuntimeImage:
        recipe = RUNTIMES[runtime].recipe
        place = root_path(self._directory, recipe)
        if not is_whole(place):
            arguments, priority = (self._directory, recipe), self._priorities[runtime]
            await run_builder(
                "hanabi.images.runtimes.builder", arguments, f"the root of {recipe}", lambda line: self._tell(runtime, line), priority
            )
        image = self._ready[runtime] = await asyncio.to_thread(self._assemble, runtime, place / "root")
        return image

    def _tell(self, runtime: str, line: str) -> None:
        self._said[runtime] = line
        if decode_count(line) is None:
            log.info("runtime root of %s: %s", runtime, line)
        for progress in self._listeners.get(runtime, ()):
            progress(line)

    def _assemble(self, runtime: str, root: Path) -> RuntimeImage:
        known = RUNTIMES[runtime]
        bootstrap = install_bootstrap(self._guest, self._directory / "bootstrap", known.language, root)
        place_certificates(root)
        for tree in (root, bootstrap):
            make_readable(tree, self._directory)
        identity = hashlib.sha256(f"{runtime}/{digest_recipe(known.recipe)}/{bootstrap.name}/{CERTIFICATES}".encode()).hexdigest()
        return RuntimeImage(
            runtime=runtime,
            digest=identity,
            root=root,
            runtime_dir=bootstrap,
            command=known.command,
            environment=known.environment,
            version_arn=f"arn:aws:lambda:us-east-1::runtime:{identity}",
            clonable=known.clonable,
            heap_sized=known.heap_sized,
        )

    def list_unavailable(self) -> list[RuntimeListing]:
        """List Lambda's runtimes that are unavailable here, with alternatives."""
        return [RuntimeListing(runtime, "", False, None, None, how, False) for runtime, how in runtimes_without_root().items()]

    def list(self) -> list[RuntimeListing]:
        """List every known runtime, built or not."""
        return [self._list_one(runtime) for runtime in RUNTIMES]

    def _list_one(self, runtime: str) -> RuntimeListing:
        recipe = RUNTIMES[runtime].recipe
        place, digest = root_path(self._directory, recipe), digest_recipe(recipe)[:16]
        if is_whole(place):
            try:
                size = int(read_about(place, size=int)["size"])
            except ImageError as error:  # the root itself may be as good as ever
                return RuntimeListing(runtime, digest, True, None, str(place), str(error))
            return RuntimeListing(runtime, digest, True, size, str(place), "")
        return RuntimeListing(runtime, digest, False, None, None, f"built at first use, or by `hanabi images build {runtime}`")

    def remove(self, runtime: str) -> bool:
        """Remove all current and earlier roots of a runtime, and their drives; False when there was none. No running node may use them.

        Runtimes that run on the same root lose it together.
        """
        self._ready.clear()
        if runtime not in RUNTIMES:
            return False
        found = list((self._directory / "roots").glob(f"{RUNTIMES[runtime].recipe}-*"))
        for place in found:
            remove_at_once(place, self._directory / "building")
        for name, known in RUNTIMES.items():
            if known.recipe == RUNTIMES[runtime].recipe:
                remove_drives(self._directory, name)
        return bool(found)


def place_certificates(root: Path) -> None:
    """Link certificates to the paths that functions expect; roots built earlier lack them."""
    for name in _CERTIFICATES_TOO:
        link = root / name
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process may have been quicker
                link.symlink_to(f"/{CERTIFICATES}")
