"""One invocation: what a caller asks for, what it gets, and who runs it, now or later."""

from dataclasses import dataclass
from typing import Protocol

from hanabi.contracts.functions import Route
from hanabi.contracts.journal import Record


@dataclass(slots=True, kw_only=True)
class Invocation:
    """One request to run a function: what the environment is handed."""

    request_id: str
    route: Route
    payload: bytes
    client_context: str = ""  # JSON text, already base64-decoded
    trace: str = ""  # X-Amzn-Trace-Id
    tail: bool = False  # LogType=Tail
    source: str = "sync"  # "sync" | "event" | "url"
    attempt: int = 1  # of an event: how often its function was, or is, run for it
    deadline_ms: int = 0  # Unix ms, set when the environment gets it


@dataclass(slots=True, kw_only=True)
class Result:
    """What the caller gets. `function_error` is None or "Unhandled"."""

    payload: bytes
    function_error: str | None
    version: str
    log_tail: bytes  # last 4 KB of this invocation's log when asked for, else empty
    record: Record


class Invoker(Protocol):
    """Runs one invocation to its result."""

    async def invoke(self, invocation: Invocation) -> Result:
        """Admission, environment, run, record. Raises `TooManyRequests` and other errors of `hanabi.errors`.

        A failing function is not an exception: it is a Result with `function_error`.
        """


class EventQueue(Protocol):
    """Durable asynchronous invocations."""

    async def put(self, route: Route, payload: bytes, *, request_id: str, client_context: str, trace: str, qualifier: str | None) -> None:
        """Returns when the event is committed to disk: a 202 may be sent."""
