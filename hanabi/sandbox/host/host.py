"""The host resources of a driver: run directory, cgroups, sandbox numbers and uplink, cleaned after earlier runs."""

import logging
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network
from pathlib import Path

from hanabi.base import linux, locks, netlink
from hanabi.errors import HanabiError, IsolationUnavailable
from hanabi.sandbox.host import abandoned, earlier_runs, firewall, host_ids, rootless, runtime_command, uplink, volume
from hanabi.sandbox.host.cgroup import CgroupTree
from hanabi.sandbox.host.earlier_runs import RunDirLock, tag_of
from hanabi.sandbox.host.host_ids import HostIds
from hanabi.sandbox.host.uplink import Uplink
from hanabi.sandbox.oci.bind_mounts import BindMounts

_OTHERS_S = 30.0  # that the start or end of other servers takes together
_SLOTS_BESIDE = 8  # of those being made ahead or taken down
HOST_LOCK = "host.lock"  # held while a server sets up or takes down what servers share
HIBERNATED = "hibernated"  # the fleet's directory beside ours; another run cannot use it
RUN_DIRECTORIES = ("state", "bundles", "views", "probe", "jails", "volumes", HIBERNATED)  # of whichever driver: they go with the run
log = logging.getLogger(__name__)


class SandboxHost:
    """A driver's host resources. `open` and `close` block. `slots`: the most sandboxes at a time."""

    def __init__(self, run_dir: Path, *, slots: int, allow_net: Sequence[str], network: bool) -> None:
        self.run_dir = Path(os.path.abspath(run_dir))
        self.tag = tag_of(self.run_dir)
        self.tree = CgroupTree(self.tag)
        self.uplink = Uplink("not open")
        self.bind_mounts: BindMounts | None = None
        self._host_ids: HostIds | None = None
        self.slots = slots
        self._allow_net = [str(IPv4Network(cidr, strict=False)) for cidr in allow_net]
        self._network = network
        self._lock = -1
        self._run_dir_lock: RunDirLock | None = None

    @property
    def prefix(self) -> str:
        return _prefix(self.tag)

    @property
    def table(self) -> str:
        return _table(self.tag)

    @property
    def numbers(self) -> HostIds:
        assert self._host_ids is not None
        return self._host_ids

    def open(self) -> None:
        """Claim the directory, clean it, and set up what is shared. Raises `IsolationUnavailable` with the fix."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.run_dir.chmod(0o711)
        lock = locks.try_lock(self.run_dir / "lock")
        if lock is None:
            raise IsolationUnavailable(f"another Hanabi is running in {self.run_dir}")
        try:
            with self._alone():  # whoever cleans this place lets it go first
                self._run_dir_lock = RunDirLock(self._locks(), self.tag, wait=True)
        except BlockingIOError:  # its directory has been moved since
            os.close(lock)
            raise IsolationUnavailable(f"another Hanabi that was started in {self.run_dir} still runs") from None
        self._lock = lock
        if rootless.entered():
            self.bind_mounts = BindMounts(self.run_dir)
        else:
            check_traversable(self.run_dir, "--data-dir")
        raise_descriptor_limit()
        before = earlier_runs.places(self.run_dir)
        earlier_runs.note(self.run_dir, before)
        with self._alone():
            self.tree.prepare()
            self._recover(before)
            self._host_ids = HostIds(self.slots + _SLOTS_BESIDE, locks=self._locks())
            self._end_abandoned(self._host_ids.blocks)
            self.uplink = self._open_uplink(self._host_ids)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the host's lock: servers that start or end at the same time would remove groups that the other has just made."""
        self._locks().mkdir(parents=True, exist_ok=True)
        fd = locks.open_lock(self._locks() / HOST_LOCK)
        try:
            if not locks.acquire_within(fd, _OTHERS_S):
                log.warning("another Hanabi on this host has been starting or ending for %d s; not waiting for it", _OTHERS_S)
            yield
        finally:
            os.close(fd)

    def _locks(self) -> Path:
        """The directory of number locks: shared by all servers of the host, or by those of an ordinary user."""
        if not rootless.entered():
            return host_ids.LOCKS
        return Path(os.environ.get("XDG_RUNTIME_DIR", self.run_dir)) / "hanabi"

    def _open_uplink(self, free: HostIds) -> Uplink:
        firewall_of = (self.table, self.prefix, free.networks(), self._allow_net)
        if not self._network:
            return Uplink("turned off")
        if rootless.entered():
            return uplink.open_pasta(self.run_dir / "uplink", *firewall_of)
        return uplink.open_host(*firewall_of)

    def _recover(self, before: Sequence[Path]) -> None:
        """Clean up after earlier runs, here and at the places where this directory was `before`, whenever they were killed. Idempotent."""
        groups_in = earlier_runs.groups_in(self.run_dir)
        uplink.clear_away(self.run_dir / "uplink")
        _end_all(self.run_dir, self.tree, groups_in)
        self.write(earlier_runs.GROUPS, self.tree.place)
        self._remove_made()
        earlier_runs.note(self.run_dir, [place for place in before if not self._recover_place(place, groups_in)])

    def _recover_place(self, place: Path, groups_in: str) -> bool:
        """Clean up at one earlier place; False: it is in use, or cannot be cleaned."""
        if earlier_runs.is_used(place, self._lock):
            return False
        try:
            claim = RunDirLock(self._locks(), tag_of(place), wait=False)
        except BlockingIOError:
            return False
        try:
            tree = CgroupTree(tag_of(place))
            _end_all(place, tree, groups_in)
            tree.close()
        except (OSError, HanabiError) as error:
            log.warning("what an earlier run left, at %s, cannot be removed: %s", place, error)
            return False
        finally:
            claim.close()
        return True

    def _end_abandoned(self, blocks: Sequence[int]) -> None:
        """Remove what killed servers left under our numbers."""
        if rootless.entered():  # then numbers are one's own, and addresses of a namespace
            return
        for tag in abandoned.tags(blocks, self.tag):
            try:
                claim = RunDirLock(self._locks(), tag, wait=False)
            except BlockingIOError:  # it runs again, under other numbers, and could not remove all that it had left
                log.warning("a Hanabi (%s) that was killed and runs again still has sandboxes under numbers of this one", tag)
                continue
            log.warning("removing what a killed Hanabi (%s) left on this host", tag)
            try:
                tree = CgroupTree(tag)
                _clear(tree)
                tree.close()
                _end_network(tag)
            except (OSError, HanabiError) as error:
                log.warning("not all of it could be removed: %s", error)
            finally:
                claim.close()

    def close(self) -> None:
        """Release the resources, after all sandboxes have been destroyed. Idempotent."""
        if self._lock < 0:  # nothing here is ours
            return
        if not rootless.entered():
            firewall.unload(self.table)
        self.uplink.close()
        uplink.clear_away(self.run_dir / "uplink")
        if self.bind_mounts is not None:
            self.bind_mounts.close()
        with self._alone():
            self.tree.close()
        if self._host_ids is not None:
            self._host_ids.close()
        self._remove_made()
        if self._run_dir_lock is not None:
            self._run_dir_lock.close()
            self._run_dir_lock = None
        os.close(self._lock)
        self._lock = -1

    def _remove_made(self) -> None:
        for name in RUN_DIRECTORIES:
            shutil.rmtree(self.run_dir / name, ignore_errors=True)

    def write(self, name: str, text: str) -> Path:
        """Write a world-readable file in the run directory."""
        path = self.run_dir / name
        path.write_text(text)
        path.chmod(0o644)
        return path


