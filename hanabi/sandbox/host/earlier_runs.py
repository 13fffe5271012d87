"""Where a run directory was before it was moved: what a killed server left on the host is named after that place, and must go with it.

Each place has a lock on this host, held as long as a driver runs there, wherever its directory goes meanwhile: a copy of a directory whose
driver still runs finds it held, and leaves alone what is not its own.
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
_TIMEOUT_S = 5.0  # somebody else may be cleaning this place just now
log = logging.getLogger(__name__)


def tag_of(run_dir: Path) -> str:
    """What names everything of a run directory on this host: cgroups, interfaces, the nftables table."""
    return hashlib.sha256(os.fsencode(os.path.abspath(run_dir))).hexdigest()[:6]


class RunDirLock:
    """The lock of a place. A file in `locks` that goes when it is given back."""

    def __init__(self, locks: Path, run_dir: Path, *, wait: bool) -> None:
        """Raises `BlockingIOError` when another driver has it."""
        locks.mkdir(parents=True, exist_ok=True)
        self._path = locks / f"run-{tag_of(run_dir)}.lock"
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
    """Whether a driver has the directory at that place: also one of a version that made no claims. `own`: the lock of the one we are in."""
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
    """Where this directory, or what it is a copy of, was used and not left clean: other places than this one. Damage: none is known."""
    try:
        known = json.loads((run_dir / FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(known, list):
        return []
    found = [Path(each) for each in known[-PLACES:] if isinstance(each, str) and _is_name(each)]
    return [each for each in dict.fromkeys(found) if each.is_absolute() and len(each.parts) > 1 and each != run_dir]


def groups_in(run_dir: Path) -> str:
    """See `cgroup.CgroupTree.place`; damage: as now."""
    try:
        text = (run_dir / GROUPS).read_text()
    except (OSError, ValueError):
        return ""
    return text if _is_name(text) else ""


def _is_name(text: str) -> bool:
    """Whether a file may be called that."""
    try:
        return b"\0" not in os.fsencode(text)
    except ValueError:
        return False


def note(run_dir: Path, others: list[Path]) -> None:
    """This directory is used here; what is at `others` is not clean yet."""
    text = json.dumps([os.fspath(each) for each in (*others, run_dir)][-PLACES:])
    path = run_dir / FILE
    try:
        if not path.exists() or path.read_text(errors="replace") != text:
            write_whole(path, text)
    except OSError as error:  # a full disk: no reason not to run
        log.warning("%s cannot be written: were %s moved after a crash, its next start could not clean up: %s", path, run_dir, error)
