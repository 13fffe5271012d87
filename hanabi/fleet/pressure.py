"""Memory pressure: how much memory this host has, how much is left, and whether it is scarce."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BUDGET_SHARE = 0.8  # of the host's memory, for environments: the rest is for this process, the kernel and the page cache
SCARCE_SHARE = 0.10  # of the memory is available: pressure begins
ENOUGH_SHARE = 0.15  # and ends
STALLED_PERCENT = 10.0  # percent of the last ten seconds that some task waited for memory (PSI): pressure begins
FLOWING_PERCENT = 5.0  # and ends
PLENTY_SHARE = 0.25  # of the memory is available: then stalled tasks wait at their own limits, and ending environments does not help
MIB = 1024 * 1024
UNLIMITED_BYTES = 1 << 60  # cgroup v1 says "no limit" by a number about as large as an address space
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """One reading of the memory."""

    total_mb: int
    available_mb: int
    stalled: float = 0.0  # percent; 0 where the kernel does not tell


@dataclass(frozen=True, slots=True)
class _Limit:
    """The memory limit of a cgroup that this process is in."""

    memory_mb: int
    usage: Path
    stat: Path
    cache: str  # the key in `stat` of unused page cache


class HostMemory:
    """The memory of this host from /proc, or of its container or service where that is limited."""

    def __init__(self, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._limit = min(_limits(proc, cgroups), key=lambda limit: limit.memory_mb, default=None)
        self.total_mb = self.read().total_mb

    @property
    def budget_mb(self) -> int:
        """The default memory budget of environments, in MB."""
        return int(self.total_mb * BUDGET_SHARE)

    def read(self) -> MemoryReading:
        """Read the memory, from two small files. Raises `OSError`."""
        values = dict(line.split(":", 1) for line in (self._proc / "meminfo").read_text().splitlines())
        total_mb, available_mb = (int(values[name].split()[0]) // 1024 for name in ("MemTotal", "MemAvailable"))
        limit = self._limit
        if limit is not None and limit.memory_mb < total_mb:
            used = int(limit.usage.read_text()) - _number(limit.stat.read_text(), limit.cache)
            total_mb, available_mb = limit.memory_mb, max(0, min(available_mb, limit.memory_mb - used // MIB))
        return MemoryReading(total_mb, available_mb, self._stalled())

    def _stalled(self) -> float:
        try:
            first = (self._proc / "pressure" / "memory").read_text().splitlines()[0]  # some avg10=0.00 avg60=...
            return float(first.split()[1].removeprefix("avg10="))
        except (OSError, IndexError, ValueError):
            return 0.0


class Pressure:
    """The pressure state, sampled at intervals. Between the thresholds it does not change. Each episode is logged once, with its reason."""

    def __init__(self, read: Callable[[], MemoryReading]) -> None:
        self._read = read
        self.high = False

    def sample(self) -> bool:
        """Take a sample; return whether memory is scarce."""
        try:
            now = self._read()
        except (OSError, ValueError, KeyError):
            now = MemoryReading(1, 1)  # who cannot tell does not alarm
        plenty = now.available_mb >= PLENTY_SHARE * now.total_mb
        scarce = now.available_mb < SCARCE_SHARE * now.total_mb
        if not self.high and (scarce or (now.stalled >= STALLED_PERCENT and not plenty)):
            self.high = True
            what = "memory is scarce" if scarce else f"tasks waited for memory {now.stalled:.0f} % of the last ten seconds"
            log.warning("%s: %d of %d MB are available; idle environments are given up early", what, now.available_mb, now.total_mb)
        elif self.high and (plenty or (now.available_mb >= ENOUGH_SHARE * now.total_mb and now.stalled < FLOWING_PERCENT)):
            self.high = False
            log.info("memory is no longer scarce: %d of %d MB are available", now.available_mb, now.total_mb)
        return self.high


def _limits(proc: Path, cgroups: Path) -> Iterator[_Limit]:
    """Find the limits of this process's cgroups, version 1 and 2, as far as they are readable."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, names, place = line.split(":", 2)
        if number == "0":
            files = ("memory.max", "memory.current", "inactive_file")
            top = cgroups
        elif "memory" in names.split(","):
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = cgroups / "memory"
        else:
            continue
        own = top / place.lstrip("/")
        for group in (own, *own.parents):
            if not group.is_relative_to(top):
                break
            try:
                size = (group / files[0]).read_text().strip()
            except OSError:
                continue
            if size.isdecimal() and int(size) < UNLIMITED_BYTES:
                yield _Limit(int(size) // MIB, group / files[1], group / "memory.stat", files[2])


def _number(text: str, key: str) -> int:
    """Return the number after `key` in lines of `key number`."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0
