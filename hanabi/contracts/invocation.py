"""Invocations, their outcomes and results, and the protocols that run or queue them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from hanabi.contracts.body import Body, ByteStream
from hanabi.contracts.functions import Route
from hanabi.contracts.journal import LogEvent, Record

OnStream = Callable[[ByteStream, str], None]
"""Called once, when an answer begins that comes in pieces, with its content type. It does not raise."""


@dataclass(slots=True, kw_only=True)
class Invocation:
    """One request to run a function, as the environment gets it."""

    request_id: str
    route: Route
    payload: bytes
    client_context: str = ""  # JSON text, already base64-decoded
    trace: str = ""  # X-Amzn-Trace-Id
    tail: bool = False  # LogType=Tail
    source: str = "sync"  # "sync" | "event" | "url"
    attempt: int = 1  # of an event: how often its function was, or is, run for it
    deadline_ms: int = 0  # Unix ms, set when the environment gets it
    on_stream: OnStream | None = None  # takes an answer that comes in pieces; without it the answer is collected
    streamed_bytes: int = 0  # of such an answer, so far


@dataclass(slots=True)
class Outcome:
    """The complete outcome of an init or an invocation in its environment. Times in microseconds."""

    payload: Body  # the answer, or the error as JSON
    status: str  # "success" | "error" | "timeout"
    error_type: str | None = None
    message: str | None = None  # of an error that Lambda words itself: the runtime had no chance to
    reusable: bool = False  # the environment may serve the next invocation as it is
    undelivered: bool = False  # the runtime never had the invocation: another environment may run it
    aborted: bool = False  # ended because the server stops
    duration_us: int = 0  # an init that was run again within the invocation, and what extensions did after the answer, included
    extensions_us: int | None = None  # of it, after the runtime's answer; None: no extension was told of the invocation
    pending: bool = False  # the answer alone: extensions still work on the invocation, and its complete outcome follows
    init_us: int | None = None  # of a cold start, reported by its first invocation alone
    restore_us: tuple[int, int] | None = None  # (restore, its hooks) of a cold start from a snapshot, likewise
    max_memory_mb: int = 0
    environment: str = ""
    stream: str = ""  # of its log
    started: bool = False  # the START line is in the log, or in `events`, or before them at `start_ms`
    start_ms: int | None = None  # when the START line was, which is to be written before `events`
    events: list[LogEvent] = field(default_factory=list)  # log events not yet written
    on_record: Callable[[Record], None] | None = None  # called when it has been recorded
    tail: bytes = b""  # the end of what has been written already, where the invocation asks for its log


OnEnd = Callable[[Outcome], None]
"""Called once, before that perhaps with a `pending` outcome; from the event loop, perhaps before the call that it was given to returns.
It does not raise."""


@dataclass(slots=True, kw_only=True)
class Result:
    """The caller's result. `function_error` is None or "Unhandled"."""

    payload: Body  # a stream is taken as the function makes it, and closed
    function_error: str | None
    version: str
    log_tail: bytes  # last 4 KB of this invocation's log when asked for, else empty
    record: Record


OnResult = Callable[[Result | Exception], None]
"""Called once with the result, or with what `Invoker.invoke` would raise; perhaps before `Invoker.start` returns. It does not raise."""


class StreamedResult(ByteStream, Protocol):
    """An answer in pieces, as the function makes them. It ends early, without an error, when the function fails: see `end`.

    The function goes on when its reader stops.
    """

    content_type: str

    async def end(self) -> Result:
        """Wait for the end of the invocation; the result's payload is an error, or empty. Raises as `Invoker.invoke`."""


class Cancellable(Protocol):
    def cancel(self) -> object: ...


class Invoker(Protocol):
    """The invoker: runs one invocation to its result (admission, environment, run, record).

    A failing function is not an exception: it is a Result with `function_error`.
    """

    def start(self, invocation: Invocation, on_end: OnResult) -> Cancellable:
        """Start an invocation. Cancelling the returned handle ends it at once; `on_end` is then not called."""

    async def invoke(self, invocation: Invocation) -> Result:
        """Run an invocation and wait for its result. Raises `TooManyRequests` and other errors of `hanabi.errors`."""

    async def stream(self, invocation: Invocation) -> StreamedResult:
        """Run an invocation until its answer begins. A whole answer is one piece. Raises as `invoke` what was known before that."""


class EventQueue(Protocol):
    """The durable queue of asynchronous invocations."""

    async def put(self, route: Route, payload: bytes, *, request_id: str, client_context: str, trace: str, qualifier: str | None) -> None:
        """Queue an event. It is committed to disk when the call returns: a 202 may be sent."""
