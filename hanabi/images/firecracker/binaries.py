"""Finding the Firecracker and jailer to use (given, fetched or on PATH), their version, and its known bugs."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hanabi.contracts.images import Firecracker
from hanabi.errors import ImageError
from hanabi.images.builders.download import digest_file
from hanabi.images.builders.programs import SEARCHED
from hanabi.images.paths import is_whole, read_about

Version = tuple[int, int, int]
OLDEST: Version = (1, 10, 0)
NAMES = ("firecracker", "jailer")
HOW = "hanabi images build firecracker"
ASK_S = 10.0
_RELEASE = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}-")
_VERSION = re.compile(r"^(?:Firecracker|Jailer) v(\d{1,4})\.(\d{1,4})\.(\d{1,4})", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug of Firecracker that matters to Hanabi. Versions from `since` up to before `fixed` have it; None: up to the newest."""

    what: str
    since: Version
    fixed: Version | None


# From the project's CHANGELOG and tracker.
BUGS = (
    Bug("differential snapshots of more than 3 GiB of memory may be damaged", (1, 0, 0), (1, 15, 0)),
    Bug("the jailer follows links in its directory", (1, 0, 0), (1, 15, 0)),
    Bug("after a restore the monotonic clock may jump", (1, 0, 0), (1, 16, 0)),
    Bug("after a restore the serial console may stay silent", (1, 0, 0), (1, 16, 0)),
    Bug("after a restore the first vsock connections from the host may be lost", (1, 0, 0), (1, 16, 0)),
    Bug("kernels before 6.10 do not hear of a new VM generation, so that clones are not reseeded by it", (1, 0, 0), (1, 16, 0)),
    Bug("after a restore vsock connections from the guest may time out", (1, 0, 0), (1, 16, 1)),
    Bug("a pause and resume without a snapshot ends new vsock connections from the host (#6100)", (1, 0, 0), None),
)


def known_bugs(version: Version) -> list[str]:
    """The known bugs of a version, a sentence each."""
    return [bug.what for bug in BUGS if bug.since <= version and (bug.fixed is None or version < bug.fixed)]


def find_firecracker(directory: Path, *, firecracker: Path | None = None, jailer: Path | None = None) -> Firecracker:
    """The pair to use; `directory` is the images directory. Raises `ImageError` with the fix. Blocks.

    First what was given; the other of a pair of which one was given is looked for beside it. Then what was fetched, then PATH.
    """
    pair = _given(firecracker, jailer) or _fetched(directory) or find_on_path()
    if pair is None:
        raise ImageError(f"there is no firecracker and jailer on PATH: {HOW}, or name them by --firecracker and --jailer")
    versions = [ask_version(path) for path in pair]
    if versions[0] != versions[1]:
        raise ImageError(f"{pair[0]} is version {text(versions[0])} and {pair[1]} is {text(versions[1])}: they belong together")
    if versions[0] < OLDEST:
        raise ImageError(f"{pair[0]} is version {text(versions[0])}, and {text(OLDEST)} is the oldest that Hanabi works with: {HOW}")
    return Firecracker(versions[0], *pair)


def ask_version(program: Path) -> Version:
    """Ask a program for its `--version`. Raises `ImageError`."""
    try:
        done = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=ASK_S, env={})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"{program} does not run: {error}") from None
    match = _VERSION.search(done.stdout[:4096].decode(errors="replace"))
    if done.returncode or not match:
        raise ImageError(f"{program} is no Firecracker or jailer: it does not tell its version")
    return int(match[1]), int(match[2]), int(match[3])


def text(version: Version) -> str:
    return ".".join(map(str, version))


def _given(firecracker: Path | None, jailer: Path | None) -> tuple[Path, Path] | None:
    if firecracker is None and jailer is None:
        return None
    beside = (firecracker or jailer or Path()).absolute().parent
    pair = (firecracker or beside / "firecracker").absolute(), (jailer or beside / "jailer").absolute()
    for path in pair:
        if not path.is_file():
            raise ImageError(f"there is no {path}: name both by --firecracker and --jailer")
    return pair[0].resolve(), pair[1].resolve()  # as the jailer names its jails


def _fetched(directory: Path) -> tuple[Path, Path] | None:
    """The newest fetched release."""
    places = list_fetched(directory)
    if not places:
        return None
    pair = places[0] / NAMES[0], places[0] / NAMES[1]
    sums = read_about(places[0], sha256=dict)["sha256"]
    for path in pair:
        if digest_file(path) != sums.get(path.name):
            raise ImageError(f"{path} was changed or is damaged: hanabi images rm firecracker, then {HOW}")
    return pair


def list_fetched(directory: Path) -> list[Path]:
    """The directories of fetched releases, newest first."""
    found = [place for place in (directory / "firecracker").glob("*-*") if _RELEASE.match(place.name) and is_whole(place)]
    return sorted(found, key=lambda place: [int(part) for part in place.name.partition("-")[0].split(".")], reverse=True)


def find_on_path() -> tuple[Path, Path] | None:
    """Find both programs on PATH, of any version."""
    found = [shutil.which(name, path=SEARCHED) for name in NAMES]
    return (Path(found[0]), Path(found[1])) if found[0] and found[1] else None
