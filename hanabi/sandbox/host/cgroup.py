"""Cgroups of sandboxes, version 1, version 2 or both: the host's hierarchies, and one `Cgroup` per sandbox.

A host's controllers may all be in version 1, all in version 2 ("unified"), or divided ("hybrid"); `CgroupTree` finds out once.
All our groups are below `hanabi/<tag>/` in each hierarchy, so that those of an earlier run can be found.
"""

import copy
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from hanabi.errors import IsolationUnavailable, SandboxError
from hanabi.quotas import PROCESSES_MAX
from hanabi.sandbox.host import controllers, rootless
from hanabi.sandbox.host.memory_use import PeakMemory

NEEDED = ("cpu", "memory", "pids")
_TIMEOUT_S = 5.0
_ATTEMPTS = 20
_DELEGATION = "start it as root, or where systemd delegates cgroups: systemd-run --user --scope -p Delegate=yes hanabi up"


# Older systemd gives a user's manager memory and pids only, and then it cannot give more to a scope of it.
_TO_USERS = (
    "as root: mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' "
    ">/etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload; then log out of all sessions and in again"
)


def _remedy(parent: Path, missing: set[str]) -> str:
    """The fix for a group without controllers, which depends on whether the user has them to delegate."""
    for group in parent.parents:
        if group.name.startswith("user@") and missing - set((group / "cgroup.controllers").read_text().split()):
            return _TO_USERS
    return _DELEGATION


class CgroupTree:
    """The hierarchies of this host, and our directory in each."""

    def __init__(self, tag: str, *, mountinfo: str | None = None) -> None:
        self._v1: dict[str, Path] = {}  # controller or "name=..." -> mount point
        self._unified: Path | None = None
        for line in (mountinfo or Path("/proc/self/mountinfo").read_text()).splitlines():
            fields, _, rest = line.partition(" - ")
            kind, _, options = rest.split(" ", 2)
            if kind == "cgroup2":
                self._unified = self._unified or Path(fields.split()[4])
            elif kind == "cgroup":
                for option in options.split(","):
                    if option not in ("rw", "ro") and not option.startswith(("xattr", "release_agent", "clone_children")):
                        self._v1.setdefault(option, Path(fields.split()[4]))
        self.tag = tag
        self._own = f"hanabi/{tag}"
        self._parent = self._unified_parent()

    def _unified_parent(self) -> Path | None:
        """Where in the unified hierarchy we may make groups: at the top as root, else below the group we run in."""
        if self._unified is None:
            return None
        if rootless.is_host_root() and not (self._unified / "cgroup.type").exists():
            return self._unified
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                # Ours after a restart in place: the server's own leaf is not the place for groups.
                return self._unified / line[3:].lstrip("/").removesuffix("/hanabi-server").removesuffix("hanabi-server")
        return self._unified

    def version(self, controller: str) -> int:
        """The cgroup version (1 or 2) that has a controller. The freezer is a controller in version 1 only."""
        return 1 if controller in self._v1 else 2

    def describe(self) -> str:
        versions = {self.version(name) for name in NEEDED}
        return "cgroup v1" if versions == {1} else "cgroup v2" if versions == {2} else "cgroup hybrid"

    def prepare(self) -> None:
        """Make our directories with the controllers in them. Raises `IsolationUnavailable` with the fix."""
        in_v2 = [name for name in NEEDED if self.version(name) == 2]
        if in_v2:
            self._delegate(in_v2)
        try:
            for directory in self.directories():
                _make(directory)
        except OSError as error:
            fix = _DELEGATION if in_v2 else "start it as root: cgroup v1 cannot be delegated to an ordinary user"
            raise IsolationUnavailable(f"cannot make cgroup {error.filename} ({error.strerror}); {fix}") from None

    def _delegate(self, names: list[str]) -> None:
        parent = self._parent
        if parent is None:
            raise IsolationUnavailable(f"no cgroup controllers {', '.join(names)}: mount cgroup2 at /sys/fs/cgroup")
        missing = set(names) - set((parent / "cgroup.controllers").read_text().split())
        if missing:
            raise IsolationUnavailable(
                f"cgroup controllers {', '.join(sorted(missing))} are not delegated to {parent}; {_remedy(parent, missing)}"
            )
        enable = " ".join(f"+{name}" for name in names)
        try:
            try:
                (parent / "cgroup.subtree_control").write_text(enable)
            except OSError as error:
                if error.errno != 16:  # EBUSY: processes in it, this one most likely; they move to a leaf
                    raise
                leaf = parent / "hanabi-server"
                leaf.mkdir(exist_ok=True)
                for pid in (parent / "cgroup.procs").read_text().split():
                    (leaf / "cgroup.procs").write_text(pid)
                (parent / "cgroup.subtree_control").write_text(enable)
            ours = parent / self._own
            _make(ours)
            for directory in (ours.parent, ours):
                (directory / "cgroup.subtree_control").write_text(enable)
        except OSError as error:
            raise IsolationUnavailable(f"cannot use cgroups below {parent} ({error.strerror}); {_DELEGATION}") from None

    def directory(self, controller: str) -> Path:
        """Our directory in a controller's hierarchy."""
        top = self._v1.get(controller) or self._parent
        if top is None:
            raise SandboxError(f"no cgroup hierarchy has {controller}")
        return top / self._own

    def directories(self) -> list[Path]:
        """Our directory in every hierarchy, including those that an OCI runtime joins by itself."""
        tops = dict.fromkeys(self._v1.values())
        if self._parent is not None and os.access(self._parent, os.W_OK):
            tops[self._parent] = None
        return [top / self._own for top in tops]

    def runtime_path(self, name: str) -> str:
        """The value of `linux.cgroupsPath`."""
        if self._unified is not None and self._parent is not None and not self._v1:
            return "/" + str((self._parent / self._own / name).relative_to(self._unified))
        return f"/{self._own}/{name}"

    @property
    def place(self) -> str:
        """The parent of our groups in the unified hierarchy, kept for the next run: an ordinary user's next scope is another one."""
        return str(self._parent or "")

    def at(self, place: str) -> "CgroupTree":
        """The tree of an earlier run."""
        earlier = copy.copy(self)
        earlier._parent = Path(place) if place else self._parent
        return earlier

    def groups(self) -> set[str]:
        """Names of all existing groups, of this run and of earlier ones."""
        found: set[str] = set()
        for directory in self.directories():
            with suppress(OSError):
                found.update(entry.name for entry in os.scandir(directory) if entry.is_dir())
        return found

    def pids(self, name: str) -> set[int]:
        """The processes of a group, in any hierarchy."""
        found: set[int] = set()
        for directory in self.directories():
            with suppress(OSError):
                found.update(int(pid) for pid in (directory / name / "cgroup.procs").read_text().split())
        return found

    def kill(self, name: str) -> None:
        """SIGKILL all processes of a group, and thaw it so that they end."""
        if self._parent is not None:
            with suppress(OSError):
                (self._parent / self._own / name / "cgroup.kill").write_text("1")
        for pid in self.pids(name):
            with suppress(ProcessLookupError, PermissionError):  # an ordinary user's earlier run had a user namespace of its own
                os.kill(pid, signal.SIGKILL)
        for directory, file, value in (("freezer", "freezer.state", "THAWED"), ("", "cgroup.freeze", "0")):
            with suppress(OSError, SandboxError):
                (self.directory(directory) / name / file).write_text(value)

    def remove(self, name: str) -> None:
        """Kill a group's processes and remove it from every hierarchy; blocks."""
        give_up = time.monotonic() + _TIMEOUT_S
        for directory in self.directories():
            while True:
                try:
                    os.rmdir(directory / name)
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > give_up:
                        raise SandboxError(f"cgroup {directory / name} does not become empty") from None
                    self.kill(name)
                    time.sleep(0.001)

    def close(self) -> None:
        """Remove our own empty directories."""
        for directory in self.directories():
            with suppress(OSError):
                os.rmdir(directory)
                os.rmdir(directory.parent)  # another Hanabi may still live in it


