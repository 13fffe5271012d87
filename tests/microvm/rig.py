"""A Hanabi on real microVMs: the kernel and the Firecracker for this kind of host, and what must be there for either.

A host whose KVM is nested in software runs a guest's kernel some hundred times slower than its own, so timeouts here are long, and
code that runs inside starts no processes.
"""

import os
from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.paths import is_whole
from hanabi.sandbox.firecracker.driver import check_host
from hanabi.sandbox.host import kvm
from tests.microvm.binaries import ensure_firecracker
from tests.microvm.kernel import ensure_kernel, kernel_path, write_profile
from tests.server import Server

SLOW = ("--trim-after-s", "3600")  # what takes a guest's kernel a tenth of a second takes minutes there
SLOW_S = 900.0  # the first boot of a runtime on such a host: the kernel, Python, the bootstrap


def why_not(*, build: bool) -> str:
    """Why there can be no real microVM here; empty if there can. `build`: five minutes of kernel building are no reason."""
    try:
        check_host()
    except Exception as error:
        return str(error)
    place = kernel_path()
    if place is None:
        return "the source of the guest kernel cannot be had (linux-source)"
    if not is_whole(place) and not build:
        return f"the guest kernel is not in the cache ({place}): make test-microvm"
    try:
        ensure_firecracker()
    except ImageError as error:
        return str(error)
    return ""


def thorough() -> bool:
    """Whether there is time for all: on hardware always."""
    return building() or kvm.is_hardware()


def building() -> bool:
    """Whether whoever runs the tests has asked for microVMs, and takes the time."""
    return bool(os.environ.get("HANABI_TEST_MICROVM"))


def options() -> list[str]:
    """Of `hanabi up`. Builds what is not in the cache."""
    pair, kernel = ensure_firecracker(), ensure_kernel()
    if kvm.is_hardware():
        return ["--isolation", "firecracker", "--firecracker", str(pair / "firecracker"), "--jailer", str(pair / "jailer")]
    write_profile(kernel.parent)
    given = {"firecracker": pair / "firecracker", "jailer": pair / "jailer", "kernel": kernel}
    return [*SLOW, "--isolation", "firecracker", *(word for name, path in given.items() for word in (f"--{name}", str(path)))]


def jails(server: Server) -> list[Path]:
    """The jails there are, one for each machine."""
    return sorted((server.data_dir / "run" / "jails").glob("*/*/root"))


def machine_pid(jail: Path) -> int:
    return int((jail / "firecracker.pid").read_text())
