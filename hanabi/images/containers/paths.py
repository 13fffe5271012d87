"""Paths of container images in the images directory, and the references to them.

    containers/<hex>-r<revision>/               root/ and about.json; <hex> is the digest of the image's manifest
    containers/refs/<hex>/<owner>               a data directory whose functions use it: by its id, and where it was last seen, from here
    names/<NAME>.json                           what `hanabi images add` was told
    runtimes/<RUNTIME>.json                     the image that a runtime is, as it was first pulled: the same form as a name
    blobs/                                      layers and documents as they were downloaded

Several servers may share the directory: an image goes to the trash when no name and no data directory has needed it for long. A data
directory that has disappeared may have been moved: what it needs is kept for `ABSENT_S`.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.base.files import make_open_directory, write_whole
from hanabi.base.locks import hold
from hanabi.errors import ImageError
from hanabi.images.containers.blobs import Blobs
from hanabi.images.identity import ImageOwner, is_alive
from hanabi.images.paths import is_whole, read_about
from hanabi.images.trash import Trash

REVISION = 1  # raise it when `unpack` makes something else from the same image
ABSENT_S = 30 * 86_400.0
REFRESH_S = 3600.0  # how often an owner that needs an image says so again
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

log = logging.getLogger(__name__)
NAMES, RUNTIMES = "names", "runtimes"  # directories of names
_DIRECTORIES = {
    "": 0o755, "building": 0o711, "containers": 0o711, "containers/refs": 0o700, "locks": 0o711, NAMES: 0o700, RUNTIMES: 0o700,
}  # fmt: skip
_PLACE = re.compile(r"([0-9a-f]{64})-r\d+")


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image that was added under a name."""

    name: str
    image: str  # pinned
    digest: str  # of the manifest, hexadecimal


@dataclass(frozen=True, slots=True)
class UnpackedImage:
    """An image that is unpacked."""

    digest: str
    image: str  # pinned, as it was first asked for
    size: int  # bytes on disk
    path: str


def prepare(directory: Path) -> None:
    """Make the directories. Sandbox users must reach the roots, but only by a known digest.

    So only the owner may list directories that show digests. Runtime roots are no secret, and stay as they are.
    """
    for name, mode in _DIRECTORIES.items():
        make_open_directory(directory / name)
        with contextlib.suppress(PermissionError):  # another user's, who shares it
            (directory / name).chmod(mode)


def container_path(directory: Path, digest: str) -> Path:
    return directory / "containers" / f"{digest}-r{REVISION}"


@contextmanager
def lock_of(directory: Path, digest: str, *, wait: bool) -> Iterator[bool]:
    """Hold an image's lock; False when another process holds it and there is to be no waiting."""
    with hold(directory / "locks" / container_path(directory, digest).name, wait=wait, mode=0o644) as held:
        yield held


@contextmanager
def using_blobs(directory: Path) -> Iterator[None]:
    """Keep blobs from being removed during the block."""
    with hold(directory / "locks" / "blobs", shared=True, mode=0o644):
        yield


# --- references ---------------------------------------------------------------------------------------------------------


def refer(directory: Path, digest: str, owner: ImageOwner, now: float) -> None:
    """Note that an owner needs an image, at a Unix time. Under the image's lock when it was not needed before."""
    refs = directory / "containers" / "refs" / digest
    ref, at = refs / owner.id, os.path.relpath(owner.directory, directory)
    known = _read_ref(ref)
    if known is None or known["at"] != at or abs(now - known["seen"]) > REFRESH_S:
        make_open_directory(refs)
        write_whole(ref, json.dumps({"at": at, "seen": now}))


def release(directory: Path, owner: ImageOwner, used: Set[str]) -> None:
    """Drop an owner's references to all images but `used`."""
    once = hashlib.sha256(os.fsencode(owner.directory / "state.db")).hexdigest()[:16]  # what refs of this owner were called
    for refs in (directory / "containers" / "refs").iterdir():
        (refs / once).unlink(missing_ok=True)
        if refs.name not in used:
            (refs / owner.id).unlink(missing_ok=True)