def _make(directory: Path) -> None:
    """Make a directory and its parents. Another Hanabi that ends may remove the common parent between the two: then again."""
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError):
            return directory.mkdir(parents=True, exist_ok=True)
    directory.mkdir(parents=True, exist_ok=True)


def check_delegation() -> None:
    """Raise `IsolationUnavailable` if this user may not make cgroups."""
    tree = CgroupTree(f"check-{os.getpid()}")
    try:
        tree.prepare()
    finally:
        tree.close()


class Cgroup:
    """The cgroup of one sandbox: limits, freezer, statistics."""

    def __init__(self, tree: CgroupTree, name: str) -> None:
        self._tree = tree
        self.name = name
        self.runtime_path = tree.runtime_path(name)
        for controller in ("cpu", "cpuacct", "memory", "pids", "freezer"):
            (tree.directory(controller) / name).mkdir(exist_ok=True)
        (tree.directory("pids") / name / "pids.max").write_text(str(PROCESSES_MAX))
        v1 = {each: tree.version(each) == 1 for each in ("cpu", "cpuacct", "memory", "freezer")}

        def where(controller: str) -> Path:
            return tree.directory(controller) / name

        self.memory: controllers.Memory = (controllers.MemoryV1 if v1["memory"] else controllers.MemoryV2)(where("memory"))
        self.peak_memory = PeakMemory(self.memory)
        self.cpu: controllers.Cpu = (controllers.CpuV1 if v1["cpu"] else controllers.CpuV2)(where("cpu"))
        self.usage: controllers.CpuUsage = (controllers.CpuUsageV1 if v1["cpuacct"] else controllers.CpuUsageV2)(where("cpuacct"))
        self.freezer: controllers.FreezerController = (controllers.FreezerV1 if v1["freezer"] else controllers.FreezerV2)(where("freezer"))

    def limit(self, memory_mb: int, vcpus: float | None) -> None:
        self.memory.limit(memory_mb)
        self.peak_memory.limit = memory_mb * controllers.MB
        self.cpu.limit(vcpus)

    def kill(self) -> None:
        self._tree.kill(self.name)

    def remove(self) -> None:
        for controller in (self.memory, self.cpu, self.usage, self.freezer):
            controller.close()
        self._tree.remove(self.name)
