"""Cgroup controllers, version 1 and version 2 side by side: descriptors stay open, one read or write per call.

A controller is made for a directory that exists; `close` gives its descriptors back.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from hanabi.quotas import CPU_PERIOD_US

MB = 1024 * 1024
SOCKETS_PART = 4  # of the memory cap, as much again for socket buffers, where they are counted apart
LEAST_QUOTA_US = 1_000  # the kernel's


class _Files:
    """Open descriptors of one cgroup directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: list[int] = []

    def file(self, name: str, flags: int = os.O_RDWR) -> int:
        fd = os.open(self._directory / name, flags | os.O_CLOEXEC)
        self._open.append(fd)
        return fd

    def pids(self) -> list[int]:
        """The first of its processes, as pids of this namespace."""
        fd = os.open(self._directory / "cgroup.procs", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(fd, 1024)
        finally:
            os.close(fd)
        return [int(line) for line in text.rpartition(b"\n")[0].splitlines()]

    def write(self, name: str, value: str) -> None:
        fd = os.open(self._directory / name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())


def _keyed(text: bytes, key: bytes) -> int:
    """Read the number after `key` in a file of `key number` lines."""
    for line in text.splitlines():
        name, _, value = line.partition(b" ")
        if name == key:
            return int(value)
    return 0


class Cache(NamedTuple):
    """Page cache charged to a group, bytes; shared memory is in neither, unless it is mapped."""

    mapped: int
    unmapped: int


def _cache_of(text: bytes, names: tuple[bytes, bytes, bytes]) -> Cache:
    """Parse `memory.stat`; takes the names of its cached, mapped and shared fields."""
    cached, mapped, shared = (_keyed(text, name) for name in names)
    return Cache(mapped, max(0, cached - mapped - shared))


class Memory(Protocol):
    def limit(self, memory_mb: int) -> None: ...
    def peak(self) -> int: ...
    def reset_peak(self) -> None: ...
    def cache(self) -> Cache: ...
    def pids(self) -> list[int]: ...
    def oom_kills(self) -> int: ...
    def reclaim(self) -> None:
        """Reclaim page cache, which processes do not notice; blocks for some milliseconds."""

    def close(self) -> None: ...


class MemoryV1(_Files):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._peak = self.file("memory.max_usage_in_bytes")
        self._oom = self.file("memory.oom_control", os.O_RDONLY)
        self._stat = self.file("memory.stat", os.O_RDONLY)
        self._swap = (directory / "memory.memsw.limit_in_bytes").exists()
        self._sockets = (directory / "memory.kmem.tcp.limit_in_bytes").exists()
        self._limit = 1 << 62

    def limit(self, memory_mb: int) -> None:
        size = memory_mb * MB
        names = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] if self._swap else ["memory.limit_in_bytes"]
        # Memory plus swap may at no time be less than memory.
        for name in names if size < self._limit else reversed(names):
            self.write(name, str(size))
        if self._sockets:  # version 2 counts the buffers of sockets with the rest; here they would have no bound but the host's own
            self.write("memory.kmem.tcp.limit_in_bytes", str(size // SOCKETS_PART))
        self._limit = size

    def peak(self) -> int:
        return int(os.pread(self._peak, 32, 0))

    def reset_peak(self) -> None:
        os.pwrite(self._peak, b"0", 0)

    def cache(self) -> Cache:
        return _cache_of(os.pread(self._stat, 8192, 0), (b"cache", b"mapped_file", b"shmem"))

    def oom_kills(self) -> int:
        return _keyed(os.pread(self._oom, 256, 0), b"oom_kill")

    def reclaim(self) -> None:
        """Does nothing. What version 1 has is `force_empty`, made for groups without processes: it retries until all is gone and
        swaps; and a lowered limit, which kills whoever is thawed meanwhile. The kernel takes the cache by itself when memory is scarce.
        """


class MemoryV2(_Files):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._events = self.file("memory.events", os.O_RDONLY)
        self._stat = self.file("memory.stat", os.O_RDONLY)
        self._peak = self._peak_file()
        with suppress(OSError):  # a kernel without swap accounting
            self.write("memory.swap.max", "0")

    def _peak_file(self) -> int:
        """`memory.peak`, which can be reset since Linux 6.12; before 5.19 what is used at the moment of asking."""
        with suppress(OSError):
            fd = self.file("memory.peak")
            os.pwrite(fd, b"1", 0)
            return fd
        with suppress(FileNotFoundError):
            return self.file("memory.peak", os.O_RDONLY)
        return self.file("memory.current", os.O_RDONLY)

    def limit(self, memory_mb: int) -> None:
        self.write("memory.max", str(memory_mb * MB))

    def peak(self) -> int:
        return int(os.pread(self._peak, 32, 0))

    def reset_peak(self) -> None:
        with suppress(OSError):
            os.pwrite(self._peak, b"1", 0)

    def cache(self) -> Cache:
        return _cache_of(os.pread(self._stat, 8192, 0), (b"file", b"file_mapped", b"shmem"))

    def oom_kills(self) -> int:
        return _keyed(os.pread(self._events, 512, 0), b"oom_kill")

    def reclaim(self) -> None:
        """Linux 5.19 and later. Swap is off for the group, so that only cache can go: EAGAIN says that not all of it could."""
        with suppress(OSError):
            self.write("memory.reclaim", (self._directory / "memory.current").read_text().strip())


class Cpu(Protocol):
    def limit(self, vcpus: float | None) -> None: ...
    def yield_to_others(self, on: bool) -> None:
        """Set whether it runs only when no sibling cgroup wants the CPU."""

    def close(self) -> None: ...


class _Cpu(_Files):
    weight: tuple[str, str, str]  # (file, the least, the usual): for kernels before 5.15, which have no `cpu.idle`

    def yield_to_others(self, on: bool) -> None:
        try:
            self.write("cpu.idle", "1" if on else "0")
        except FileNotFoundError:
            file, least, usual = self.weight
            self.write(file, least if on else usual)


class CpuV1(_Cpu):
    weight = ("cpu.shares", "2", "1024")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._quota = self.file("cpu.cfs_quota_us", os.O_WRONLY)
        self.write("cpu.cfs_period_us", str(CPU_PERIOD_US))

    def limit(self, vcpus: float | None) -> None:
        os.pwrite(self._quota, b"-1" if vcpus is None else str(_quota(vcpus)).encode(), 0)


class CpuV2(_Cpu):
    weight = ("cpu.weight", "1", "100")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._max = self.file("cpu.max", os.O_WRONLY)

    def limit(self, vcpus: float | None) -> None:
        os.pwrite(self._max, f"{'max' if vcpus is None else _quota(vcpus)} {CPU_PERIOD_US}".encode(), 0)


def _quota(vcpus: float) -> int:
    return max(LEAST_QUOTA_US, round(vcpus * CPU_PERIOD_US))


class CpuUsage(Protocol):
    def microseconds(self) -> int: ...
    def close(self) -> None: ...


class CpuUsageV1(_Files):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._usage = self.file("cpuacct.usage", os.O_RDONLY)

    def microseconds(self) -> int:
        return int(os.pread(self._usage, 32, 0)) // 1000


class CpuUsageV2(_Files):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._stat = self.file("cpu.stat", os.O_RDONLY)

    def microseconds(self) -> int:
        return _keyed(os.pread(self._stat, 512, 0), b"usage_usec")


class FreezerController(Protocol):
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def frozen(self) -> bool:
        """Whether every task is frozen."""

    def close(self) -> None: ...


class FreezerV1(_Files):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._state = self.file("freezer.state")

    def freeze(self) -> None:
        os.pwrite(self._state, b"FROZEN", 0)

    def thaw(self) -> None:
        os.pwrite(self._state, b"THAWED", 0)

    def frozen(self) -> bool:
        return os.pread(self._state, 32, 0).strip() == b"FROZEN"


class FreezerV2(_Files):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._freeze = self.file("cgroup.freeze", os.O_WRONLY)
        self._events = self.file("cgroup.events", os.O_RDONLY)

    def freeze(self) -> None:
        os.pwrite(self._freeze, b"1", 0)

    def thaw(self) -> None:
        os.pwrite(self._freeze, b"0", 0)

    def frozen(self) -> bool:
        return _keyed(os.pread(self._events, 128, 0), b"frozen") == 1
