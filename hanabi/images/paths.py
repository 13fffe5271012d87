"""Paths in the images directory, and how entries are published and removed.

    roots/<recipe>-<digest>/            root/ and about.json
    bootstrap/<language>...-<digest>/   becomes /var/runtime
    agent/hanabi-init-<digest>
    building/, locks/, unused/, trash/

Several servers may share it: an entry appears by a rename, under a name with a digest of its inputs, and never changes.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

from hanabi.errors import ImageError
from hanabi.images.runtimes.recipes import digest_recipe

ABOUT = "about.json"


def root_path(directory: Path, recipe: str) -> Path:
    return directory / "roots" / f"{recipe}-{digest_recipe(recipe)[:16]}"


def is_whole(place: Path) -> bool:
    return (place / ABOUT).is_file()


def describe(place: Path, **facts: Any) -> None:
    (place / ABOUT).write_text(json.dumps(facts) + "\n")


def read_about(place: Path, **needed: type) -> dict[str, Any]:
    """Read an entry's about.json, with fields of these types. Raises `ImageError` with the fix when it cannot be read."""
    path = place / ABOUT
    try:
        about = json.loads(path.read_bytes())
        if not isinstance(about, dict):
            raise ValueError("no JSON object")
        for name, kind in needed.items():
            if type(about.get(name)) is not kind:
                raise ValueError(f"no {name}")
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(f"{path} is damaged ({error}): remove {place}, and it is made again when it is needed", "invalid") from None
    return about


def make_readable(thing: Path, top: Path) -> None:
    """Make a file or a tree world-readable again, after a copy under a narrow umask.

    Also the directories between it and `top`, which is above it.
    """
    if thing.stat().st_mode & 0o444 != 0o444:
        for directory, _, files in os.walk(thing, topdown=False):  # the top comes last: it says that all is done
            for name in files:
                _open_file(os.path.join(directory, name))
            os.chmod(directory, os.lstat(directory).st_mode & 0o7777 | 0o555)
        _open_file(thing)
    for parent in thing.parents[: len(thing.parts) - len(top.parts)]:
        if (mode := parent.stat().st_mode) & 0o011 != 0o011:
            parent.chmod(mode & 0o7777 | 0o011)


def _open_file(path: str | Path) -> None:
    mode = os.lstat(path).st_mode
    if stat.S_ISREG(mode):
        os.chmod(path, mode & 0o7777 | (0o555 if mode & 0o100 else 0o444))


def measure(tree: Path) -> int:
    """The size on disk, bytes."""
    return sum(os.lstat(os.path.join(directory, name)).st_blocks * 512 for directory, _, files in os.walk(tree) for name in files)
