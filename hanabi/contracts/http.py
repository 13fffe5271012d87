"""HTTP requests and responses as the rooms hand them on."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.contracts.body import Body, ByteStream


@dataclass(slots=True)
class HttpRequest:
    """A parsed HTTP/1.1 request. Header names are lower-case, in order, duplicates kept.

    The body is bytes, but, where the route's body rule allows: a file that the server deletes after the response (over 1 MiB),
    or a stream (over 64 KiB, or of unknown length), of which the handler reads as much as it likes.
    """

    method: str
    target: str  # as on the request line: raw path + "?" + raw query
    path: str  # raw (still percent-encoded) path
    query: str  # raw query, no "?"
    headers: list[tuple[str, str]]
    body: bytes | Path | ByteStream
    peer: str = ""  # remote IP, "" for sockets from inside
    trailers: Sequence[tuple[str, str]] = ()  # as headers, but after a chunked body: of a stream, there when it has ended
    verified: bool = False  # its signature holds: set by who verified it, for the server, which makes room for such clients
    operation: str = ""  # for the access log, set by who knows: "lambda:Invoke"
    caller: str = ""  # likewise: an ARN, or the id of a function URL
    cancel: Callable[[], object] | None = None  # set by a handler that can stop: called when nobody waits for its answer any more

    def header(self, name: str, default: str = "") -> str:
        for key, value in self.headers:
            if key == name:
                return value
        return default


@dataclass(slots=True)
class HttpResponse:
    """A stream goes out with the `content-length` among the headers, or chunked without one, `trailers` after it; it is always closed.

    An error in the middle of it cuts the connection, so that the client sees that something is missing.
    """

    status: int
    headers: list[tuple[str, str]]
    body: Body = b""
    trailers: Callable[[], Sequence[tuple[str, str]]] | None = None  # asked at the end of a stream


NO_ANSWER = HttpResponse(0, [])  # instead of an answer: cut the connection

Answer = Callable[[HttpResponse], None]
# Begins to handle a request, and calls `Answer` exactly once, now or later. What it raises becomes a 500.
HttpHandler = Callable[[HttpRequest, Answer], None]
# The other shape of a handler: `hanabi.http.handlers.in_task` makes an `HttpHandler` of it.
AsyncHttpHandler = Callable[[HttpRequest], Coroutine[Any, Any, HttpResponse]]
