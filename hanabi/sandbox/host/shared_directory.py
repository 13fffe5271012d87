"""A folder of the host that functions share, as a file system of theirs: its owner on disk is the function inside, and the reverse.

mount_setattr(2), "ID-mapped mounts": two ids are mapped, the owner's and the group's. What others own is nobody's inside. Where that
cannot be (as an ordinary user, and on file systems that take no part), the folder must be open to all, and what an environment makes
there belongs to ids of its own.
"""

import os
import stat
from pathlib import Path

from hanabi.base import linux
from hanabi.errors import IsolationUnavailable
from hanabi.sandbox.host import rootless
from hanabi.sandbox.host.host_ids import IdMapping
from hanabi.sandbox.host.user_namespaces import make_user_namespace

_PROBE_ID = 65_534  # any but 0


class SharedDirectory:
    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self) -> None:
        """Raise `IsolationUnavailable`, with the fix, for a folder that functions cannot share here. Blocks."""
        try:
            path, found = os.path.realpath(self._path, strict=True), self._path.stat()
        except OSError as error:
            raise IsolationUnavailable(f"{self._path}: {error.strerror}") from None
        if not stat.S_ISDIR(found.st_mode):
            raise IsolationUnavailable(f"{self._path} is no directory")
        if _is_open(found):
            return
        if rootless.entered():
            raise IsolationUnavailable(f"{self._path} is not open to all, and Hanabi runs as an ordinary user; chmod 0777 {self._path}")
        if not found.st_uid or not found.st_gid:  # files that functions make executable for their owner would be root's
            raise IsolationUnavailable(
                f"{self._path} belongs to root, and so would what functions write there; chown it to a user and a group"
            )
        try:
            os.close(self._clone(path, found, (_PROBE_ID, _PROBE_ID)))
        except OSError as error:
            reason = f"the file system of {self._path} cannot be mounted with other owners ({error.strerror})"
            raise IsolationUnavailable(f"{reason}; chmod 0777 {self._path}, or take another") from None

    def clone(self, ids: IdMapping) -> int:
        """Make a detached writable copy of it for a sandbox: a descriptor for `linux.move_tree`. Blocks. Raises `OSError`."""
        path = os.path.realpath(self._path, strict=True)
        found = os.stat(path)
        if found.st_uid and found.st_gid and not rootless.entered():
            try:
                return self._clone(path, found, ids.function)
            except OSError:
                if not _is_open(found):
                    raise
        elif not _is_open(found):
            raise PermissionError(1, "it is neither a user's nor open to all", path)
        return linux.clone_tree(path, writable=True)

    @staticmethod
    def _clone(path: str, found: os.stat_result, function: tuple[int, int]) -> int:
        uid, gid = function
        users = make_user_namespace(IdMapping(((found.st_uid, uid, 1),), ((found.st_gid, gid, 1),), root=function, function=function))
        try:
            return linux.clone_tree(path, users, writable=True)
        finally:
            os.close(users)


def _is_open(found: os.stat_result) -> bool:
    return found.st_mode & 0o007 == 0o007
