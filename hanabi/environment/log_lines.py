"""The output of an environment's processes: bytes from a pipe made into bounded, timestamped log events."""

import array
import asyncio
import fcntl
import os
import termios
from collections.abc import Callable

from hanabi.base.clock import Clock
from hanabi.contracts.journal import LogEvent
from hanabi.environment.log_frames import FRAME_MARK, LogFrameReader
from hanabi.quotas import FUNCTION_LOG_LINE_BYTES

READ_BYTES = 16 * 1024  # this many empty lines take some milliseconds of the loop
BURST_READS = 4  # reads in one turn of the loop
PAUSE_S = 0.01  # at least, after a full burst: the pipe fills and the printer waits
LOOP_SHARE = 0.2  # share of the loop's time, for all environments that print more than a burst at once
RATE_BYTES_PER_S = 32 * 1024 * 1024  # bytes a second, for the same: the index has to keep up


class OutputThrottle:
    """A throttle shared by all environments of a node: one that floods waits until the loop has served others."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def pause(self, now: float, spent_s: float, size: int) -> float:
        """Return how long to wait after a burst of this duration."""
        self._free_at = max(self._free_at, now) + max(spent_s / LOOP_SHARE, size / RATE_BYTES_PER_S)
        return max(PAUSE_S, self._free_at - now)


class OutputReader:
    """Reads the log pipe of one sandbox and passes complete lines to `sink` as they come."""

    def __init__(self, fd: int, clock: Clock, output_throttle: OutputThrottle, sink: Callable[[list[LogEvent]], None]) -> None:
        self._fd = fd
        self._clock = clock
        self._throttle = output_throttle
        self._sink = sink
        self._partial = b""
        self._frames = LogFrameReader()
        self._reading = False
        self._closed = False
        self._size = array.array("i", (0,))
        self._resume()

    def drain(self) -> int:
        """Read what has been printed so far, at most one burst; returns how many bytes are left. Called when an invocation ends."""
        if self._left() == 0:
            return 0
        for _ in range(BURST_READS):
            if not self._read():
                return 0
        return self._left()

    def _left(self) -> int:
        """Return how many bytes can be read. Usually none, and asking is cheaper than a failing read."""
        if self._closed:
            return 0
        try:
            fcntl.ioctl(self._fd, termios.FIONREAD, self._size)
        except OSError:
            return 0
        return self._size[0]

    async def read_more(self, size: int) -> None:
        """Read this many bytes more, in bursts: a microVM's connection or an enlarged pipe holds more than one burst."""
        while size > 0 and not self._closed:
            began = self._clock.monotonic()
            for _ in range(BURST_READS):
                self._read()
            size -= BURST_READS * READ_BYTES
            now = self._clock.monotonic()
            if size > 0:
                await self._clock.sleep(self._throttle.pause(now, now - began, BURST_READS * READ_BYTES))

    def close(self) -> None:
        """Read the rest, an unfinished last line included. The sandbox keeps the descriptor."""
        if self._closed:
            return
        self.drain()
        self._closed = True
        self._pause()
        self.flush_partial()

    def flush_partial(self) -> None:
        """Make an event of an unfinished line, so that output is logged with its own invocation."""
        if self._frames.inside:
            self._sink_texts(self._frames.end())
        if self._partial:
            partial, self._partial = self._partial, b""
            self._sink([self._event(partial)])

    def _read(self) -> bool:
        if self._closed:
            return False
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._pause()
            return False
        full = len(data) == READ_BYTES
        data = self._partial + data
        if self._frames.inside or FRAME_MARK in data:
            self._partial, texts = self._frames.read(data)
            self._sink_texts(texts)
            return full
        # The rest of a line that is too long is another event.
        if len(data) > FUNCTION_LOG_LINE_BYTES and data.find(b"\n", 0, FUNCTION_LOG_LINE_BYTES + 1) < 0:
            self._sink([self._event(data[:FUNCTION_LOG_LINE_BYTES])])
            data = data[FUNCTION_LOG_LINE_BYTES:]
        end = data.rfind(b"\n") + 1
        self._partial = data[end:]
        if end:
            self._sink(self._split(data[: end - 1]))
        return full

    def _sink_texts(self, texts: list[bytes]) -> None:
        """Pass on whole records, each of which may have several lines."""
        now_ms = int(self._clock.time() * 1000)
        if events := [(now_ms, part.decode("utf-8", "replace")) for text in texts for part in _parts(text) if part]:
            self._sink(events)

    def _event(self, line: bytes) -> LogEvent:
        return self._split(line)[0]

    def _split(self, data: bytes) -> list[LogEvent]:
        """Split bytes into events, in one pass: there may be as many lines as bytes. An empty line is none."""
        if len(data) > FUNCTION_LOG_LINE_BYTES:
            data = b"\n".join(part for line in data.split(b"\n") for part in _parts(line))
        text = data.decode("utf-8", "replace")
        now_ms = int(self._clock.time() * 1000)
        return [(now_ms, line) for line in text.split("\n") if line]

    def _on_readable(self) -> None:
        began = self._clock.monotonic()
        for _ in range(BURST_READS):
            if not self._read():
                return
        now = self._clock.monotonic()
        self._pause()
        self._clock.call_later(self._throttle.pause(now, now - began, BURST_READS * READ_BYTES), self._resume)

    def _resume(self) -> None:
        if not self._closed and not self._reading:
            asyncio.get_running_loop().add_reader(self._fd, self._on_readable)
            self._reading = True

    def _pause(self) -> None:
        if self._reading:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._reading = False


def _parts(line: bytes) -> list[bytes]:
    """Split a line too long for one event."""
    if len(line) <= FUNCTION_LOG_LINE_BYTES:
        return [line]
    return [line[at : at + FUNCTION_LOG_LINE_BYTES] for at in range(0, len(line), FUNCTION_LOG_LINE_BYTES)]
