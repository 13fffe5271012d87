"""The log of one environment: output of its processes and Hanabi's own lines, written to the journal in few writes."""

import os
import time
import uuid
from functools import partial

from hanabi.base.clock import Timer
from hanabi.contracts.functions import FunctionVersion, JsonLogs
from hanabi.contracts.invocation import Invocation
from hanabi.contracts.journal import LogEvent
from hanabi.environment.log_filter import drop_below
from hanabi.environment.log_lines import OutputReader
from hanabi.environment.shared import SharedServices
from hanabi.environment.telemetry import EXTENSION, FUNCTION, EnvironmentTelemetry
from hanabi.ledger.log_tail import end_of_log
from hanabi.ledger.platform_events import PlatformEvent, is_logged, json_line
from hanabi.ledger.report import start_line

BUFFERED_EVENTS = 64  # events held back for the write that ends the invocation
FLUSH_S = 0.2  # printed lines are readable after this long, though the invocation goes on


def stream_name(version: FunctionVersion, unix_s: float) -> str:
    """Make the name of an environment's log stream. In a log group that functions may share it begins with the function's name."""
    shared = version.log_group != f"/aws/lambda/{version.name}"
    return f"{time.strftime('%Y/%m/%d', time.gmtime(unix_s))}/{version.name if shared else ''}[{version.version}]{uuid.uuid4().hex}"


