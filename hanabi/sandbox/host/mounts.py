"""Mounts: the server's own private mount namespace, and directories mounted into running sandboxes."""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

from hanabi.base import linux
from hanabi.errors import SandboxError
from hanabi.sandbox.host import cgroup, rootless
from hanabi.sandbox.host.host_ids import IdMapping
from hanabi.sandbox.host.shared_directory import SharedDirectory
from hanabi.sandbox.oci.bundle_config import MOUNT_TARGETS

SHARED_PARENT = "/mnt"
_HOLDER_BYTES = 4096
_PR_SET_CHILD_SUBREAPER = 36


def enter_private_mounts() -> None:
    """Give this process its own mount namespace, so that its mounts end with it, and make it the subreaper of its sandboxes.

    Call it before any thread starts: threads would keep the old namespace. An ordinary user becomes root of a user namespace, so
    read the user's name or uid first. Raises `IsolationUnavailable` with the fix.
    """
    if os.geteuid() == 0:
        linux.unshare(linux.CLONE_NEWNS)
    else:
        cgroup.check_delegation()
        rootless.enter()
    linux.mount("none", "/", "none", linux.MS_REC | linux.MS_PRIVATE)
    # A sandbox's first process loses its parent (the OCI runtime); where process 1 does not reap, it would stay a zombie.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class MountInjector:
    """Mounts host directories into other mount namespaces: 0.1 ms each, in one thread that enters the namespace and returns."""

    def __init__(self) -> None:
        self._home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        # setns for mounts needs a thread that does not share its root and working directory.
        self._thread = ThreadPoolExecutor(1, "mounts", initializer=linux.unshare, initargs=(linux.CLONE_FS,))

    @property
    def executor(self) -> ThreadPoolExecutor:
        return self._thread

    def mount(self, namespace: int, user_namespace: int, source: Path, target: str) -> None:
        """Mount a read-only, nosuid, nodev copy of `source` on `target` in a mount namespace. Run it in `executor`.

        Root's files are those of the user namespace's root, where the kernel and the file system can do that.
        """
        if target not in MOUNT_TARGETS:
            raise SandboxError(f"{target}: directories are mounted on {', '.join(MOUNT_TARGETS)} only")
        tree = _clone(os.path.realpath(source, strict=True), user_namespace)
        try:
            linux.setns(namespace, linux.CLONE_NEWNS)
            try:
                directory = linux.open_directory(target)
                try:
                    linux.move_tree(tree, directory)
                finally:
                    os.close(directory)
            finally:
                linux.setns(self._home, linux.CLONE_NEWNS)
        finally:
            os.close(tree)

    def share(self, namespace: int, directory: SharedDirectory, ids: IdMapping, target: str) -> None:
        """Mount a directory read-write on `target`, a new directory below /mnt of a mount namespace. Run it in `executor`.

        A root is read-only, so /mnt becomes a file system of its own, which has nothing else.
        """
        parent, name = os.path.split(target)
        if parent != SHARED_PARENT or name in ("", ".", ".."):
            raise SandboxError(f"{target}: shared directories are mounted below {SHARED_PARENT} only")
        with ExitStack() as opened:

            def keep(descriptor: int) -> int:
                opened.callback(os.close, descriptor)
                return descriptor

            tree = keep(directory.clone(ids))
            holder = keep(linux.make_tmpfs(_HOLDER_BYTES))
            os.mkdir(name, 0o755, dir_fd=holder)
            inner = keep(os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=holder))
            linux.setns(namespace, linux.CLONE_NEWNS)
            try:
                linux.move_tree(holder, keep(linux.open_directory(parent)))
                linux.move_tree(tree, inner)
            finally:
                linux.setns(self._home, linux.CLONE_NEWNS)

    def close(self) -> None:
        self._thread.shutdown()
        os.close(self._home)


def _clone(source: str, user_namespace: int) -> int:
    if not rootless.entered():
        with suppress(OSError):
            return linux.clone_tree(source, user_namespace)
    return linux.clone_tree(source)  # its files are nobody's inside