def _prefix(tag: str) -> str:
    """The prefix of interface names."""
    return f"hn{tag}"


def _table(tag: str) -> str:
    """The name of the nftables table."""
    return f"hanabi-{tag}"


def _end_all(run_dir: Path, tree: CgroupTree, groups_in: str) -> None:
    """Remove an earlier run's processes, groups and network by the tag of its place. `groups_in`: see `CgroupTree.place`."""
    runtime_command.kill_leftovers(run_dir)
    before = tree.at(groups_in)
    _clear(before)
    if before.place != tree.place:
        before.close()
    _clear(tree)
    give_up = time.monotonic() + 5
    while (devices := volume.leftovers(run_dir / "volumes")) and time.monotonic() < give_up:
        for device in devices:
            linux.detach_loop(device)
        time.sleep(0.005)
    if not rootless.entered():  # else the network had a namespace that has gone with the process
        _end_network(tree.tag)


def _end_network(tag: str) -> None:
    with netlink.Netlink() as link:
        for name in os.listdir("/sys/class/net"):
            if name.startswith(_prefix(tag)):
                link.remove_link(name)
    firewall.unload(_table(tag))


def _clear(tree: CgroupTree) -> None:
    """Remove all groups of a tree."""
    for name in tree.groups():
        tree.kill(name)
    for name in tree.groups():
        tree.remove(name)


def check_traversable(directory: Path, flag: str) -> None:
    """Check that other users, as which sandboxes run, can traverse a path. `flag` is the option that chose the directory."""
    barred = [str(each) for each in reversed((directory, *directory.parents)) if not each.stat().st_mode & 0o001]
    if barred:
        raise IsolationUnavailable(f"sandboxes cannot enter {barred[0]}; chmod o+x {' '.join(barred)}, or choose another {flag}")


def raise_descriptor_limit() -> int:
    """Raise the limit as far as possible, and return it. A sandbox takes some fifteen descriptors: 1024 suffice for sixty."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
