"""A trash for unused entries: moved there after a day of disuse, removed after a week in it.

    <directory>/unused/<name>        how long <name> has been unused
    <directory>/trash/<name>         the entry in the trash; trash/since/<name> says for how long

One mechanism for all that is kept in a data directory and an images directory. Several servers may share one. Time counts while
a server checks: a clock jump, or a server that was off, ages nothing by more than `STEP_S` at a time.
"""

import contextlib
import logging
import math
import os
import uuid
from pathlib import Path

from hanabi.base.clock import Clock, SystemClock
from hanabi.base.files import make_private_directory, remove_tree

UNUSED_S = 86_400.0
TRASH_S = 7 * 86_400.0
STEP_S = 6 * 3600.0
_REMOVING = "doomed-"
_SINCE = "since"
log = logging.getLogger(__name__)


class Trash:
    """The trash of a directory's entries, each a file or a tree. Blocks; the caller holds the entry's lock, if it has one."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self._trash = directory / "trash"
        self._unused = _Ages(directory / "unused", clock or SystemClock())
        self._since = _Ages(self._trash / _SINCE, clock or SystemClock())

    def mark_used(self, name: str) -> None:
        """Note that an entry is in use."""
        self._unused.forget(name)

    def is_due(self, name: str) -> bool:
        """Note that an entry is unused; returns whether it has been for long enough."""
        return self._unused.grow(name) >= UNUSED_S

    def discard(self, path: Path) -> None:
        """Move an entry to the trash, by a rename."""
        target = self._trash / path.name
        make_private_directory(self._trash)
        self._rename_away(target)
        path.rename(target)
        self._unused.forget(path.name)
        self._since.forget(path.name)
        self._since.grow(path.name)
        log.info("%s was long unused, and is in the trash", path)

    def recover(self, path: Path) -> bool:
        """Bring an entry back from the trash; False when it is not there."""
        try:
            (self._trash / path.name).rename(path)
        except FileNotFoundError:
            return False
        self._since.forget(path.name)
        self._unused.forget(path.name)
        log.info("%s is needed again, and was brought back from the trash", path)
        return True

    def empty(self) -> None:
        """Remove entries that have been in the trash for long. A full disk does not shorten that."""
        for name in os.listdir(self._trash) if self._trash.is_dir() else ():
            if name == _SINCE:
                continue
            try:
                if name.startswith(_REMOVING):
                    _remove(self._trash / name)
                elif self._since.grow(name) >= TRASH_S:
                    self._since.forget(name)
                    self._rename_away(self._trash / name)
            except OSError as error:  # another user's, who shares the directory
                log.warning("%s cannot be removed: %s", self._trash / name, error)

    def _rename_away(self, path: Path) -> None:
        """Rename an entry before removing it, so that a partial one never has its name."""
        obsolete = path.with_name(f"{_REMOVING}{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):
            path.rename(obsolete)
            _remove(obsolete)


class _Ages:
    """Ages by name, a file each: seconds counted, and the time of the last count. Written in place, so that a full disk does not matter."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    def grow(self, name: str) -> float:
        now = self._clock.time()
        make_private_directory(self._directory)
        file = os.open(self._directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                counted, last = map(float, os.pread(file, 80, 0).split())
                if not (math.isfinite(counted) and math.isfinite(last)):
                    raise ValueError("no numbers of seconds")
            except ValueError:  # new, or damaged
                counted, last = 0.0, now
            counted += min(max(now - last, 0.0), STEP_S)
            with contextlib.suppress(OSError):
                os.pwrite(file, b"%020.3f %020.3f\n" % (counted, now), 0)
        finally:
            os.close(file)
        return counted

    def forget(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._directory / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
