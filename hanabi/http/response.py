"""Responses as bytes."""

from email.utils import formatdate
from http import HTTPStatus
from typing import cast

from hanabi.base.clock import Clock
from hanabi.contracts.http import HttpRequest, HttpResponse

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
# The server's own business; a handler's are dropped.
_OWN_HEADERS = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "date", "trailer", "upgrade"})
_BODILESS = frozenset({204, 304})
JOIN_BYTES = 64 * 1024  # up to here head and body leave in one write; beyond, the copy costs more than a second write

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def plain(status: int, message: str) -> HttpResponse:
    """An answer of the server itself, to a client that is not speaking properly."""
    return HttpResponse(status, [("content-type", "text/plain; charset=utf-8")], f"{message}\n".encode())


class DateHeader:
    """The `date` header, formatted once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._line = ""

    def line(self) -> str:
        second = int(self._clock.time())
        if second != self._second:
            self._second = second
            self._line = f"date: {formatdate(second, usegmt=True)}\r\n"
        return self._line


def render(request: HttpRequest | None, response: HttpResponse, date: str, *, keep_alive: bool, http10: bool = False) -> list[bytes]:
    """The bytes to write, in as few pieces as is cheap. Raises ValueError for a header or status that cannot be sent."""
    status, body = response.status, cast(bytes, response.body)
    if not 200 <= status <= 599:
        raise ValueError(f"status {status}")
    head_only = request is not None and request.method == "HEAD"
    declared = ""
    lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n", date]
    for name, value in response.headers:
        if name.lower() not in _OWN_HEADERS:
            lines.append(f"{name}: {value}\r\n")
        elif head_only and name.lower() == "content-length" and value.isascii() and value.isdigit():
            declared = value
    block = "".join(lines)
    if block.count("\n") != len(lines) or block.count("\r") != len(lines) or "\0" in block:
        raise ValueError("a header with a line break")
    if status not in _BODILESS:
        block += f"content-length: {declared or len(body)}\r\n"
    if not keep_alive:
        block += "connection: close\r\n"
    elif http10:
        block += "connection: keep-alive\r\n"
    try:
        head = (block + "\r\n").encode("latin-1")
    except UnicodeEncodeError:
        head = (block + "\r\n").encode()
    if head_only or status in _BODILESS or not body:
        return [head]
    return [head + body] if len(body) <= JOIN_BYTES else [head, body]
