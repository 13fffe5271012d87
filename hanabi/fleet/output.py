"""What an environment's processes print: bytes from a pipe become bounded, timestamped log events."""

import asyncio
import os
from collections.abc import Callable

from hanabi.contracts import Clock, LogEvent

LINE_LIMIT = 256 * 1024  # bytes in one log event, as CloudWatch Logs
READ_SIZE = 64 * 1024
BURST = 4  # reads in one turn of the loop
PAUSE_S = 0.01  # after a full burst: the pipe fills and the printer waits, so one environment cannot hold the loop


class Output:
    """Reads the log pipe of one sandbox; hands complete lines to `sink` as they come."""

    def __init__(self, fd: int, clock: Clock, sink: Callable[[list[LogEvent]], None]) -> None:
        self._fd = fd
        self._clock = clock
        self._sink = sink
        self._partial = b""
        self._reading = False
        self._closed = False
        self._resume()

    def drain(self) -> None:
        """Take what has been printed so far, at most one burst: called when an invocation ends."""
        for _ in range(BURST):
            if not self._read():
                return

    def close(self) -> None:
        """Take the rest, and an unfinished last line with it. The descriptor stays the sandbox's."""
        if self._closed:
            return
        self.drain()
        self._closed = True
        self._pause()
        if self._partial:
            self._sink([self._event(self._partial)])
            self._partial = b""

    def flush_partial(self) -> None:
        """An unfinished line becomes an event of its own: what is printed in one invocation is logged with it."""
        if self._partial:
            partial, self._partial = self._partial, b""
            self._sink([self._event(partial)])

    def _read(self) -> bool:
        if self._closed:
            return False
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._pause()
            return False
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        if len(self._partial) > LINE_LIMIT:
            lines.append(self._partial)
            self._partial = b""
        if lines:
            self._sink([self._event(line) for line in lines])
        return len(data) == READ_SIZE

    def _event(self, line: bytes) -> LogEvent:
        # A carriage return inside a line is how a runtime keeps the lines of one event together.
        return int(self._clock.time() * 1000), line[:LINE_LIMIT].decode("utf-8", "replace").rstrip("\r").replace("\r", "\n")

    def _on_readable(self) -> None:
        for _ in range(BURST):
            if not self._read():
                return
        self._pause()
        self._clock.call_later(PAUSE_S, self._resume)

    def _resume(self) -> None:
        if not self._closed and not self._reading:
            asyncio.get_running_loop().add_reader(self._fd, self._on_readable)
            self._reading = True

    def _pause(self) -> None:
        if self._reading:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._reading = False
