"""HTTP requests and responses, as handlers receive and return them."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.contracts.body import Body, ByteStream


class HttpRequest:
    """A parsed HTTP/1.1 request. Header names are lower-case, in order, duplicates kept; `fields` has the first value of each.

    The body is bytes, but, where the route's body rule allows: a file that the server deletes after the response (over 1 MiB),
    or a stream (over 64 KiB, or of unknown length), of which the handler reads as much as it likes before it answers.
    """

    __slots__ = (
        "_headers",
        "account",
        "body",
        "caller",
        "cancel",
        "fields",
        "method",
        "operation",
        "path",
        "peer",
        "query",
        "region",
        "repeated",
        "target",
        "trailers",
        "verified",
    )

    def __init__(
        self,
        method: str,
        target: str,
        path: str,
        query: str,
        headers: list[tuple[str, str]] | None,
        body: bytes | Path | ByteStream,
        peer: str = "",
        fields: dict[str, str] | None = None,
    ) -> None:
        """`headers` None: they are in `fields`, and none comes more than once."""
        self.method = method
        self.target = target  # as on the request line: raw path + "?" + raw query
        self.path = path  # raw (still percent-encoded) path
        self.query = query  # raw query, no "?"
        self.repeated = False  # a name comes more than once
        if fields is None:
            fields = dict(headers or ())
            if headers and len(fields) < len(headers):
                self.repeated = True
                fields = dict(reversed(headers))
        self.fields = fields
        self._headers = headers
        self.body = body
        self.peer = peer  # remote IP, "" for sockets from inside
        self.trailers: Sequence[tuple[str, str]] = ()  # as headers, but after a chunked body: of a stream, there when it has ended
        self.verified = False  # its signature is valid: set by the authentication, for the server, which prefers such clients when full
        self.account = self.region = ""  # of whoever signed it, and that it is for: set with `verified`
        self.operation = ""  # for the access log, set by the handler: "lambda:Invoke"
        self.caller = ""  # likewise: an ARN, or the id of a function URL
        self.cancel: Callable[[], object] | None = None  # set by a handler that can stop; called when the client has hung up

    def header(self, name: str, default: str = "") -> str:
        return self.fields.get(name, default)

    @property
    def headers(self) -> list[tuple[str, str]]:
        return list(self.fields.items()) if self._headers is None else self._headers

    @property
    def joined(self) -> dict[str, str]:
        """Headers with one value per name: repeated names are joined by commas, in order."""
        if not self.repeated:
            return self.fields
        values: dict[str, list[str]] = {}
        for name, value in self.headers:
            values.setdefault(name, []).append(value)
        return {name: ",".join(several) for name, several in values.items()}


@dataclass(slots=True)
class HttpResponse:
    """A stream goes out with the `content-length` among the headers, or chunked without one, `trailers` after it; it is always closed.

    An error within a stream closes the connection, so that the client sees the response is incomplete.
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
