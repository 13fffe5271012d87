"""The peak memory of an environment, as reported, and whether it went over the limit."""

from hanabi.contracts.sandbox import Sandbox

MIB = 1024 * 1024
READ_AFTER_US = 1000  # of the environment's running time: in less a process touches a few MB at most, and the next reading shows them


class MemoryUse:
    """The memory use. After the sandbox has ended, the last value read."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._peak = 0  # bytes
        self._kills = 0  # by the memory cap, that have been told
        self._exceeded = False
        self._unread_us = 0  # that it ran since it was last read

    def begin(self) -> None:
        """Reset the peak: an init begins."""
        self._sandbox.reset_peak()
        self._peak, self._exceeded = 0, False

    def read(self) -> None:
        self._unread_us = 0
        try:
            self._peak = self._sandbox.peak_memory()
        except OSError:
            pass  # its cgroup has gone with it: what was read last stays

    def ran(self, duration_us: int) -> None:
        """Read the peak after a successful invocation, if enough time has passed for it to change."""
        self._unread_us += duration_us
        if self._unread_us >= READ_AFTER_US:
            self.read()

    def was_exceeded(self) -> bool:
        """Whether the limit has killed a process since this was last true."""
        try:
            kills = self._sandbox.oom_kills()
        except OSError:  # its cgroup has gone with it
            return False
        if kills > self._kills:
            self._kills, self._exceeded = kills, True
        return self._exceeded

    def reported_mb(self, size_mb: int) -> int:
        return size_mb if self._exceeded else min(size_mb, max(1, -(-self._peak // MIB)))
