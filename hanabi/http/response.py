"""Responses as bytes."""

from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus

from hanabi.base.clock import Clock
from hanabi.contracts.http import HttpRequest, HttpResponse

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
# The server's own business; a handler's are dropped.
_OWN_HEADERS = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "date", "trailer", "upgrade"})
_forms: dict[tuple[str, ...], str] = {}  # "x-a: %s\r\nx-b: %s\r\n" by names none of which is the server's own or cannot be sent
_FORMS_MAX = 1024
_FORM_CHARS = 512  # of a form that is kept
_BODILESS = frozenset({204, 304})
JOIN_BYTES = 64 * 1024  # up to here head and body leave in one write; beyond, the copy costs more than a second write

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def plain(status: int, message: str) -> HttpResponse:
    """Make an answer of the server itself, to a malformed request."""
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
    """The bytes of a whole response, in as few pieces as is cheap. Raises ValueError for a header or status that cannot be sent."""
    status, body = response.status, response.body
    assert isinstance(body, bytes)
    block = _head(response, date)
    head_only = request is not None and request.method == "HEAD"
    if status not in _BODILESS:
        declared = declared_length(response) if head_only else None
        block += f"content-length: {len(body) if declared is None else declared}\r\n"
    head = _finish(block, keep_alive, http10)
    if head_only or status in _BODILESS or not body:
        return [head]
    return [head + body] if len(body) <= JOIN_BYTES else [head, body]


def render_head(request: HttpRequest, response: HttpResponse, date: str, *, keep_alive: bool, http10: bool) -> tuple[bytes, bool]:
    """The head of a response whose body is a stream, and whether a body is to follow. Raises as `render` does."""
    block = _head(response, date)
    if response.status in _BODILESS:
        return _finish(block, keep_alive, http10), False
    length = declared_length(response)
    if length is not None:
        block += f"content-length: {length}\r\n"
    elif not http10:
        block += "transfer-encoding: chunked\r\n"
    return _finish(block, keep_alive, http10), request.method != "HEAD"


def render_trailers(trailers: Sequence[tuple[str, str]]) -> bytes:
    """Render trailers. Raises ValueError for one that cannot be sent."""
    _check("".join([name + value for name, value in trailers]))
    return _encode("".join([f"{name}: {value}\r\n" for name, value in trailers]))


def declared_length(response: HttpResponse) -> int | None:
    """Return the Content-Length that the handler set."""
    for name, value in response.headers:
        if name.lower() == "content-length" and value.isascii() and value.isdigit():
            return int(value)
    return None


def _head(response: HttpResponse, date: str) -> str:
    status = response.status
    if not 200 <= status <= 599:
        raise ValueError(f"status {status}")
    names, values = zip(*response.headers, strict=True) if response.headers else ((), ())
    form = _forms.get(names)
    lines = _lines(response.headers) if form is None or _has_break("".join(values)) else form % values
    return f"{_STATUS_LINES.get(status) or f'HTTP/1.1 {status} {_END}'}{date}{lines}"


_END = "\r\n"


def _lines(headers: list[tuple[str, str]]) -> str:
    """The lines of a handler's headers, without what is the server's own business. Raises ValueError for one that cannot be sent."""
    sent = [(name, value) for name, value in headers if name.lower() not in _OWN_HEADERS]
    _check("".join([name + value for name, value in sent]))
    form = "".join([f"{name.replace('%', '%%')}: %s\r\n" for name, _ in sent])
    if len(sent) == len(headers) and len(form) <= _FORM_CHARS:
        if len(_forms) >= _FORMS_MAX:
            _forms.clear()
        _forms[tuple([name for name, _ in headers])] = form
    return form % tuple([value for _, value in sent])


def _check(text: str) -> None:
    if _has_break(text):
        raise ValueError("a header with a line break")


def _has_break(text: str) -> bool:
    return "\n" in text or "\r" in text or "\0" in text


def _finish(block: str, keep_alive: bool, http10: bool) -> bytes:
    if not keep_alive:
        block += "connection: close\r\n"
    elif http10:
        block += "connection: keep-alive\r\n"
    return _encode(block + "\r\n")


def _encode(block: str) -> bytes:
    try:
        return block.encode("latin-1")
    except UnicodeEncodeError:
        return block.encode()
