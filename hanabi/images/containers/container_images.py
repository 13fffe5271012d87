"""The server's container images: resolved to a digest, pulled by a worker, and removed when unused."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.base.clock import Clock, SystemClock
from hanabi.base.files import remove_tree
from hanabi.base.tasks import SingleFlight, Tasks
from hanabi.contracts.images import RuntimeImage
from hanabi.errors import ImageError
from hanabi.images.builders.worker import WorkerFailed, run_worker
from hanabi.images.containers import paths
from hanabi.images.containers.reference import parse
from hanabi.images.identity import ImageOwner
from hanabi.images.paths import is_whole, make_readable
from hanabi.images.trash import Trash

RESOLVE_S = 90.0
PULL_S = 3600.0  # another process's pull that is waited for included
CONCURRENT_PULLS = 4  # workers
Progress = Callable[[str], None]

# As seen in a function from an image in AWS: what the image sets comes on top. Nothing else of a runtime's environment is there.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "AWS_EXECUTION_ENV": "AWS_Lambda_Image"}


@dataclass(frozen=True, slots=True)
class PinnedImage:
    """A resolved ImageUri: `image` is its address by digest."""

    image: str
    digest: str  # of the manifest, hexadecimal


class ContainerImages:
    """Container images. `resolve` and `ensure` run workers, which `close` ends. `owner` is the functions' data directory."""

    def __init__(self, directory: Path, owner: ImageOwner, plain: Sequence[str] = (), clock: Clock | None = None) -> None:
        self._directory = directory
        self._owner = owner
        self._plain = list(plain)
        self._clock = clock or SystemClock()
        self._trash = Trash(directory, self._clock)
        self._ready: dict[str, RuntimeImage] = {}
        self._making: SingleFlight[str, RuntimeImage] = SingleFlight(lambda image: self._release())
        self._workers = Tasks("image worker")
        self._semaphore = asyncio.Semaphore(CONCURRENT_PULLS)
        self._collecting = False
        self._claimed: set[str] = set()  # by what is under way: collection must not be a step ahead of it
        self._claiming = threading.Lock()

    async def open(self) -> None:
        await asyncio.to_thread(paths.prepare, self._directory)

    async def close(self) -> None:
        await self._making.close()
        await self._workers.cancel()

    # --- getting

    async def resolve(self, uri: str) -> PinnedImage:
        """Resolve an ImageUri, or the name of an added image, to its current digest. Raises `ImageError`."""
        named = await asyncio.to_thread(paths.read_name, self._directory, uri)
        if named is not None:
            return PinnedImage(named.image, named.digest)
        parse(uri)
        lines: list[str] = []
        await self._work({"action": "resolve", "image": uri}, RESOLVE_S, lines.append)
        try:
            found = json.loads(lines[-1])
            return PinnedImage(found["image"], found["digest"])
        except (LookupError, ValueError):
            raise ImageError(f"{uri} could not be resolved") from None

    async def ensure(self, image: str, progress: Progress = lambda line: None) -> RuntimeImage:
        """Return a pinned image's root, pulled now if absent; concurrent callers share one pull. Raises `ImageError`."""
        if ready := self._ready.get(image):
            return ready
        if image not in self._making:
            with self._claiming:
                self._claimed.add(_digest_of(image))
        return await self._making.run(image, lambda: self._make(image, progress), f"image {image}")

    def _release(self) -> None:
        if not self._making and not self._collecting:
            self._claimed.clear()

    async def _make(self, image: str, progress: Progress) -> RuntimeImage:
        digest = _digest_of(image)
        if not await asyncio.to_thread(self._take, digest):
            owner = {"owner": self._owner.id, "owner_directory": str(self._owner.directory)}
            await self._work({"action": "pull", "image": image, **owner}, PULL_S, progress)
        ready = await asyncio.to_thread(assemble, self._directory, digest)
        self._ready[image] = ready
        return ready

    def _take(self, digest: str) -> bool:
        """Note that we need an existing image; False when it is absent, or is being made or removed."""
        with paths.lock_of(self._directory, digest, wait=False) as held:
            place = paths.container_path(self._directory, digest)
            if not held:
                return False
            if not place.exists():
                self._trash.recover(place)
            if not _is_usable(place):
                remove_tree(place)
                return False
            paths.refer(self._directory, digest, self._owner, self._clock.time())
            return True

    async def find_missing(self, images: Set[str]) -> set[str]:
        """Find pinned images that are not unpacked here; `ensure` pulls them."""
        return await asyncio.to_thread(lambda: {image for image in images if not self._is_there(image)})

    def _is_there(self, image: str) -> bool:
        usable = _is_usable(paths.container_path(self._directory, _digest_of(image)))
        if not usable:
            self._ready.pop(image, None)
        return usable

    async def _work(self, request: dict[str, Any], limit_s: float, progress: Progress) -> None:
        await self._workers.own(run_pull(self._directory, {**request, "plain": self._plain}, limit_s, progress, self._semaphore))

    # --- keeping

    async def collect(self, used: Set[str]) -> None:
        """Release all images but `used` (digests), and move to the trash those long unused by every owner."""
        self._collecting = True
        try:
            for image in [each for each, ready in self._ready.items() if ready.digest not in used]:
                del self._ready[image]
            await asyncio.to_thread(self._collect, used)
        finally:
            self._collecting = False
            self._release()

    def _collect(self, used: Set[str]) -> None:
        now = self._clock.time()
        with self._claiming:
            paths.release(self._directory, self._owner, used | self._claimed)
        for digest in used:
            if is_whole(paths.container_path(self._directory, digest)):
                paths.refer(self._directory, digest, self._owner, now)
        paths.sweep(self._directory, self._trash, now)


