"""The host checks of `hanabi doctor`: isolation features, and fixes for missing ones. Blocks for some tenths of a second."""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hanabi.base import netlink
from hanabi.base.clock import SystemClock
from hanabi.base.processes import search_path
from hanabi.errors import HanabiError, IsolationUnavailable
from hanabi.sandbox.agent import find_agent
from hanabi.sandbox.host import firewall, kvm, mounts, runtime_command
from hanabi.sandbox.host.cgroup import NEEDED, CgroupTree
from hanabi.sandbox.oci import process_snapshot
from hanabi.sandbox.oci.driver import OciDriver

_KVM_GET_API_VERSION, _KVM_API_VERSION = 0xAE00, 12  # linux/kvm.h
_NAMESPACES = ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup")


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `ok` None: not needed here, or unknown; not a failure."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


def probe() -> list[Check]:
    """Run all checks, in order of dependency."""
    checks = [_kvm(), _namespaces(), _seccomp(), _cgroups(), _runtimes(), _network(), _tmp(), *_rootless()]
    return [*checks, _container(), _snapstart()]


def probe_microvm() -> list[Check]:
    """Check what microVMs need of the host, apart from their parts; all are required."""
    return [_real_kvm(), _root(), _tun(), _seccomp(), _cgroups(), _network()]


def _real_kvm() -> Check:
    """Whether KVM works, not only whether its device exists."""
    try:
        device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return Check(
            "kvm", False, f"/dev/kvm: {error.strerror}", "modprobe kvm_intel or kvm_amd, or turn virtualisation on in the firmware"
        )
    try:
        version = fcntl.ioctl(device, _KVM_GET_API_VERSION)
    except OSError as error:
        return Check("kvm", False, f"/dev/kvm does not answer: {error.strerror}", "use a host whose KVM works")
    finally:
        os.close(device)
    if version != _KVM_API_VERSION:
        return Check("kvm", False, f"/dev/kvm speaks version {version}", f"use a kernel with version {_KVM_API_VERSION} of it")
    return Check(
        "kvm", True, "nested in software: microVMs are slow, no measure of anything" if not kvm.is_hardware() else "hardware-backed"
    )


def _snapstart() -> Check:
    """Whether SnapStart has an effect in containers."""
    try:
        missing = process_snapshot.why_missing(find_agent().parent)
    except HanabiError as error:
        missing = str(error)
    if missing:
        return Check("snapstart", None, f"no effect in containers: {missing}", "make install, with a C compiler, on x86-64")
    return Check("snapstart", True, "in containers for Python: copies of its process")


def _root() -> Check:
    root = os.geteuid() == 0
    detail = "root" if root else "an ordinary user: the jailer makes devices and changes uids"
    return Check("user", root, detail, "" if root else "sudo hanabi up")


def _tun() -> Check:
    there = os.access("/dev/net/tun", os.R_OK | os.W_OK)
    detail = "tap interfaces" if there else "no /dev/net/tun for the network of microVMs"
    return Check("tun", there, detail, "" if there else "modprobe tun")


def _kvm() -> Check:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Check("kvm", None, "no /dev/kvm for this user: containers, not microVMs")
    if not kvm.is_hardware():
        return Check("kvm", None, "nested in software: slow microVMs, so containers unless --isolation firecracker")
    return Check("kvm", True, "hardware-backed")


def _namespaces() -> Check:
    missing = [name for name in _NAMESPACES if not Path(f"/proc/self/ns/{name}").exists()]
    if missing:
        return Check("namespaces", False, f"missing: {', '.join(missing)}", "use a kernel with these namespaces")
    limit = Path("/proc/sys/user/max_user_namespaces")
    if limit.exists() and int(limit.read_text()) < 1:
        return Check("namespaces", False, "user namespaces are turned off", "sysctl -w user.max_user_namespaces=10000")
    return Check("namespaces", True, ", ".join(_NAMESPACES))


def _seccomp() -> Check:
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    if actions.exists() and "errno" in actions.read_text().split():
        return Check("seccomp", True, "filters, allow-list")
    return Check("seccomp", False, "no seccomp filters", "use a kernel with CONFIG_SECCOMP_FILTER")


def _cgroups() -> Check:
    tree = CgroupTree(f"doctor-{os.getpid()}")
    where = ", ".join(f"{name} v{tree.version(name)}" for name in NEEDED)
    try:
        tree.prepare()
    except IsolationUnavailable as error:
        problem, _, fix = str(error).partition("; ")
        return Check("cgroups", False, f"{where}: {problem}", fix)
    finally:
        tree.close()
    return Check("cgroups", True, where)


def _runtimes() -> Check:
    programs = runtime_command.find_programs()
    if not programs:
        return Check("oci runtime", False, "neither crun nor runc", "apt install runc")
    return Check("oci runtime", True, ", ".join(runtime_command.OciRuntime(each, Path("/nonexistent")).version() for each in programs))


def _network() -> Check:
    if os.geteuid() != 0:
        return Check("network", None, "as an ordinary user: by pasta, see there")
    if firewall.find_nft() is None:
        return Check("network", False, "no nft: functions have no outbound network", "apt install nftables")
    uplink = netlink.default_route_interface()
    if uplink is None:
        return Check("network", False, "no default route: functions have no outbound network", "ip route add default via GATEWAY")
    if fix := firewall.foreign_drop():
        return Check("network", False, "another firewall on this host drops forwarded packets (Docker's does)", fix)
    return Check("network", True, f"slots with NAT through {uplink}; host, metadata and private networks closed")


def _tmp() -> Check:
    if shutil.which("mkfs.ext4", path=search_path()) is None:
        return Check("tmp", False, "no mkfs.ext4 for sized /tmp volumes", "apt install e2fsprogs")
    if os.geteuid() != 0:
        if shutil.which("fuse2fs", path=search_path()) is None or not os.access("/dev/fuse", os.R_OK | os.W_OK):
            return Check("tmp", False, "no fuse2fs or /dev/fuse for an ordinary user's /tmp volumes", "apt install fuse2fs")
        return Check("tmp", True, "ext4 by fuse2fs")
    if not Path("/dev/loop-control").exists():
        return Check("tmp", False, "no loop devices for sized /tmp volumes", "modprobe loop")
    return Check("tmp", True, "ext4 on loop devices")


def _rootless() -> Iterator[Check]:
    """Check what an ordinary user needs in addition; root does not."""
    root = os.geteuid() == 0
    for name, package, purpose in (("pasta", "passt", "network"), ("newuidmap", "uidmap", "uid ranges")):
        found = shutil.which(name, path=search_path()) is not None
        detail = f"{'found' if found else 'absent'}; for the {purpose} of an ordinary user"
        yield Check(name, None if root else found, detail, "" if found or root else f"apt install {package}")


def _container() -> Check:
    """Make and destroy a real sandbox, in its own directory. This process gets a private mount namespace by it."""
    directory = Path(tempfile.mkdtemp(prefix="hanabi-doctor-", dir="/var/tmp"))
    try:
        directory.chmod(0o711)
        agent = find_agent()
        mounts.enter_private_mounts()  # before there are threads
        return Check("container", True, asyncio.run(_try_container(directory, agent)))
    except (HanabiError, OSError) as error:
        problem, _, fix = str(error).partition("; ")
        return Check("container", False, problem, fix or "fix what is marked above")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _try_container(directory: Path, agent: Path) -> str:
    driver = OciDriver(directory / "run", agent=agent, slots=1, clock=SystemClock())
    try:
        await driver.open()
        return driver.describe()
    finally:
        await driver.close()
