"""A microVM's configuration as data: kernel, size, drives, command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hanabi.quotas import MEMORY_MAX_MB, VCPU_MB
from hanabi.sandbox.oci.bundle_config import FUNCTION_UID, GID

MIB = 1024 * 1024
PORT = 5000  # of the agent's control channel; the others follow
GUEST_CID = 3  # each VMM is a world of its own, so all guests may have the same
GUEST_OVERHEAD_MB = 96  # a machine has this besides what its function may use: the kernel, the agent, and what is cached for them
VMM_OVERHEAD_MB = 96  # what the VMM itself may use, and the host for its sake

VSOCK = "v.sock"
KERNEL, INITRD = "kernel", "initrd"
ROOT, TASK, OPT, TMP = "root", "task", "opt", "tmp"  # drives, in this order: vda, vdb, vdc, vdd
LETTERS = {TASK: "b", OPT: "c", TMP: "d"}
TARGETS = {"/var/task": TASK, "/opt": OPT}  # where drives of a function are mounted

# Firecracker's docs/kernel-policy.md and docs/prod-host-setup.md: no serial port to flood, no keyboard to look for.
PLAIN_BOOT_ARGS = (
    "reboot=k panic=1 quiet 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd i8042.nopnp swiotlb=noforce random.trust_cpu=on"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A guest kernel, and the settings that this host needs for it."""

    image: Path
    digest: str
    initrd: Path | None = None
    boot_args: str = PLAIN_BOOT_ARGS
    cpu_template: Mapping[str, Any] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)  # added to that of every process inside: of a nested host
    timeout_factor: float = 1.0  # how many times longer than hardware takes its machines may take to answer


@dataclass(frozen=True, slots=True, kw_only=True)
class FirecrackerParts:
    """The parts that microVMs need: programs, kernel, agent."""

    firecracker: Path
    jailer: Path
    version: tuple[int, int, int]
    kernel: Kernel


@dataclass(frozen=True, slots=True)
class MachineSize:
    """A machine that functions of up to `memory_mb` fit in. A function's exact memory is enforced inside, its CPU share outside."""

    memory_mb: int
    vcpus: int

    @property
    def machine_mb(self) -> int:
        return self.memory_mb + GUEST_OVERHEAD_MB


# Few, for each has a snapshot of its own for every runtime. 1,769 MB buy one vCPU; Lambda gives up to six.
SIZES = (MachineSize(512, 1), *(MachineSize(vcpus * VCPU_MB, vcpus) for vcpus in (1, 2, 4)), MachineSize(MEMORY_MAX_MB, 6))


def size_for(memory_mb: int) -> MachineSize:
    """Choose the smallest machine for a function of this memory."""
    return next(size for size in SIZES if memory_mb <= size.memory_mb)


def boot_args(kernel: Kernel, file_system: str) -> str:
    agent = f"--vsock {PORT} --machine --uid {FUNCTION_UID} --gid {GID}"
    return f"{kernel.boot_args} rootfstype={file_system} init=/.hanabi/init -- {agent}"
