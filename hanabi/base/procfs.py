"""Process figures from /proc, for the driver without cgroups. A process that has ended counts as nothing."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
_PEAK = re.compile(rb"^VmHWM:\s*(\d+) kB", re.MULTILINE)
_MAPPED = re.compile(rb"^Rss(?:File|Shmem):\s*(\d+) kB", re.MULTILINE)


class ProcessMemory(NamedTuple):
    """Memory of one process, in bytes."""

    name: bytes  # of its program, as far as it has not named itself otherwise
    peak: int  # resident, since the last `reset_peak`
    mapped: int  # resident now, of files and shared memory


def descendants(pid: int) -> Iterator[int]:
    """All descendants of a process, without itself."""
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in _read(f"{pid}/task/{thread}/children").split():
                yield int(child)
                yield from descendants(int(child))


def peak_memory(pid: int) -> int:
    """Peak memory since the last `reset_peak`, bytes."""
    return memory_of(pid).peak


def memory_of(pid: int) -> ProcessMemory:
    status = _read(f"{pid}/status")
    peak = _PEAK.search(status)
    mapped = sum(map(int, _MAPPED.findall(status)))
    return ProcessMemory(status.partition(b"\n")[0], int(peak[1]) * 1024 if peak else 0, mapped * 1024)


def reset_peak(pid: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_bytes(b"5")


def cpu_usage(pid: int) -> int:
    """CPU time in microseconds, ended children included."""
    return sum(_times(pid)) * _TICK_US


def cpu_of_ended_children(pid: int) -> int:
    return sum(_times(pid)[2:]) * _TICK_US


def _times(pid: int) -> list[int]:
    """utime, stime, cutime, cstime: what follows the name, which may hold anything, is numbers."""
    return [int(each) for each in _read(f"{pid}/stat").rpartition(b")")[2].split()[11:15]]


def _read(name: str) -> bytes:
    try:
        fd = os.open(f"/proc/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = [os.read(fd, 65536)]
        while parts[-1]:
            parts.append(os.read(fd, 65536))
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(fd)