class EnvironmentLog:
    """The log. `open` sets the stream; output before that is held back. `logs` is the sandbox's pipe."""

    def __init__(self, environment: str, logs: int, shared: SharedServices, telemetry: EnvironmentTelemetry) -> None:
        self.environment = environment  # its id
        self.stream = ""
        self.plain = True  # text, of which nobody but the journal is told
        self.telemetry = telemetry
        telemetry.on_subscribed = self.platform
        self._group = ""
        self._json: JsonLogs | None = None
        self._json_start = ""  # the start of the invocation under way, as it was logged
        self._shared = shared
        self._output = OutputReader(logs, shared.clock, shared.output_throttle, self._add_output)
        self._events: list[LogEvent] = []
        self._start: tuple[int, Invocation] | None = None  # a START line before `_events`, made only if it is written before the record
        self._tail: bytes | None = None  # of what has been written of an invocation that wants its log back
        self._timer: Timer | None = None
        self._extensions: dict[int, OutputReader] = {}  # by the descriptor of a pipe, which is ours

    def open(self, version: FunctionVersion, stream: str) -> None:
        self._group, self.stream, self._json = version.record_group, stream, version.json_logs
        self.telemetry.parse_json = self._json is not None
        self._see_plain()

    def begin_init(self) -> None:
        """An init begins: those that subscribe in it are told of all of it."""
        self.telemetry.begin()
        self._see_plain()

    def end_init(self) -> None:
        self.telemetry.end_init()
        self._see_plain()

    def forget_subscribers(self) -> None:
        """All processes have been killed."""
        self.telemetry.forget()
        self._see_plain()

    def _see_plain(self) -> None:
        self.plain = self._json is None and not self.telemetry.listening

    def keep_tail(self, wanted: bool) -> None:
        """Set whether the caller will ask for the tail of the log from here on."""
        self._tail = b"" if wanted else None

    def platform(self, event: PlatformEvent, text: str | None) -> None:
        """Log an event of Lambda's own. `text`: its line where logs are text, None if it has none."""
        now_ms = int(self._shared.clock.time() * 1000)
        if (line := self._line(now_ms, event, text)) is not None:
            self.add([(now_ms, line)])

    def platform_now(self, event: PlatformEvent, text: str | None) -> None:
        """As `platform`, but at once: no caller's tail includes it."""
        now_ms = int(self._shared.clock.time() * 1000)
        if (line := self._line(now_ms, event, text)) is not None:
            self._shared.journal.log(self._group, self.stream, [(now_ms, line)])

    def _line(self, now_ms: int, event: PlatformEvent, text: str | None) -> str | None:
        """Tell of an event; returns the line to log, if any."""
        self.telemetry.platform(now_ms, event)
        if self._json is None:
            return text
        return json_line(now_ms, event) if is_logged(event, self._json) else None

    def start(self, now_ms: int, invocation: Invocation) -> None:
        """Log the first line of an invocation, where it is plain."""
        if self._events:
            self._events.append(_start_event(now_ms, invocation))
        else:
            self._start = (now_ms, invocation)
        if self._timer is None:
            self._timer = self._shared.clock.call_later(FLUSH_S, self._flush_later)

    def start_event(self, now_ms: int, event: PlatformEvent, text: str) -> None:
        """As `start`, where it is not plain."""
        line = self._line(now_ms, event, text)
        self._json_start = "" if self._json is None or line is None else line
        if line is not None:
            self._events.append((now_ms, line))
            if self._timer is None:
                self._timer = self._shared.clock.call_later(FLUSH_S, self._flush_later)

    def _add_output(self, events: list[LogEvent]) -> None:
        self.telemetry.output(FUNCTION, events)
        if self._json is not None:
            events = drop_below(self._json.application, events)
        self.add(events)

    def read_extension(self, name: str, output: int) -> None:
        """Read what an extension prints from a pipe, and own the pipe from then on."""
        sink = partial(self._add_extension_output, name)
        self._extensions[output] = OutputReader(output, self._shared.clock, self._shared.output_throttle, sink)

    def _add_extension_output(self, name: str, events: list[LogEvent]) -> None:
        self.telemetry.output(EXTENSION, events)
        self.add(events)

    def close_extensions(self) -> None:
        """Read the rest of what extensions that have ended printed."""
        while self._extensions:
            output, reader = self._extensions.popitem()
            reader.close()
            os.close(output)

    def add(self, events: list[LogEvent]) -> None:
        self._events += events
        if len(self._events) > BUFFERED_EVENTS:
            self.flush()
        elif self._timer is None:
            self._timer = self._shared.clock.call_later(FLUSH_S, self._flush_later)

    def retract(self, line: str) -> bool:
        """Take back the first line of an invocation. False: it has been written already, or there is none."""
        if self._start is not None:
            self._start = None
            return True
        if self._json is not None:
            line = self._json_start
        before, self._events = self._events, [event for event in self._events if event[1] != line]
        return len(self._events) < len(before)

    def drain(self) -> int:
        """Take the output until now, for the invocation that ends. Returns the bytes left, for `read_more`."""
        if self._extensions:
            for reader in self._extensions.values():
                reader.drain()
        return self._output.drain()

    async def read_more(self, left: int) -> None:
        await self._output.read_more(left)

    async def read_printed(self) -> None:
        """Read all output printed until now."""
        if left := self._output.drain():
            await self._output.read_more(left)

    def take_events(self) -> tuple[list[LogEvent], int | None]:
        """Take the log events not yet written, and when the START line was that comes before them, if one does."""
        self._output.flush_partial()
        events, self._events = self._events, []
        start, self._start = self._start, None
        return events, None if start is None else start[0]

    @property
    def written_tail(self) -> bytes:
        """Return the last 4 KB written for an invocation that asks for its log."""
        return self._tail or b""

    def flush(self) -> None:
        """Write the log events held back."""
        if self._start is not None:
            self._events.insert(0, _start_event(*self._start))
            self._start = None
        if self._events and self._group:
            events, self._events = self._events, []
            if self._tail is not None:
                self._tail = end_of_log(self._tail, events)
            self._shared.journal.log(self._group, self.stream, events)

    def _flush_later(self) -> None:
        self._timer = None
        self.flush()

    def close(self) -> None:
        """Read and write the rest. The sandbox keeps the pipe."""
        self._output.close()
        self.close_extensions()
        self.flush()
        if self._timer is not None:
            self._timer.cancel()


def _start_event(now_ms: int, invocation: Invocation) -> LogEvent:
    return now_ms, start_line(invocation.request_id, invocation.route.version.version)
