"""Earlier places of a run directory: a killed server's leftovers on the host are named after the place, and must be removed.

Each place has a lock on this host, held while a driver runs there, even if its directory is moved: a copy of a directory whose
driver still runs finds the lock held, and removes nothing of that driver's.
"""

import errno
import hashlib
import json
import logging
import os
import time
from pathlib import Path

from hanabi.base.files import write_whole
from hanabi.base.locks import is_at, try_acquire, try_lock

PLACES = 16  # remembered
FILE = "places"
GROUPS = "cgroup"
_TIMEOUT_S = 5.0  # a driver that was killed may be about to let it go
log = logging.getLogger(__name__)


def tag_of(run_dir: Path) -> str:
    """The tag in the names of a run directory's cgroups, interfaces and nftables table on this host."""
    return hashlib.sha256(os.fsencode(os.path.abspath(run_dir))).hexdigest()[:6]


class RunDirLock:
    """The lock of a place, by its tag: a file in `locks` that is removed on release."""

    def __init__(self, locks: Path, tag: str, *, wait: bool) -> None:
        """Raises `BlockingIOError` when another driver has it."""
        locks.mkdir(parents=True, exist_ok=True)
        self._path = locks / f"run-{tag}.lock"
        give_up = time.monotonic() + (_TIMEOUT_S if wait else 0.0)
        while True:
            file = try_lock(self._path)
            if file is not None and is_at(file, self._path):
                self._file = file
                return
            if file is not None:
                os.close(file)  # its holder has removed it meanwhile
            elif time.monotonic() >= give_up:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), os.fspath(self._path))
            else:
                time.sleep(0.02)

    def close(self) -> None:
        if self._file >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1


def is_used(run_dir: Path, own: int) -> bool:
    """Whether a driver uses the directory at that place, of an older version without place locks, too. `own`: our own directory's lock."""
    try:
        lock = os.open(run_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if os.path.samestat(os.fstat(lock), os.fstat(own)):  # another spelling of where we are
            return False
        return not try_acquire(lock)
    finally:
        os.close(lock)


def places(run_dir: Path) -> list[Path]:
    """List other places where this directory, or its original, was used and not cleaned. A damaged file counts as empty."""
    try:
        known = json.loads((run_dir / FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(known, list):
        return []
    found = [Path(each) for each in known[-PLACES:] if isinstance(each, str) and _is_name(each)]
    return [each for each in dict.fromkeys(found) if each.is_absolute() and len(each.parts) > 1 and each != run_dir]


def groups_in(run_dir: Path) -> str:
    """The earlier run's `cgroup.CgroupTree.place`; a damaged file counts as the current one."""
    try:
        text = (run_dir / GROUPS).read_text()
    except (OSError, ValueError):
        return ""
    return text if _is_name(text) else ""


def _is_name(text: str) -> bool:
    """Whether a string is a valid file name."""
    try:
        return b"\0" not in os.fsencode(text)
    except ValueError:
        return False


def note(run_dir: Path, others: list[Path]) -> None:
    """Note that this directory is used here, and that `others` are not clean yet."""
    text = json.dumps([os.fspath(each) for each in (*others, run_dir)][-PLACES:])
    path = run_dir / FILE
    try:
        if not path.exists() or path.read_text(errors="replace") != text:
            write_whole(path, text)
    except OSError as error:  # a full disk: no reason not to run
        log.warning("%s cannot be written: were %s moved after a crash, its next start could not clean up: %s", path, run_dir, error)
