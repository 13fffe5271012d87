"""Where container images lie in the images directory, and who needs them.

    containers/<hex>-r<revision>/               root/ and about.json; <hex> is the digest of the image's manifest
    containers/refs/<hex>/<owner>               a data directory whose functions use it: the file says which
    names/<NAME>.json                           what `hanabi images add` was told
    blobs/                                      layers and documents as they were downloaded

Several servers may share the directory: an image is removed when no name and no living data directory needs it any more.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.errors import ImageError
from hanabi.images.oci.blobs import Blobs
from hanabi.images.places import is_whole, make_open_directory, read_about, remove_tree

REVISION = 1  # raise it when `unpack` makes something else from the same image
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_DIRECTORIES = {"": 0o755, "building": 0o711, "containers": 0o711, "containers/refs": 0o700, "locks": 0o711, "names": 0o700}
_PLACE = re.compile(r"([0-9a-f]{64})-r\d+")


@dataclass(frozen=True, slots=True)
class Named:
    """An image that was added under a name."""

    name: str
    image: str  # pinned
    digest: str  # of the manifest, hexadecimal


@dataclass(frozen=True, slots=True)
class Kept:
    """An image that is unpacked."""

    digest: str
    image: str  # pinned, as it was first asked for
    size: int  # bytes on disk
    path: str


def prepare(directory: Path) -> None:
    """Make the directories. Sandboxes have users of their own, which must get to a root; whoever knows no digest must not.

    So nobody but the owner may list what tells one. Runtime roots are no secret, and stay as they are.
    """
    for name, mode in _DIRECTORIES.items():
        make_open_directory(directory / name)
        with contextlib.suppress(PermissionError):  # another user's, who shares it
            (directory / name).chmod(mode)


def container_place(directory: Path, digest: str) -> Path:
    return directory / "containers" / f"{digest}-r{REVISION}"


@contextmanager
def lock_of(directory: Path, digest: str, *, wait: bool) -> Iterator[bool]:
    """Hold an image's lock; False when another process holds it and there is to be no waiting."""
    with _flock(directory / "locks" / container_place(directory, digest).name, fcntl.LOCK_EX, wait) as held:
        yield held


@contextmanager
def using_blobs(directory: Path) -> Iterator[None]:
    """No blob is removed meanwhile."""
    with _flock(directory / "locks" / "blobs", fcntl.LOCK_SH, True):
        yield


@contextmanager
def _flock(path: Path, how: int, wait: bool) -> Iterator[bool]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(file, how if wait else how | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


# --- who needs an image -------------------------------------------------------------------------------------------------


def refer(directory: Path, digest: str, owner: Path) -> None:
    """Note that an owner needs an image. `owner` is a file that is there as long as the owner is. Under the image's lock."""
    ref = _ref(directory, digest, owner)
    if not ref.exists():
        make_open_directory(ref.parent)
        _write(ref, str(owner))


def release(directory: Path, owner: Path, used: Set[str]) -> None:
    """An owner needs nothing but `used` any more."""
    for refs in (directory / "containers" / "refs").iterdir():
        if refs.name not in used:
            _ref(directory, refs.name, owner).unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Remove the images that nobody needs, then the blobs that belong to none. What is being made now is left alone."""
    named = {each.digest for each in read_names(directory)}
    for place in list((directory / "containers").iterdir()):
        if (match := _PLACE.fullmatch(place.name)) and match[1] not in named:
            _sweep_one(directory, place, match[1])
    with _flock(directory / "locks" / "blobs", fcntl.LOCK_EX, False) as alone:
        if alone:
            used = {hex for place in _whole(directory) for hex in read_about(place)["blobs"]}
            Blobs(directory).collect(used)


def _sweep_one(directory: Path, place: Path, digest: str) -> None:
    with lock_of(directory, digest, wait=False) as held:
        if not held or _is_needed(directory, digest) or not place.exists():
            return
        doomed = directory / "building" / f"removed-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        place.rename(doomed)  # gone at once: half a root is never found
        with contextlib.suppress(OSError):
            (directory / "containers" / "refs" / digest).rmdir()
    remove_tree(doomed)


def _is_needed(directory: Path, digest: str) -> bool:
    if any(each.digest == digest for each in read_names(directory)):
        return True
    refs = directory / "containers" / "refs" / digest
    for ref in list(refs.iterdir()) if refs.is_dir() else ():
        with contextlib.suppress(OSError):
            if Path(ref.read_text()).exists():
                return True
            ref.unlink()
    return False


def _ref(directory: Path, digest: str, owner: Path) -> Path:
    return directory / "containers" / "refs" / digest / hashlib.sha256(os.fsencode(owner)).hexdigest()[:16]


# --- names --------------------------------------------------------------------------------------------------------------


def read_names(directory: Path) -> list[Named]:
    """In their order."""
    found = [read_name(directory, path.stem) for path in sorted((directory / "names").glob("*.json"))]
    return [each for each in found if each is not None]


def read_name(directory: Path, name: str) -> Named | None:
    if not NAME.fullmatch(name):
        return None
    try:
        about = json.loads((directory / "names" / f"{name}.json").read_text())
        return Named(name, about["image"], about["digest"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ImageError(f"the name {name} cannot be read: {error}") from None


def write_name(directory: Path, named: Named) -> None:
    _write(directory / "names" / f"{named.name}.json", json.dumps({"image": named.image, "digest": named.digest}))


def remove_name(directory: Path, name: str) -> bool:
    """False when there was none."""
    if not NAME.fullmatch(name):
        return False
    try:
        (directory / "names" / f"{name}.json").unlink()
    except FileNotFoundError:
        return False
    return True


# --- looking ------------------------------------------------------------------------------------------------------------


def list_kept(directory: Path) -> list[Kept]:
    kept = []
    for place in _whole(directory):
        about = read_about(place)
        kept.append(Kept(about["digest"], about["image"], about["size"], str(place)))
    return kept


def _whole(directory: Path) -> list[Path]:
    places = directory / "containers"
    return sorted(place for place in (places.iterdir() if places.is_dir() else ()) if _PLACE.fullmatch(place.name) and is_whole(place))


def about_of(place: Path) -> dict[str, Any]:
    try:
        return read_about(place)
    except (OSError, ValueError) as error:
        raise ImageError(f"{place} cannot be read: {error}") from None


def _write(path: Path, text: str) -> None:
    incoming = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    with incoming.open("x") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    incoming.rename(path)
