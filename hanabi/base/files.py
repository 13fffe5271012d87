"""Atomic file operations: write aside, then rename; rename away, then remove. All of it blocks."""

import os
import shutil
import uuid
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, mode: int = 0o600, sync: bool = True) -> None:
    """Replace a file's content atomically: readers find the old or the new content, with `sync` also after a power cut."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, mode)  # whatever the umask
            file.write(content.encode() if isinstance(content, str) else content)
            if sync:
                file.flush()
                os.fsync(fd)
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if sync:
        sync_path(path.parent)


def sync_path(path: Path | str) -> None:
    """fsync a file, or a directory's entries. A symbolic link is refused."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_open_directory(path: Path) -> None:
    """Make a directory that every user may enter, whatever the umask."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)


def make_private_directory(path: Path) -> None:
    """Make a directory that only its owner may enter, whatever its mode was before."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)


def empty_directory(path: Path, mode: int = 0o700) -> Path:
    """Make an empty directory: what an earlier run left there is removed."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=mode, parents=True)
    return path


def remove_tree(tree: Path) -> None:
    """Remove a tree that may be absent, or hold directories that even their owner cannot write."""
    for directory, _, _ in os.walk(tree):
        os.chmod(directory, 0o700)
    if tree.exists():
        shutil.rmtree(tree)


def remove_at_once(place: Path, aside: Path) -> None:
    """Remove a tree atomically: rename it into the directory `aside` first, so that a partial tree never has its name."""
    make_open_directory(aside)
    obsolete = aside / f"removed-{os.getpid()}-{uuid.uuid4().hex}"
    place.rename(obsolete)
    remove_tree(obsolete)
