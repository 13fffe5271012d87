"""Runtime roots at rest: built once, named by what they are made of, shared by every environment and every node on this host.

`<directory>/roots/<runtime>-<digest>/root` is complete when it is there: it was renamed into place. Two processes that want the same
root wait for each other on a lock file.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from hanabi.contracts import RuntimeImage
from hanabi.errors import ImageError
from hanabi.images.bootstraps import install_bootstrap
from hanabi.images.builder import LOCKS, Builder
from hanabi.images.catalog import COMMON_ENVIRONMENT, COMMON_PACKAGES, RECIPES, Recipe, how_to_get

FORMAT = 2  # of what the builder makes: a change here makes every root anew
BUILDING = "building-"


@dataclass(frozen=True, slots=True)
class Listing:
    """One row of `hanabi images`."""

    runtime: str
    digest: str
    built: bool
    size: int | None  # bytes
    path: str | None


class Images:
    """Runtime images by name. `ensure` builds what is missing."""

    def __init__(self, directory: Path, guest: Path) -> None:
        self._roots = directory / "roots"
        self._bootstraps = directory / "bootstrap"
        self._guest = guest
        self._ready: dict[str, RuntimeImage] = {}
        self._building: dict[str, asyncio.Task[RuntimeImage]] = {}

    def known(self, runtime: str) -> bool:
        """Whether there is a recipe for it."""
        return runtime in RECIPES

    async def ensure(self, runtime: str, progress: Callable[[str], None] | None = None) -> RuntimeImage:
        """The image of a runtime, built now if need be; callers at the same time share one build. Raises `ImageError`."""
        if runtime in self._ready:
            return self._ready[runtime]
        if runtime not in RECIPES:
            raise ImageError(f"There is no runtime root for {runtime}: {how_to_get(runtime)}")
        task = self._building.get(runtime)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._make(RECIPES[runtime], progress or (lambda _: None)))
            self._building[runtime] = task
            task.add_done_callback(lambda _: self._building.pop(runtime, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Cancel what is being built."""
        for task in list(self._building.values()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ImageError):
                await task

    async def _make(self, recipe: Recipe, progress: Callable[[str], None]) -> RuntimeImage:
        digest = recipe_digest(recipe)
        final = self._roots / f"{recipe.runtime}-{digest[:16]}"
        if not (final / "root").is_dir():
            building = self._roots / f"{BUILDING}{recipe.runtime}-{uuid.uuid4().hex}"
            builder = Builder(recipe, building, progress)
            work = asyncio.get_running_loop().run_in_executor(None, self._build, recipe, builder, building, final)
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                builder.cancel()
                await asyncio.wait([work])
                raise
        image = await asyncio.to_thread(self._assemble, recipe, digest, final / "root")
        self._ready[recipe.runtime] = image
        return image

    def _build(self, recipe: Recipe, builder: Builder, building: Path, final: Path) -> None:
        self._roots.mkdir(parents=True, exist_ok=True, mode=0o755)
        with _locked(self._roots / f".{recipe.runtime}.lock"):
            if (final / "root").is_dir():
                return
            for left in self._roots.glob(f"{BUILDING}{recipe.runtime}-*"):
                shutil.rmtree(left, ignore_errors=True)
            try:
                building.mkdir(mode=0o755)
                builder.build()
                building.rename(final)
            except OSError as error:
                raise ImageError(f"The root of {recipe.runtime} could not be built: {error}") from error
            finally:
                shutil.rmtree(building, ignore_errors=True)

    def _assemble(self, recipe: Recipe, digest: str, root: Path) -> RuntimeImage:
        bootstrap = install_bootstrap(self._guest, self._bootstraps, recipe, root)
        identity = hashlib.sha256(f"{digest}/{bootstrap.name}".encode()).hexdigest()
        return RuntimeImage(
            runtime=recipe.runtime,
            digest=identity,
            root=root,
            runtime_dir=bootstrap,
            command=recipe.command,
            environment={**COMMON_ENVIRONMENT, **recipe.environment},
            version_arn=f"arn:aws:lambda:us-east-1::runtime:{identity}",
        )

    def list(self) -> list[Listing]:
        """Every known runtime, built or not. Walks the roots that are there: for a person, not for the loop."""
        return [self._list_one(recipe) for recipe in RECIPES.values()]

    def _list_one(self, recipe: Recipe) -> Listing:
        digest = recipe_digest(recipe)[:16]
        path = self._roots / f"{recipe.runtime}-{digest}"
        built = (path / "root").is_dir()
        return Listing(recipe.runtime, digest, built, _size(path) if built else None, str(path) if built else None)

    def remove(self, runtime: str) -> bool:
        """Remove every root of a runtime; False when there was none. No running node may use it."""
        found = False
        for path in self._roots.glob(f"{runtime}-*"):
            shutil.rmtree(path, ignore_errors=True)
            found = True
        return found


def recipe_digest(recipe: Recipe) -> str:
    """What a root is made of, as a hash: the recipe and the lock files it installs from."""
    digest = hashlib.sha256(repr((FORMAT, COMMON_PACKAGES, sorted(asdict(recipe).items(), key=str))).encode())
    locks = {"python": ["boto3.txt"], "node": [f"node-{recipe.version}.txt", "node/package-lock.json"]}
    for name in locks.get(recipe.language, []):
        digest.update((LOCKS / name).read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    return sum(os.lstat(os.path.join(directory, name)).st_blocks * 512 for directory, _, files in os.walk(path) for name in files)
