"""The OCI configuration (config.json) of a sandbox."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.base import linux
from hanabi.sandbox.oci import seccomp

AGENT_UID, GID = 992, 990  # inside; the function has another uid, so that it can neither signal nor trace the agent
FUNCTION_UID = 993
UID_RANGE = 65536
AGENT_PATH = "/.hanabi/init"
# What a root must have: a read-only root cannot be given mount points later.
MOUNT_POINTS = ("proc", "dev", "tmp", "opt", "var/task", "var/runtime", "etc", ".hanabi")
MOUNT_FILES = (".hanabi/init", "etc/resolv.conf", "etc/hosts")
BOOTSTRAP_TARGET = "/.hanabi"  # of a bootstrap beside the root's own; the agent's file below it is not needed any more
MOUNT_TARGETS = ("/var/task", "/opt", BOOTSTRAP_TARGET)  # where directories may be mounted later

_AGENT_CAPABILITIES = ["CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_SETPCAP"]  # the last only to empty the bounding set, then dropped
_RLIMITS = {"NOFILE": 1024, "MEMLOCK": 64 * 1024}  # the agent sets a function's
_CORE_BYTES = 10 * 1024**3  # Lambda's
_CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
_MASKED = [
    *(f"/proc/{name}" for name in ("acpi", "asound", "kcore", "keys", "key-users", "latency_stats", "timer_list", "sched_debug", "scsi")),
    *(f"/proc/{name}" for name in ("interrupts", "kmsg", "kallsyms", "vmallocinfo", "slabinfo", "pagetypeinfo", "config.gz")),
]
_READ_ONLY = [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger", "driver", "tty")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLayout:
    """The settings that differ between sandboxes."""

    root: Path
    runtime_dir: Path | None  # None: /var/runtime is the root's own
    agent: Path
    tmp: Path  # mounted on the host
    resolv_conf: Path
    hosts: Path
    proc: Mapping[str, Path]  # files shown in place of those in /proc
    hostname: str
    network: str  # path of a network namespace
    cgroup: str  # path below each controller; "" leaves cgroups alone
    uids: Sequence[tuple[int, int, int]]  # (inside, outside, how many)
    gids: Sequence[tuple[int, int, int]]


def make(layout: ContainerLayout) -> dict[str, Any]:
    """Make the configuration document of OCI runtime specification 1.0."""
    return {
        "ociVersion": "1.0.2",
        "hostname": layout.hostname,
        "root": {"path": str(layout.root), "readonly": True},
        "process": _process(),
        "mounts": _mounts(layout),
        "linux": _linux(layout),
    }


def _process() -> dict[str, Any]:
    return {
        "terminal": False,
        "cwd": "/",
        "args": [AGENT_PATH, "--uid", str(FUNCTION_UID), "--gid", str(GID)],
        "env": ["PATH=/usr/bin:/bin"],
        "user": {"uid": AGENT_UID, "gid": GID, "umask": 0o022},
        "noNewPrivileges": True,
        "capabilities": {kind: _AGENT_CAPABILITIES for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
        "rlimits": [{"type": f"RLIMIT_{name}", "soft": most, "hard": most} for name, most in (*_RLIMITS.items(), ("CORE", _core_bytes()))],
        # The memory cap kills the function's processes (1000), not the agent. Lower than the server's own would need CAP_SYS_RESOURCE,
        # and a function may lower itself to the agent's value: at -1000 there would be nothing left to kill.
        "oomScoreAdj": max(0, int(Path("/proc/self/oom_score_adj").read_text())),
    }


def _core_bytes() -> int:
    """Largest core dump: a file in the sandbox. None where the kernel starts a program of the host's for it: that is 1, as 0 starts it."""
    return 1 if _CORE_PATTERN.read_text().startswith(("|", "@")) else _CORE_BYTES


def _mounts(layout: ContainerLayout) -> list[dict[str, Any]]:
    hidden = ["nosuid", "nodev", "noexec"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": hidden},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]},
        _bind(layout.agent, AGENT_PATH, "ro", "nosuid", "nodev"),
        *([_bind(layout.runtime_dir, "/var/runtime", "ro", "nosuid", "nodev")] if layout.runtime_dir else []),
        _bind(layout.resolv_conf, "/etc/resolv.conf", "ro", *hidden),
        _bind(layout.hosts, "/etc/hosts", "ro", *hidden),
        *(_bind(path, f"/proc/{name}", "ro", *hidden) for name, path in layout.proc.items()),
        _bind(layout.tmp, "/tmp", "rw", "nosuid", "nodev"),
    ]


def _bind(source: Path, target: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": "bind", "source": str(source), "options": ["bind", "private", *options]}


def _linux(layout: ContainerLayout) -> dict[str, Any]:
    namespaces: list[dict[str, str]] = [{"type": kind} for kind in ("user", "pid", "mount", "ipc", "uts", "cgroup")]
    section: dict[str, Any] = {
        "namespaces": [*namespaces, {"type": "network", "path": layout.network}],
        "uidMappings": [_mapping(each) for each in layout.uids],
        "gidMappings": [_mapping(each) for each in layout.gids],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "maskedPaths": _MASKED,
        "readonlyPaths": _READ_ONLY,
        "rootfsPropagation": "private",
        "seccomp": seccomp.profile(linger=linux.can_refuse_rights()),
    }
    if layout.cgroup:
        section["cgroupsPath"] = layout.cgroup
    return section


def _mapping(triple: tuple[int, int, int]) -> dict[str, int]:
    inside, outside, size = triple
    return {"containerID": inside, "hostID": outside, "size": size}
