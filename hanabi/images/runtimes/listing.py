"""The runtimes as `hanabi images` lists them: what is here, what would be got from where, and what to do instead of the rest."""

from dataclasses import dataclass
from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.containers import paths
from hanabi.images.paths import read_about
from hanabi.images.runtimes.alternatives import alternative
from hanabi.images.runtimes.names import BLOCKED, NAMES
from hanabi.images.runtimes.recipes import RUNTIMES, digest_recipe
from hanabi.images.runtimes.roots import RuntimeImages
from hanabi.images.runtimes.sources import AUTO, AWS, DISTRIBUTION

SUBSTITUTE = "substitute"


@dataclass(frozen=True, slots=True)
class RuntimeListing:
    """One row of `hanabi images`."""

    runtime: str
    digest: str
    built: bool  # it is on this host
    size: int | None  # bytes on disk; files that it shares with other roots included
    path: str | None
    how: str  # to get it, or what to do instead; empty when it is there
    available: bool  # whether it can be got, or is there
    source: str  # AWS, DISTRIBUTION or SUBSTITUTE: where it is or would be from; empty when it is not available


def list_runtimes(images: RuntimeImages, directory: Path) -> list[RuntimeListing]:
    """List every runtime of Lambda's, those that can be had first. No registry is asked. Blocks briefly."""
    rows = [_list_one(images, directory, runtime) for runtime in NAMES]
    blocked = [RuntimeListing(runtime, "", False, None, None, alternative(runtime), False, "") for runtime in BLOCKED]
    return [*(row for row in rows if row.available), *(row for row in rows if not row.available), *blocked]


def _list_one(images: RuntimeImages, directory: Path, runtime: str) -> RuntimeListing:
    choice = images.sources.choice
    if (other := images.stand_in(runtime)) != runtime:
        row = _list_one(images, directory, other)
        how = f"functions of it run on {other}, as --runtime-substitute says{f'; {row.how}' if row.how else ''}"
        return RuntimeListing(runtime, row.digest, row.built, row.size, row.path, how, row.available, SUBSTITUTE)
    if choice in (AUTO, AWS) and (named := _pinned(images, runtime)):
        place = paths.container_path(directory, named.digest)
        return _there(runtime, named.digest[:16], place, AWS)
    digest = digest_recipe(RUNTIMES[runtime].recipe)[:16] if images.packages.has(runtime) else ""
    if choice in (AUTO, DISTRIBUTION) and digest:
        if images.packages.is_built(runtime):
            return _there(runtime, digest, images.packages.place(runtime), DISTRIBUTION)
        how = f"built at first use, or by `hanabi images build {runtime}`"
        if choice == AUTO:
            how += f"; AWS's own where that can be reached, or by `hanabi images pull {runtime}`"
        return RuntimeListing(runtime, digest, False, None, None, f"{how}{_note(runtime)}", True, DISTRIBUTION)
    address = images.base_images.address(runtime) if choice != DISTRIBUTION else ""
    if address:
        how = f"pulled at first use from {address}, or by `hanabi images pull {runtime}`; else {alternative(runtime)}"
        return RuntimeListing(runtime, "", False, None, None, how, True, AWS)
    return RuntimeListing(runtime, "", False, None, None, alternative(runtime), False, "")


def _note(runtime: str) -> str:
    note = RUNTIMES[runtime].note
    return f". {note}" if note else ""


def _pinned(images: RuntimeImages, runtime: str) -> paths.NamedImage | None:
    try:
        return images.base_images.pinned(runtime)
    except ImageError:
        return None


def _there(runtime: str, digest: str, place: Path, source: str) -> RuntimeListing:
    note = RUNTIMES[runtime].note if source == DISTRIBUTION else ""
    try:
        size = int(read_about(place, size=int)["size"])
    except ImageError as error:  # the root itself may be as good as ever
        return RuntimeListing(runtime, digest, True, None, str(place), str(error), True, source)
    return RuntimeListing(runtime, digest, True, size, str(place), note, True, source)
