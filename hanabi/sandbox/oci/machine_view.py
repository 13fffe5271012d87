"""A container's view of its machine: CPUs and memory as Lambda shows them for the function's size, not the host's.

The CPUs are set by CPU affinity. Files mounted over those in /proc show CPUs and memory; they are written in place when
the size is set, and do not change otherwise.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from hanabi.quotas import MEMORY_MAX_MB

# (up to so many MB, vCPUs): AWS documents the last, and 1,769 MB as the worth of one; the steps between have been measured there.
_STEPS = ((3008, 2), (5307, 3), (7076, 4), (8845, 5), (MEMORY_MAX_MB, 6))
_RUNTIME_KB = 28 * 1024  # what a runtime has taken of the memory before its function begins: about a loaded Python's
NAMES = ("meminfo", "cpuinfo", "stat")  # in /proc, of each container
SHARED = {  # in /proc, the same for all
    "swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
    "loadavg": "0.00 0.00 0.00 1/1 1\n",
}


def vcpus_for(memory_mb: int) -> int:
    """The number of CPUs that Lambda shows a function of this memory."""
    return next((vcpus for most_mb, vcpus in _STEPS if memory_mb <= most_mb), _STEPS[-1][1])


def allowed_cpus() -> set[int]:
    """The CPUs that this process may use."""
    return os.sched_getaffinity(os.getpid())


class CpuAllocator:
    """Assigns the CPUs of this process round-robin, to spread load."""

    def __init__(self, allowed: Callable[[], Iterable[int]] = allowed_cpus) -> None:
        self._allowed = allowed
        self._dealt = 0

    def take(self, memory_mb: int) -> list[int]:
        """Take the CPUs for a function of this memory, at most all."""
        cpus = sorted(self._allowed())
        count = min(vcpus_for(memory_mb), len(cpus))
        at = self._dealt % len(cpus)
        self._dealt = at + count
        return (cpus + cpus)[at : at + count]


class MachineView:
    """The machine view of one container."""

    def __init__(self, directory: Path, cpus: CpuAllocator) -> None:
        self._directory = directory
        self._processors = cpus
        self._memory_mb = 0
        self._cpus: list[int] = []

    def open(self, memory_mb: int) -> None:
        """Make the files, before the container starts."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.parent.chmod(0o711)
        self._directory.chmod(0o711)
        self._memory_mb, self._cpus = memory_mb, self._processors.take(memory_mb)
        self._write()

    @property
    def files(self) -> dict[str, Path]:
        """The files to mount over /proc/<name>."""
        return {name: self._directory / name for name in NAMES}

    def confine(self, pids: Iterable[int]) -> None:
        """Bind processes to the container's CPUs; their children inherit that."""
        for pid in pids:
            with suppress(OSError):  # it has ended
                for thread in os.listdir(f"/proc/{pid}/task"):
                    with suppress(ProcessLookupError):
                        os.sched_setaffinity(int(thread), self._cpus)

    def resize(self, memory_mb: int, pids: Callable[[], Iterable[int]]) -> None:
        """Set the function's memory size; does nothing when it is unchanged."""
        if memory_mb == self._memory_mb:
            return
        more = vcpus_for(memory_mb) != vcpus_for(self._memory_mb)
        self._memory_mb = memory_mb
        if more:
            self._cpus = self._processors.take(memory_mb)
            self.confine(pids())
        self._write()

    def _write(self) -> None:
        count = len(self._cpus)
        for name, text in zip(NAMES, (meminfo(self._memory_mb), cpuinfo(_processor(), count), stat(count)), strict=True):
            fd = os.open(self._directory / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                os.fchmod(fd, 0o644)  # whatever the umask is
                os.truncate(fd, os.write(fd, text.encode()))  # in place: a mount shows the file that it was made of
            finally:
                os.close(fd)

    def remove(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def meminfo(memory_mb: int) -> str:
    """/proc/meminfo, as of the function's start."""
    total = memory_mb * 1024
    free = total - _RUNTIME_KB
    cached = _RUNTIME_KB // 2  # the half; the other one is its own
    sizes = {"MemTotal": total, "MemFree": free, "MemAvailable": free, "Buffers": 0, "Cached": cached, "SwapCached": 0}
    sizes |= {"Active": cached, "Inactive": cached, "SwapTotal": 0, "SwapFree": 0, "Dirty": 0, "Writeback": 0, "AnonPages": cached}
    sizes |= {"Mapped": cached, "Shmem": 0, "Slab": 0, "SReclaimable": 0, "SUnreclaim": 0, "CommitLimit": total, "Committed_AS": cached}
    return "".join(f"{name + ':':<15}{size:>9} kB\n" for name, size in sizes.items())


def cpuinfo(processor: str, count: int) -> str:
    """/proc/cpuinfo with this many CPUs, in one socket."""
    told: dict[str, Callable[[int], int]] = {
        "processor": lambda index: index,
        "core id": lambda index: index,
        "apicid": lambda index: index,
        "initial apicid": lambda index: index,
        "physical id": lambda index: 0,
        "siblings": lambda index: count,
        "cpu cores": lambda index: count,
    }

    def line(text: str, index: int) -> str:
        name, colon, _ = text.partition(":")
        number = told.get(name.strip())
        return f"{name}{colon} {number(index)}" if number is not None else text

    return "".join("".join(line(each, index) + "\n" for each in processor.splitlines()) + "\n" for index in range(count))


def stat(count: int) -> str:
    """/proc/stat with idle CPUs. The boot time is the kernel's own, because process start times count from it."""
    idle = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
    cpus = [("cpu ", idle * count), *((f"cpu{index}", idle) for index in range(count))]
    lines = [f"{name} 0 0 0 {ticks} 0 0 0 0 0 0" for name, ticks in cpus]
    lines += ["intr 0", "ctxt 0", f"btime {_booted()}", "processes 1", "procs_running 1", "procs_blocked 0", "softirq 0"]
    return "\n".join(lines) + "\n"


@cache
def _processor() -> str:
    """The first CPU's entry of the host's /proc/cpuinfo. Read once: the kernel queries every CPU for it."""
    return Path("/proc/cpuinfo").read_text().partition("\n\n")[0]


@cache
def _booted() -> int:
    found = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
