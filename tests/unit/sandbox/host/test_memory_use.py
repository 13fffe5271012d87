"""What is told as the memory used: more than a cgroup counts where files are shared, less where they are only cached."""

import pytest

from hanabi.base import procfs
from hanabi.sandbox.host.controllers import MB, Cache
from hanabi.sandbox.host.memory_use import PROCESSES_MAX, STEP, PeakMemory


class Group:
    """A cgroup, and its processes by pid."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        self.cached = Cache(0, 0)
        self.processes: dict[int, procfs.ProcessMemory] = {}
        self.looks = 0
        monkeypatch.setattr(procfs, "memory_of", lambda pid: self.processes[pid])
        monkeypatch.setattr(procfs, "reset_peak", lambda pid: None)

    def peak(self) -> int:
        return self.now

    def reset_peak(self) -> None:
        self.now = 0

    def cache(self) -> Cache:
        self.looks += 1
        return self.cached

    def pids(self) -> list[int]:
        return list(self.processes)

    def run(self, pid: int, name: str, peak_mb: int, mapped_mb: int) -> None:
        self.processes[pid] = procfs.ProcessMemory(name.encode(), peak_mb * MB, mapped_mb * MB)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    return Group(monkeypatch)


def test_libraries_that_another_group_read_count(group: Group) -> None:
    peak_memory = PeakMemory(group)
    group.run(5, "node", 51, 40)
    group.now = 10 * MB
    assert peak_memory.peak() == 51 * MB
    group.now, group.cached = 70 * MB, Cache(mapped=2 * MB, unmapped=0)
    group.run(5, "node", 40, 40)  # it had more, and a child of it had yet more
    assert peak_memory.peak() == (70 + 40 - 2 + 2) * MB


def test_files_that_are_only_cached_do_not_count(group: Group) -> None:
    peak_memory = PeakMemory(group)
    group.run(5, "python", 27, 10)
    group.now, group.cached = 300 * MB, Cache(mapped=0, unmapped=280 * MB)
    assert peak_memory.peak() == 30 * MB


def test_forks_share_and_programs_add_up(group: Group) -> None:
    peak_memory = PeakMemory(group)
    for pid in range(10, 14):
        group.run(pid, "python", 27, 10)
    group.now = 30 * MB
    assert peak_memory.peak() == 40 * MB
    group.run(20, "extension", 20, 5)
    group.now = 50 * MB
    assert peak_memory.peak() == 65 * MB


def test_the_agent_is_none_of_the_functions(group: Group) -> None:
    peak_memory = PeakMemory(group)
    peak_memory.agent = 1
    group.run(1, "hanabi-init", 9, 9)
    group.run(5, "python", 27, 10)
    group.now = 10 * MB
    assert peak_memory.peak() == 27 * MB


def test_processes_are_looked_at_only_when_the_group_has_grown(group: Group) -> None:
    peak_memory = PeakMemory(group)
    peak_memory.limit = 128 * MB
    group.run(5, "python", 27, 10)
    group.now = 20 * MB
    for _ in range(100):
        assert peak_memory.peak() == 30 * MB
    group.now += STEP - 1
    assert peak_memory.peak() == 30 * MB + STEP - 1
    assert group.looks == 1
    group.now += 1
    peak_memory.peak()
    assert group.looks == 2


def test_a_group_at_its_limit_is_looked_at_each_time(group: Group) -> None:
    """It cannot grow, whatever becomes of its cache."""
    peak_memory = PeakMemory(group)
    peak_memory.limit = 128 * MB
    group.run(5, "python", 27, 0)
    group.now, group.cached = 128 * MB, Cache(0, 100 * MB)
    assert peak_memory.peak() == 28 * MB
    group.cached = Cache(0, 20 * MB)
    assert peak_memory.peak() == 108 * MB


def test_what_died_is_not_forgotten_and_what_is_reset_is(group: Group) -> None:
    peak_memory = PeakMemory(group)
    group.run(5, "node", 51, 40)
    group.now = 10 * MB
    peak_memory.peak()
    group.processes.clear()
    group.now = 30 * MB
    assert peak_memory.peak() == 70 * MB
    peak_memory.reset_peak()
    assert peak_memory.peak() == 0


def test_a_thousand_processes_cost_no_more_than_a_few(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    for pid in range(2, 1026):
        group.run(pid, f"p{pid}", 1, 0)

    def look(pid: int) -> procfs.ProcessMemory:
        looked.append(pid)
        return group.processes[pid]

    monkeypatch.setattr(procfs, "memory_of", look)
    group.now = 10 * MB
    PeakMemory(group).peak()
    assert len(looked) == PROCESSES_MAX
