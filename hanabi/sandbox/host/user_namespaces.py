"""User namespaces with the ids of sandboxes, for the ID-mapped mounts that containers begin with: root's files are their root's.

mount_setattr(2), "ID-mapped mounts": Linux 5.12, and file systems that take part.
"""

import errno
import os
import subprocess
import time
from pathlib import Path

from hanabi.base import linux
from hanabi.base.processes import search_path
from hanabi.sandbox.host import host_ids, rootless

_TIMEOUT_S = 5.0
_HELD_OPEN = ("unshare", "--user", "--", "cat")  # until its input ends


class UserNamespaces:
    """One for each sandbox number, made when first asked for."""

    def __init__(self) -> None:
        self._made: dict[int, int] = {}
        self._usable = not rootless.entered()

    def mount(self, number: int, source: Path, target: Path) -> Path:
        """Mount a read-only copy of a directory at a new directory, with the sandbox's ids. Returns the source where that cannot be."""
        if not self._usable:
            return source
        try:
            if number not in self._made:
                self._made[number] = make_user_namespace(host_ids.ids(number))
            tree = linux.clone_tree(os.path.realpath(source, strict=True), self._made[number])
        except OSError as error:
            if error.errno == errno.ENOSYS:
                self._usable = False
            return source  # its files are nobody's inside
        try:
            target.mkdir()
            directory = linux.open_directory(str(target))
            try:
                linux.move_tree(tree, directory)
            finally:
                os.close(directory)
        finally:
            os.close(tree)
        return target

    def close(self) -> None:
        while self._made:
            os.close(self._made.popitem()[1])


def make_user_namespace(ids: host_ids.IdMapping) -> int:
    """Make a user namespace with these maps; returns a descriptor of it."""
    ours = os.readlink("/proc/self/ns/user")
    silent = subprocess.DEVNULL
    with subprocess.Popen(_HELD_OPEN, env={"PATH": search_path()}, stdin=subprocess.PIPE, stdout=silent, stderr=silent) as holder:
        try:
            give_up = time.monotonic() + _TIMEOUT_S
            while os.readlink(f"/proc/{holder.pid}/ns/user") == ours:
                if holder.poll() is not None or time.monotonic() > give_up:
                    raise OSError(errno.EPERM, "no user namespaces")
                time.sleep(0.0005)
            for name, triples in (("uid_map", ids.uids), ("gid_map", ids.gids)):
                Path(f"/proc/{holder.pid}/{name}").write_text("".join(f"{inside} {outside} {size}\n" for inside, outside, size in triples))
            return os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            holder.kill()
