"""Rootless operation: a user namespace in which an ordinary user is root over their own ids only.

The user's own uid becomes 0 inside, the ranges of /etc/subuid and /etc/subgid become 1 and up. From then on the driver works as
root does, with three differences: the network leaves through `pasta`, /tmp is served by `fuse2fs`, cgroups must be delegated.
"""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from hanabi.base import linux
from hanabi.errors import IsolationUnavailable

LEAST = 3 * 1024  # uids; each sandbox takes three


def is_host_root() -> bool:
    """Whether this process is the host's root, not just of a user namespace made by `enter`."""
    return os.geteuid() == 0 and not entered()


def entered() -> bool:
    return _range_count > 0


def uid_count() -> int:
    """The number of uids in the namespace besides our own, from 1 on."""
    return _range_count


_range_count = 0


def enter() -> None:
    """Make and enter a user namespace and a mount namespace. Raises `IsolationUnavailable` with the fix."""
    global _range_count
    uid, gid = os.geteuid(), os.getegid()
    user = pwd.getpwuid(uid).pw_name
    start, count = _range(Path("/etc/subuid"), user, uid)
    group_start, group_count = _range(Path("/etc/subgid"), user, uid)
    for program in ("newuidmap", "newgidmap"):
        if shutil.which(program) is None:
            raise IsolationUnavailable(f"no {program} for the uids of sandboxes; apt install uidmap")
    pid = os.getpid()
    maps = [
        ["newuidmap", str(pid), "0", str(uid), "1", "1", str(start), str(count)],
        ["newgidmap", str(pid), "0", str(gid), "1", "1", str(group_start), str(group_count)],
    ]
    # The maps are written from outside, so by a child that stays there until we have gone.
    go_read, go_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go_write)
        status = 1
        if os.read(go_read, 1):
            status = max(subprocess.run(command, capture_output=True).returncode for command in maps)
        os._exit(status)
    os.close(go_read)
    try:
        linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
        os.write(go_write, b"1")
    except OSError as error:
        fix = "sysctl -w user.max_user_namespaces=10000"
        raise IsolationUnavailable(f"no user namespaces for ordinary users ({error.strerror}); {fix}") from None
    finally:
        os.close(go_write)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise IsolationUnavailable(f"newuidmap refused the ranges of {user}; compare /etc/subuid and /etc/subgid")
    _range_count = min(count, group_count)


def _range(path: Path, user: str, uid: int) -> tuple[int, int]:
    """Find the user's first range that is large enough."""
    lines = path.read_text().splitlines() if path.exists() else []
    for line in lines:
        fields = line.split(":")
        if len(fields) == 3 and fields[0] in (user, str(uid)) and int(fields[2]) >= LEAST:
            return int(fields[1]), int(fields[2])
    raise IsolationUnavailable(f"{user} has no range in {path}; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}")
