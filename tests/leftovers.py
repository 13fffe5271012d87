"""What a run directory still holds on this host: for tests that end with "and nothing is left"."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hanabi.base import locks
from hanabi.sandbox.host import volume
from hanabi.sandbox.host.cgroup import CgroupTree
from hanabi.sandbox.host.earlier_runs import tag_of
from hanabi.sandbox.host.host import HOST_LOCK, RUN_DIRECTORIES
from hanabi.sandbox.host.host_ids import LOCKS, UID_BASE


@contextmanager
def no_other_cleans() -> Iterator[None]:
    """Meanwhile no server starts: it would remove what a killed one has left under numbers that are now its own."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    fd = locks.open_lock(LOCKS / HOST_LOCK)
    try:
        assert locks.acquire_within(fd, 120)
        yield
    finally:
        os.close(fd)


def of_sandbox(run_dir: Path, id: str) -> list[str]:
    """Everything left of one sandbox of a driver that may still be open."""
    tree = CgroupTree(tag_of(run_dir))
    found = [f"process {pid}" for pid in tree.pids(id)]
    found += [f"cgroup {each / id}" for each in tree.directories() if (each / id).exists()]
    found += [f"path {path}" for name in ("bundles", "views", "state", "volumes") if (path := run_dir / name / id).exists()]
    found += [f"mount {line}" for line in _mounts() if f"{run_dir}/bundles/{id}/" in line]
    found += [f"loop {device}" for device, image in _loops() if image.split(" ")[0] == f"{run_dir}/volumes/{id}"]
    return found


def of_run(run_dir: Path) -> list[str]:
    """Everything left of a driver that is closed, or was killed."""
    tag = tag_of(run_dir)
    tree = CgroupTree(tag)
    found = [f"process {pid}" for name in tree.groups() for pid in tree.pids(name)]
    found += [f"cgroup {each}" for each in tree.directories() if each.exists()]
    found += [f"path {path}" for name in RUN_DIRECTORIES if (path := run_dir / name).exists()]
    found += [f"mount {line}" for line in _mounts() if str(run_dir) in line]
    found += [f"loop {device}" for device in volume.leftovers(run_dir / "volumes")]
    found += [f"interface {name}" for name in os.listdir("/sys/class/net") if name.startswith(f"hn{tag}")]
    found += [f"table {name}" for name in _tables() if name == f"hanabi-{tag}"]
    found += _running(run_dir)
    found += [f"runtime {pid}" for pid in _processes() if str(run_dir / "state").encode() in _command(pid)]
    return found


def of_machines(run_dir: Path) -> list[str]:
    """Everything left of microVMs, of a driver that may still be open and has none."""
    tree = CgroupTree(tag_of(run_dir))
    found = [f"process {pid}" for name in tree.groups() for pid in tree.pids(name)]
    found += [f"cgroup {each / name}" for name in tree.groups() for each in tree.directories() if (each / name).exists()]
    found += [f"path {path}" for path in run_dir.glob("jails/*/*")]
    found += [f"mount {line}" for line in _mounts() if f"{run_dir}/" in line]
    found += [f"loop {device}" for device in volume.leftovers(run_dir / "volumes")]
    return found + _running(run_dir)


def _running(run_dir: Path) -> list[str]:
    """Jailers, and what they have started: their root is their jail."""
    found = []
    for pid in _processes():
        with suppress(OSError):
            if os.readlink(f"/proc/{pid}/root").startswith(f"{run_dir}/") or f"{run_dir}/jails".encode() in _command(pid):
                found.append(f"process {pid}")
    return found


def environments() -> list[int]:
    """The processes on this host that run as a sandbox's uid, zombies included: of any Hanabi."""
    return [pid for pid in _processes() if UID_BASE <= _uid(pid) < 2 * UID_BASE]


def zombies(parent: int, *names: str) -> list[int]:
    """The ended and unreaped children of a process that bear one of these names."""
    found = []
    for pid in _processes():
        with suppress(OSError):
            head, _, tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
            if tail.split()[:2] == ["Z", str(parent)] and head.partition("(")[2].startswith(names):
                found.append(pid)
    return found


def reap(*names: str) -> None:
    """Of the orphans that have become this process's, those that have ended and bear one of these names: a neighbour would count them."""
    for pid in zombies(os.getpid(), *names):
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def kill_machines(run_dir: Path) -> None:
    """Of a server that was killed and has no successor."""
    tree = CgroupTree(tag_of(run_dir))
    for line in _running(run_dir):
        with suppress(ProcessLookupError):
            os.kill(int(line.split()[1]), signal.SIGKILL)
    for name in tree.groups():
        tree.kill(name)


def _mounts() -> list[str]:
    """Of this process and of the host's first one."""
    lines = set()
    for pid in ("self", "1"):
        with suppress(OSError):
            lines.update(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    return sorted(lines)


def _loops() -> list[tuple[str, str]]:
    found = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            found.append((entry.parts[3], entry.read_text().strip()))
    return found


def _tables() -> list[str]:
    """Of nftables."""
    if shutil.which("nft") is None:
        return []
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, timeout=30).stdout
    return [line.split()[-1] for line in listed.splitlines()]


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _command(pid: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def _uid(pid: int) -> int:
    with suppress(OSError):
        return os.stat(f"/proc/{pid}").st_uid
    return -1