async def run_pull(
    directory: Path, request: dict[str, Any], limit_s: float, progress: Progress, semaphore: asyncio.Semaphore | None = None
) -> None:
    """Run a worker of `hanabi.images.containers.pull`. Raises `ImageError`."""
    async with semaphore or asyncio.Semaphore():
        try:
            await run_worker("hanabi.images.containers.pull", (directory, json.dumps(request)), limit_s, progress)
        except TimeoutError:
            raise ImageError(f"{request['image']} was not had within {limit_s:.0f} s") from None
        except WorkerFailed as error:
            raise _read_failure(str(error)) from None


async def add(directory: Path, name: str, image: str, plain: Sequence[str], progress: Callable[[str], None]) -> paths.NamedImage:
    """Pull an image and give it a name. Raises `ImageError`."""
    if not paths.NAME.fullmatch(name):
        raise ImageError(f"{name!r} cannot be a name: letters, digits, `.`, `_` and `-`, at most 128", "malformed")
    parse(image)
    lines: list[str] = []
    await run_pull(directory, {"action": "resolve", "image": image, "plain": list(plain)}, RESOLVE_S, lines.append)
    pinned = json.loads(lines[-1])["image"]
    await run_pull(directory, {"action": "pull", "image": pinned, "name": name, "plain": list(plain)}, PULL_S, progress)
    named = paths.read_name(directory, name)
    assert named is not None
    return named


def assemble(directory: Path, digest: str) -> RuntimeImage:
    """Make the image of an unpacked directory. Raises `ImageError`."""
    place = paths.container_path(directory, digest)
    about = paths.about_of(place)
    make_readable(place / "root", directory)
    return RuntimeImage(
        runtime="image",
        digest=digest,
        root=place / "root",
        runtime_dir=None,
        command=(),
        environment={**ENVIRONMENT, **about["environment"]},
        version_arn="",
        entry_point=tuple(about["entry_point"]),
        arguments=tuple(about["command"]),
        working_directory=about["working_directory"],
    )


def _is_usable(place: Path) -> bool:
    """Whether an image is complete, and undamaged by a quick check."""
    return is_whole(place) and (place / "root").is_dir()


def _digest_of(image: str) -> str:
    return parse(image).digest.removeprefix("sha256:")


def _read_failure(said: str) -> ImageError:
    try:
        failure = json.loads(said.splitlines()[-1])
        return ImageError(failure["message"], failure["kind"])
    except (ValueError, LookupError, TypeError):
        return ImageError(f"the worker that gets images failed: {said[-500:]}")
