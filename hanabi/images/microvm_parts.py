"""Parts of microVMs besides runtime roots: listing, building and removing guest kernels and Firecracker."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hanabi.base.files import remove_at_once
from hanabi.errors import ImageError
from hanabi.images.builders.download import digest_file
from hanabi.images.builders.worker import run_builder
from hanabi.images.firecracker import binaries
from hanabi.images.kernels import paths
from hanabi.images.paths import read_about

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PartListing:
    """One row of `hanabi images`."""

    part: str  # "kernel", "firecracker" or "snapshot"
    name: str
    digest: str
    size: int  # bytes
    path: str
    used: bool


@dataclass(frozen=True, slots=True)
class PartCheck:
    """Whether a part is present. `detail` describes it, or says why it is absent; `fix` what to do."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


class MicroVmParts:
    """The parts in one images directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def build_kernel(self, way: str, file: Path | None, progress: Progress) -> Path:
        """Make a kernel (`way`: own, cloud, or a file) unless it is there, and use it from now on. Gives its place; raises `ImageError`."""
        arguments = ("file", file) if file else (way,)
        await run_builder("hanabi.images.kernels.builder", (self._directory, *arguments), "the guest kernel", progress)
        place = paths.chosen_path(self._directory)
        if place is None:
            raise ImageError("the guest kernel was removed meanwhile")
        return place

    async def build_firecracker(self, version: str, sha256: str, mirror: str, progress: Progress) -> Path:
        """Fetch a release unless it is there (empty: what is pinned, the official place). Gives its place; raises `ImageError`."""
        arguments = (self._directory, version, sha256, mirror)
        await run_builder("hanabi.images.firecracker.release", arguments, "Firecracker", progress)
        return binaries.list_fetched(self._directory)[0]

    def list(self) -> list[PartListing]:
        """List existing parts, kernels first."""
        kernels = paths.list_kernels(self._directory)
        rows = [PartListing("kernel", f"{row.name} {row.version}", row.digest, row.size, row.path, row.chosen) for row in kernels]
        fetched = binaries.list_fetched(self._directory)
        for place in fetched:
            version, _, digest = place.name.partition("-")
            size = sum((place / name).stat().st_size for name in binaries.NAMES)
            rows.append(PartListing("firecracker", version, digest, size, str(place), place == fetched[0]))
        if not fetched and (pair := binaries.find_on_path()):
            size = sum(path.stat().st_size for path in pair)
            rows.append(PartListing("firecracker", "on PATH", digest_file(pair[0])[:16], size, str(pair[0]), True))
        return [*rows, *map(_snapshot, _snapshots(self._directory))]

    def remove(self, part: str) -> bool:
        """Remove every kernel, every Firecracker or all snapshots; False when there was none. No running node may use them."""
        if part == "kernel":
            return paths.remove_kernels(self._directory)
        found = _snapshots(self._directory) if part == "snapshots" else binaries.list_fetched(self._directory)
        for place in found:
            remove_at_once(place, self._directory / "building")
        return bool(found)

    def inspect(self, firecracker: Path | None, jailer: Path | None, kernel: Path | None) -> Iterator[PartCheck]:
        """Check the parts for `hanabi doctor`; the arguments are paths given by the user. Blocks."""
        try:
            pair = binaries.find_firecracker(self._directory, firecracker=firecracker, jailer=jailer)
        except (ImageError, OSError) as error:
            problem, _, fix = str(error).partition(": ")
            for name in binaries.NAMES:
                yield PartCheck(name, False, problem, fix or binaries.HOW)
        else:
            version = binaries.text(pair.version)
            faults = [f"known fault: {bug}" for bug in binaries.known_bugs(pair.version)]
            yield PartCheck("firecracker", True, "\n".join([f"{version}, {pair.firecracker}", *faults]))
            yield PartCheck("jailer", True, f"{version}, {pair.jailer}")
        try:
            yield PartCheck("guest kernel", True, paths.describe_kernel(self._directory, kernel))
        except (ImageError, OSError) as error:
            problem, _, fix = str(error).partition(": ")
            yield PartCheck("guest kernel", False, problem, fix or paths.HOW)


def _snapshots(directory: Path) -> list[Path]:
    """List template snapshots: the node makes them at first use, and again when an input changes."""
    return sorted(place for place in (directory / "snapshots").glob("*") if (place / "memory").is_file())


def _snapshot(place: Path) -> PartListing:
    try:
        about = read_about(place, runtime=str, memory_mb=int)
        name = f"{about['runtime']} {about['memory_mb']} MB"
    except ImageError:
        name = "unknown"
    size = sum(file.stat().st_blocks * 512 for file in place.iterdir())
    return PartListing("snapshot", name, place.name, size, str(place), True)
