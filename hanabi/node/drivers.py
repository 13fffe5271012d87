"""The choice of the isolation driver: the requested one, or for `auto` the best that works on this host."""

import hashlib
import json
from pathlib import Path
from typing import Any

from hanabi.base.clock import SystemClock
from hanabi.base.health import Health
from hanabi.contracts.sandbox import Driver
from hanabi.errors import ImageError, IsolationUnavailable
from hanabi.images.drives.drives import Drives
from hanabi.images.firecracker.binaries import find_firecracker
from hanabi.images.kernels.paths import find_kernel
from hanabi.images.runtimes.bootstraps import install_agent
from hanabi.images.runtimes.recipes import RUNTIMES
from hanabi.node.config import NodeSettings
from hanabi.sandbox.agent import find_agent
from hanabi.sandbox.firecracker.driver import FirecrackerDriver, check_host
from hanabi.sandbox.firecracker.machine import PLAIN_BOOT_ARGS, FirecrackerParts, Kernel
from hanabi.sandbox.host import kvm, rootless
from hanabi.sandbox.host.host import check_traversable
from hanabi.sandbox.host.mounts import enter_private_mounts
from hanabi.sandbox.host.network import NAME_SERVER
from hanabi.sandbox.oci.driver import OciDriver
from hanabi.sandbox.process.driver import ProcessDriver

TIMEOUT_FACTOR_MAX = 100  # times the limits of a machine's answers
RESOLV_CONF = f"nameserver {NAME_SERVER}\noptions timeout:5 attempts:2\n"


def choose_driver(settings: NodeSettings, health: Health | None = None) -> Driver:
    """Choose and make the driver. Call it before there are threads. Blocks. Raises `IsolationUnavailable` with the fix."""
    run = settings.directory("run")
    if settings.isolation == "process":
        if settings.no_network:
            raise IsolationUnavailable("--no-network: the process driver has no network of its own to close; use --isolation oci")
        return ProcessDriver(run, SystemClock(), runtimes=[name for name, each in RUNTIMES.items() if not each.own_bootstrap])
    reason = "" if settings.isolation == "firecracker" else why_not_firecracker(settings)
    if settings.isolation != "oci" and not reason:
        return make_firecracker(settings, run, health)
    enter_private_mounts()
    agent = install_agent(find_agent(), settings.images_dir / "agent")
    if not rootless.entered():  # then what a container sees is put where it can go
        check_traversable(settings.images_dir, "--images-dir")
    return OciDriver(
        run,
        agent=agent,
        slots=settings.max_environments,
        clock=SystemClock(),
        allow_net=settings.allow_net,
        network=not settings.no_network,
        why=reason,
        health=health,
    )


def why_not_firecracker(settings: NodeSettings) -> str:
    """Return why `auto` does not choose microVMs here; empty if it does. Without hardware virtualisation they are on request only."""
    if settings.isolation == "oci":
        return ""
    try:
        if not kvm.is_hardware():
            return "no hardware-backed KVM"
        check_host()
        find_parts(settings)
    except (IsolationUnavailable, ImageError) as error:
        return f"not microVMs: {str(error).partition(';')[0]}"
    return ""


def make_firecracker(settings: NodeSettings, run: Path, health: Health | None = None) -> FirecrackerDriver:
    check_host()
    try:
        parts = find_parts(settings)
    except (ImageError, OSError) as error:
        raise IsolationUnavailable(f"--isolation firecracker: {error}") from None
    enter_private_mounts()
    agent = install_agent(find_agent(), settings.images_dir / "agent")
    return FirecrackerDriver(
        run,
        parts=parts,
        drives=Drives(settings.images_dir, agent, resolv_conf=RESOLV_CONF),
        snapshots=settings.images_dir / "snapshots",
        slots=settings.max_environments,
        clock=SystemClock(),
        why=kvm.describe(),
        health=health,
        allow_net=settings.allow_net,
        network=not settings.no_network,
    )


def find_parts(settings: NodeSettings) -> FirecrackerParts:
    """Find Firecracker, jailer and kernel. Raises `ImageError` with the fix, and `OSError`. Blocks."""
    pair = find_firecracker(settings.images_dir, firecracker=settings.firecracker, jailer=settings.jailer)
    found = find_kernel(settings.images_dir, find_agent(), settings.kernel)
    profile = _profile(found.image)
    timeout_factor = profile.pop("patience", 1.0)  # changes nothing of a machine, and so nothing of its snapshots
    boot_args = profile.get("boot_args") or f"{PLAIN_BOOT_ARGS} {found.boot_args_extra}".strip()
    chosen = Kernel(
        image=found.image,
        digest=hashlib.sha256(f"{found.digest}{json.dumps(profile, sort_keys=True)}".encode()).hexdigest(),
        initrd=found.initrd,
        boot_args=boot_args,
        cpu_template=profile.get("cpu_template"),
        environment=profile.get("environment") or {},
        timeout_factor=timeout_factor,
    )
    return FirecrackerParts(firecracker=pair.firecracker, jailer=pair.jailer, version=pair.version, kernel=chosen)


def _profile(image: Path) -> dict[str, Any]:
    """Read what a user's own kernel needs, from a file beside it: `vmlinux.json` with boot_args, cpu_template, environment, patience."""
    path = image.with_name(f"{image.name}.json")
    if not path.is_file():
        return {}
    try:
        profile = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} is no profile of a kernel: {error}") from None
    if not isinstance(profile, dict) or profile.keys() - {"boot_args", "cpu_template", "environment", "patience"}:
        raise ImageError(f"{path} is no profile of a kernel: it may have boot_args, cpu_template, environment and patience")
    timeout_factor = profile.get("patience", 1.0)
    if isinstance(timeout_factor, bool) or not isinstance(timeout_factor, int | float) or not 1 <= timeout_factor <= TIMEOUT_FACTOR_MAX:
        raise ImageError(f"{path} is no profile of a kernel: patience is a number from 1 to {TIMEOUT_FACTOR_MAX}")
    return profile
