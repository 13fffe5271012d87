"""The HTTP response made from a function's result: its own status, headers, cookies and body, or 200 with the result as body.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-response-payload
"""

import binascii
import json
import re
from typing import Any

from hanabi.contracts.body import Body
from hanabi.contracts.http import HttpResponse
from hanabi.frontends.function_urls.event import HOP_BY_HOP
from hanabi.http.json_size import has_too_many_values

JSON = "application/json"
STREAM = "application/octet-stream"
BODYLESS = frozenset({204, 304})

_NOT_THE_FUNCTIONS = HOP_BY_HOP | {"content-length", "x-amzn-requestid", "x-amzn-trace-id", "x-amzn-errortype"}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class MalformedResponse(Exception):
    """A result that cannot become a response."""


def make_response(payload: Body) -> HttpResponse:
    """Make the response. Raises `MalformedResponse`. A stream is passed on as it comes.

    A result with too many JSON values is not parsed: it is sent as it is, unless it may contain a status code.
    """
    if not isinstance(payload, bytes):
        return HttpResponse(200, [("content-type", STREAM)], payload)
    if has_too_many_values(payload):
        if payload.lstrip().startswith(b"{") and (b"statusCode" in payload or b"\\u" in payload):
            raise MalformedResponse("the result is an object of too many values")
        return HttpResponse(200, [("content-type", JSON)], payload)
    if bytes(8) in payload:  # a streamed answer with its prelude, to a URL that takes answers whole: sent as it is
        return HttpResponse(200, [("content-type", JSON)], payload)
    try:
        return _make(json.loads(payload))
    except (ValueError, RecursionError) as error:
        raise MalformedResponse(f"the result is not JSON, or too deep: {error}") from None


def _make(value: Any) -> HttpResponse:
    if not isinstance(value, dict) or "statusCode" not in value:
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        return HttpResponse(200, [("content-type", JSON)], text.encode("utf-8", "replace"))
    status = read_status(value["statusCode"])
    headers = read_headers(value, JSON)
    body = _body(value.get("body"), value.get("isBase64Encoded") is True)
    return HttpResponse(status, headers, b"" if status in BODYLESS else body)


def read_status(value: Any) -> int:
    """Check a status code. Raises `MalformedResponse`."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 200 <= value <= 599:
        raise MalformedResponse(f"statusCode {value!r}")
    return value


def read_headers(result: dict[str, Any], content_type: str, *, several: bool = False) -> list[tuple[str, str]]:
    """The headers of a result, cookies and a content type among them. `several`: a list is several headers of one name."""
    headers = _headers(result.get("headers"), several)
    if all(name.lower() != "content-type" for name, _ in headers):
        headers.append(("content-type", content_type))
    return headers + [("set-cookie", _header_value(cookie)) for cookie in _list(result.get("cookies"))]


def _headers(value: Any, several: bool) -> list[tuple[str, str]]:
    if value is None:
        return []
    if not isinstance(value, dict):
        raise MalformedResponse("headers are not an object")
    headers = []
    for name, content in value.items():
        if not _TOKEN.fullmatch(name):
            raise MalformedResponse(f"header name {name!r}")
        if name.lower() not in _NOT_THE_FUNCTIONS and content is not None:
            contents = content if several and isinstance(content, list) else [content]
            headers += [(name, _header_value(each)) for each in contents]
    return headers


def _header_value(value: Any) -> str:
    """Check a header value: line breaks, which would begin another header or the body, are refused."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if not isinstance(value, str) or _CONTROL.search(value):
        raise MalformedResponse(f"header value {value!r}")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise MalformedResponse(f"header value {value!r}") from None
    return value.strip()


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedResponse("cookies are not a list")
    return value


def _body(value: Any, is_base64: bool) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    if not is_base64:
        return value.encode("utf-8", "replace")
    try:
        return binascii.a2b_base64(value.encode("ascii", "replace"), strict_mode=False)
    except binascii.Error:
        raise MalformedResponse("the body is not base64") from None
