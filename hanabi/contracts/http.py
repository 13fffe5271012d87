"""HTTP requests and responses as the rooms hand them on."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class HttpRequest:
    """A parsed HTTP/1.1 request, body whole. Header names are lower-case, in order, duplicates kept."""

    method: str
    target: str  # as on the request line: raw path + "?" + raw query
    path: str  # raw (still percent-encoded) path
    query: str  # raw query, no "?"
    headers: list[tuple[str, str]]
    body: bytes | Path  # a Path (a spooled file the server deletes after the response) when over 1 MiB and the route allows
    peer: str = ""  # remote IP, "" for sockets from inside
    trailers: Sequence[tuple[str, str]] = ()  # as headers, but after a chunked body
    verified: bool = False  # its signature holds: set by who verified it, for the server, which makes room for such clients
    operation: str = ""  # for the access log, set by who knows: "lambda:Invoke"
    caller: str = ""  # likewise: an ARN, or the id of a function URL

    def header(self, name: str, default: str = "") -> str:
        for key, value in self.headers:
            if key == name:
                return value
        return default


@dataclass(slots=True)
class HttpResponse:
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""


HttpHandler = Callable[[HttpRequest], Awaitable[HttpResponse]]
