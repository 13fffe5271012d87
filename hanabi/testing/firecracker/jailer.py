"""The fake jailer: command line, directories and confinement. Confinement needs root.

Source: src/jailer of Firecracker, and docs/jailer.md.
"""

import argparse
import ctypes
import os
import re
import resource
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hanabi.base import linux

CLONE_NEWPID = 0x20000000
_ID = re.compile("[A-Za-z0-9-]{1,64}")
_LIMITS = {"no-file": resource.RLIMIT_NOFILE, "fsize": resource.RLIMIT_FSIZE}
_PR_SET_DUMPABLE = 4


@dataclass(slots=True, kw_only=True)
class Jailing:
    """A jailer's command line."""

    id: str
    exec_file: Path
    uid: int
    gid: int
    base: Path
    netns: str = ""
    cgroup_version: int = 1
    cgroups: Sequence[str] = ()
    parent_cgroup: str = ""
    limits: Sequence[str] = ()
    new_pid_ns: bool = False
    daemonize: bool = False
    arguments: Sequence[str] = field(default_factory=list)  # for Firecracker

    @property
    def root(self) -> Path:
        return self.base / self.exec_file.name / self.id / "root"


def parse(argv: Sequence[str]) -> Jailing:
    """Parse a command line. Raises `ValueError` for what the jailer refuses."""
    ours, arguments = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    parser = argparse.ArgumentParser(prog="jailer", allow_abbrev=False)
    parser.add_argument("--id", required=True)
    parser.add_argument("--exec-file", required=True, type=Path)
    parser.add_argument("--uid", required=True, type=int)
    parser.add_argument("--gid", required=True, type=int)
    parser.add_argument("--chroot-base-dir", dest="base", type=Path, default=Path("/srv/jailer"))
    parser.add_argument("--netns", default="")
    parser.add_argument("--cgroup-version", type=int, default=1, choices=(1, 2))
    parser.add_argument("--cgroup", dest="cgroups", action="append", default=[])
    parser.add_argument("--parent-cgroup", default="")
    parser.add_argument("--resource-limit", dest="limits", action="append", default=[])
    parser.add_argument("--new-pid-ns", action="store_true")
    parser.add_argument("--daemonize", action="store_true")
    jailing = Jailing(**vars(parser.parse_args(ours)), arguments=list(arguments))
    if not _ID.fullmatch(jailing.id):
        raise ValueError(f"Invalid instance ID: {jailing.id}")
    if not jailing.exec_file.is_file() or "firecracker" not in jailing.exec_file.name:
        raise ValueError(f"Invalid exec file: {jailing.exec_file}")
    return jailing


def jail(jailing: Jailing, *, forget: bool = False) -> Path:
    """Enter the jail and return the new `/`. Raises `OSError`. With `new_pid_ns`, only the child returns.

    `forget` fails when the child has begun: nobody is told its number.
    """
    root = jailing.root
    root.mkdir(parents=True, exist_ok=True)
    inner = root / jailing.exec_file.name
    shutil.copyfile(jailing.exec_file, inner)
    as_root = os.geteuid() == 0
    for path in (root, root / "run", root / "dev", root / "dev/net", inner):
        path.mkdir(mode=0o700, exist_ok=True) if path != inner else None
        if as_root:
            os.chown(path, jailing.uid, jailing.gid)
            os.chmod(path, 0o700)
    for limit in jailing.limits:
        name, _, value = limit.partition("=")
        resource.setrlimit(_LIMITS[name], (int(value), int(value)))
    if jailing.cgroups or jailing.parent_cgroup:
        _enter_cgroups(jailing)
    if jailing.netns:
        fd = os.open(jailing.netns, os.O_RDONLY | os.O_CLOEXEC)
        linux.setns(fd, linux.CLONE_NEWNET)
        os.close(fd)
    if jailing.daemonize:
        _daemonize()
    pid_file = root / f"{jailing.exec_file.name}.pid"
    if jailing.new_pid_ns:
        if as_root:
            linux.unshare(CLONE_NEWPID)
        if pid := os.fork():
            if not forget:
                pid_file.write_text(str(pid))
            os._exit(fail("it forgets what it started") if forget else 0)
    else:
        pid_file.write_text(str(os.getpid()))
    return _drop(jailing, root) if as_root else root


def _drop(jailing: Jailing, root: Path) -> Path:
    os.chroot(root)
    os.chdir("/")
    os.setgroups([])
    os.setresgid(jailing.gid, jailing.gid, jailing.gid)
    os.setresuid(jailing.uid, jailing.uid, jailing.uid)
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    return Path("/")


def _daemonize() -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _enter_cgroups(jailing: Jailing) -> None:
    """Enter the cgroups. v1: a group in each hierarchy with a given file; v2: one group, or without files the parent."""
    parent = jailing.parent_cgroup or jailing.exec_file.name
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    if jailing.cgroup_version == 2:
        top = next(Path(mount[1]) for mount in mounts if mount[2] == "cgroup2")
        groups = {top / parent / jailing.id if jailing.cgroups else top / parent}
        files = {top / parent / jailing.id / name: value for name, _, value in (each.partition("=") for each in jailing.cgroups)}
    else:
        files = {}
        for name, _, value in (each.partition("=") for each in jailing.cgroups):
            controller = name.partition(".")[0]
            top = next(Path(mount[1]) for mount in mounts if mount[2] == "cgroup" and controller in mount[3].split(","))
            files[top / parent / jailing.id / name] = value
        groups = {path.parent for path in files}
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
    for path, value in files.items():
        path.write_text(value)
    for group in groups:
        (group / "cgroup.procs").write_text(str(os.getpid()))


def fail(message: str) -> int:
    """Exit with an error in the jailer's format."""
    print(f"Jailer error: {message}", file=sys.stderr, flush=True)
    return 1
