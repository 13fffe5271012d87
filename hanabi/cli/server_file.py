"""`server.json` in a data directory: the address of the running server. Written by `hanabi up`, read by every command."""

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hanabi.base.files import write_whole
from hanabi.node.config import SYSTEM_DATA_DIR, default_data_dir

NAME = "server.json"
_START_FIELD = 19  # of /proc/<pid>/stat after the name: when it started, in ticks since the boot


@contextmanager
def announced(data_dir: Path) -> Iterator["Announcement"]:
    """Context: remove an earlier server's file at once, and this one's at the end."""
    path = data_dir / NAME
    path.unlink(missing_ok=True)
    try:
        yield Announcement(path)
    finally:
        path.unlink(missing_ok=True)


class Announcement:
    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, port: int) -> None:
        """Write the file, readable by all: the address is no secret."""
        pid = os.getpid()
        write_whole(self._path, json.dumps({"port": port, "pid": pid, "started": _started(pid)}), mode=0o644, sync=False)


def running_port(data_dir: Path) -> int | None:
    """Return the port of this data directory's server; None when none runs or it is unknown."""
    try:
        said = json.loads((data_dir / NAME).read_bytes()[:4096])
        port, pid, started = (said[key] for key in ("port", "pid", "started"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not all(type(each) is int for each in (port, pid, started)) or not 0 < port < 65_536 or pid <= 0 or started <= 0:
        return None
    return port if _started(pid) == started else None


def data_dir_of(options: argparse.Namespace) -> Path:
    """Return the given data directory; else the user's own; else, for a user who ran `sudo hanabi up`, the system's."""
    given = getattr(options, "data_dir", None) or os.environ.get("HANABI_DATA_DIR")
    if given:
        return Path(given).expanduser()
    own = default_data_dir()
    return SYSTEM_DATA_DIR if not (own / "keys.json").exists() and os.access(SYSTEM_DATA_DIR / "keys.json", os.R_OK) else own


def _started(pid: int) -> int:
    """Return a process's start time, which tells it from a later one with the same pid; 0 when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[_START_FIELD])
    except (OSError, ValueError, IndexError):
        return 0
