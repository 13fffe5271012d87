"""Peak memory of a cgroup's processes, the figure that functions are sized by.

The group's own peak differs: it lacks file pages that another group touched first, such as runtime libraries that many
environments map, and it includes page cache that is not mapped, which the kernel reclaims when memory is scarce.
"""

from typing import Protocol

from hanabi.base import procfs
from hanabi.sandbox.host.controllers import MB, Cache

STEP = MB  # the group's peak must have grown by this much before processes are looked at again: most invocations pay for one pread
PROCESSES_MAX = 8  # looked at, some 30 us each: the oldest, the runtime first


class MeasuredMemory(Protocol):
    """The part of `controllers.Memory` that is needed here."""

    def peak(self) -> int: ...
    def reset_peak(self) -> None: ...
    def cache(self) -> Cache: ...
    def pids(self) -> list[int]: ...


class PeakMemory:
    def __init__(self, memory: MeasuredMemory) -> None:
        self.agent = 0  # its pid: it is none of the function's
        self.limit = 1 << 62  # bytes
        self._memory = memory
        self._seen = 0  # the group's peak when the processes were last looked at
        self._used = 0
        self._elsewhere = 0  # bytes that they map and another group is charged with

    def peak(self) -> int:
        """Peak memory since the last `reset_peak`, bytes."""
        peak = self._memory.peak()
        # At its limit the group's peak grows no more, whatever part of it is cache.
        if peak - self._seen >= STEP or peak + STEP >= self.limit:
            self._look(peak)
        return self._used + max(0, peak - self._seen)

    def reset_peak(self) -> None:
        self._memory.reset_peak()
        for pid in self._processes():
            procfs.reset_peak(pid)
        self._seen = self._used = self._elsewhere = 0

    def _look(self, peak: int) -> None:
        cache = self._memory.cache()
        # Of processes that run the same program, forks most likely, the largest counts: they share what another sum would count twice.
        resident: dict[bytes, int] = {}
        mapped: dict[bytes, int] = {}
        for each in map(procfs.memory_of, self._processes()):
            resident[each.name] = max(each.peak, resident.get(each.name, 0))
            mapped[each.name] = max(each.mapped, mapped.get(each.name, 0))
        self._elsewhere = max(self._elsewhere, sum(mapped.values()) - cache.mapped)
        self._used = max(self._used, sum(resident.values()), peak - cache.unmapped + self._elsewhere)
        self._seen = peak

    def _processes(self) -> list[int]:
        return [pid for pid in self._memory.pids() if pid != self.agent][:PROCESSES_MAX]