def sweep(directory: Path, trash: Trash, now: float, at_once: Set[str] = frozenset()) -> None:
    """Move to the trash images and blobs that have long been unused; those in `at_once` without the delay.

    Images that are being made now are skipped.
    """
    for place in list((directory / "containers").iterdir()):
        if match := _PLACE.fullmatch(place.name):
            _sweep_one(directory, place, match[1], trash, now, match[1] in at_once)
    with hold(directory / "locks" / "blobs", wait=False, mode=0o644) as alone:
        if alone:
            try:
                used = {hex for place in _whole(directory) for hex in read_about(place, blobs=list)["blobs"]}
            except ImageError as error:
                log.warning("no blobs are collected: %s", error)
            else:
                Blobs(directory).collect(used, trash)
    trash.empty()


def _sweep_one(directory: Path, place: Path, digest: str, trash: Trash, now: float, at_once: bool) -> None:
    with lock_of(directory, digest, wait=False) as held:
        if not held or not place.exists():
            return
        if _is_needed(directory, digest, now):
            trash.mark_used(place.name)
        elif trash.is_due(place.name) or at_once:
            trash.discard(place)
            with contextlib.suppress(OSError):
                (directory / "containers" / "refs" / digest).rmdir()


def _is_needed(directory: Path, digest: str, now: float) -> bool:
    if any(each.digest == digest for kind in (NAMES, RUNTIMES) for each in read_names(directory, kind)):
        return True
    refs = directory / "containers" / "refs" / digest
    for ref in list(refs.iterdir()) if refs.is_dir() else ():
        try:
            known = _read_ref(ref)
        except OSError:
            return True  # another user's, who shares the directory
        if known is not None and (now - known["seen"] < ABSENT_S or is_alive(ref.name, directory / known["at"])):
            return True
        ref.unlink(missing_ok=True)
    return False


def _read_ref(ref: Path) -> dict[str, Any] | None:
    """Read a reference: where and when its owner was seen last; None when absent. An old format had only a path."""
    try:
        text, changed = ref.read_text(errors="replace"), ref.stat().st_mtime
    except FileNotFoundError:
        return None
    try:
        known = json.loads(text)
        return {"at": str(known["at"]), "seen": float(known["seen"])}
    except (ValueError, LookupError, TypeError):
        return {"at": text, "seen": time.time() if text.startswith("/") and Path(text).exists() else changed}


# --- names --------------------------------------------------------------------------------------------------------------


def read_names(directory: Path, kind: str = NAMES) -> list[NamedImage]:
    """Read all names, sorted."""
    found = [read_name(directory, path.name.removesuffix(".json"), kind) for path in sorted((directory / kind).glob("*.json"))]
    return [each for each in found if each is not None]


def read_name(directory: Path, name: str, kind: str = NAMES) -> NamedImage | None:
    if not NAME.fullmatch(name):
        return None
    path = directory / kind / f"{name}.json"
    try:
        about = json.loads(path.read_text())
        return NamedImage(name, about["image"], about["digest"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        again = "add the name again (hanabi images add)" if kind == NAMES else "the runtime is pulled again"
        raise ImageError(f"{path} is damaged ({error}): remove it, and {again}") from None


def write_name(directory: Path, named: NamedImage, kind: str = NAMES) -> None:
    write_whole(directory / kind / f"{named.name}.json", json.dumps({"image": named.image, "digest": named.digest}))


def remove_name(directory: Path, name: str, kind: str = NAMES) -> bool:
    """Remove a name; False when there was none."""
    if not NAME.fullmatch(name):
        return False
    try:
        (directory / kind / f"{name}.json").unlink()
    except FileNotFoundError:
        return False
    return True


# --- looking ------------------------------------------------------------------------------------------------------------


def list_kept(directory: Path) -> list[UnpackedImage]:
    kept = []
    for place in _whole(directory):
        try:
            about = read_about(place, image=str, size=int)
        except ImageError as error:
            about = {"image": str(error), "size": 0}
        kept.append(UnpackedImage(place.name.partition("-")[0], about["image"], about["size"], str(place)))
    return kept


def _whole(directory: Path) -> list[Path]:
    places = directory / "containers"
    return sorted(place for place in (places.iterdir() if places.is_dir() else ()) if _PLACE.fullmatch(place.name) and is_whole(place))


def about_of(place: Path) -> dict[str, Any]:
    return read_about(place, environment=dict, entry_point=list, command=list, working_directory=str)
