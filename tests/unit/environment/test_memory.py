"""When the memory of an environment is read: not at every invocation, but whenever it may have grown much."""

from typing import Any, cast

from hanabi.contracts.sandbox import Sandbox
from hanabi.environment.memory import MIB, READ_AFTER_US, MemoryUse


class Cgroup:
    """A sandbox that counts how often it is asked."""

    def __init__(self) -> None:
        self.readings = 0
        self.gone = False

    def peak_memory(self) -> int:
        if self.gone:
            raise OSError(19, "No such device")
        self.readings += 1
        return self.readings * MIB

    def reset_peak(self) -> None: ...

    def oom_kills(self) -> int:
        return 0


def test_it_is_read_once_for_a_millisecond_of_running_time() -> None:
    cgroup = Cgroup()
    memory = MemoryUse(cast(Sandbox, cast(Any, cgroup)))
    for _ in range(100):
        memory.ran(READ_AFTER_US // 10)
    assert cgroup.readings == 10 and memory.reported_mb(128) == 10
    memory.ran(READ_AFTER_US)
    assert cgroup.readings == 11
    memory.ran(READ_AFTER_US - 1)
    memory.read()
    memory.ran(1)
    assert cgroup.readings == 12


def test_what_was_read_last_stays_when_the_sandbox_has_gone() -> None:
    cgroup = Cgroup()
    memory = MemoryUse(cast(Sandbox, cast(Any, cgroup)))
    memory.read()
    cgroup.gone = True
    memory.ran(READ_AFTER_US)
    assert memory.reported_mb(128) == 1
