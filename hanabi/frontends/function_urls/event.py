"""The event of a function URL, made from an HTTP request: payload format 2.0.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

import base64
import json
import re
import time
from typing import Any
from urllib.parse import parse_qsl, unquote

from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.http.headers import join_repeated

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
)

_LEFT_OUT = HOP_BY_HOP | {"cookie"}
_LEFT_OUT_SIGNED = _LEFT_OUT | {"authorization"}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TEXT_TYPE = re.compile(r"text/|application/(?:[\w.+-]*\+)?(?:json|xml|javascript)\b", re.ASCII | re.IGNORECASE)
_ACCESS_KEY = re.compile(r"(?:Credential=|X-Amz-Credential=)([A-Za-z0-9]+)(?:/|%2F)")


def make_event(
    request: HttpRequest,
    body: bytes,
    *,
    url_id: str,
    host: str,
    request_id: str,
    trace: str,
    now: float,
    scheme: str,
    principal: Principal | None,
) -> bytes:
    """Make the event, as JSON. `principal` is who signed the request, None for a URL open to all."""
    headers = _headers(request, signed=principal is not None)
    headers["x-amzn-trace-id"] = trace
    headers["x-forwarded-for"] = f"{headers['x-forwarded-for']}, {request.peer}" if "x-forwarded-for" in headers else request.peer
    headers["x-forwarded-port"] = request.header("host").partition(":")[2] or ("443" if scheme == "https" else "80")
    headers["x-forwarded-proto"] = scheme
    event: dict[str, Any] = {"version": "2.0", "routeKey": "$default", "rawPath": request.path, "rawQueryString": request.query}
    cookies = [cookie for name, value in request.headers if name == "cookie" for cookie in re.split(r";\s*", value) if cookie]
    if cookies:
        event["cookies"] = cookies
    event["headers"] = headers
    if request.query:
        event["queryStringParameters"] = _query(request.query)
    context: dict[str, Any] = {"accountId": "anonymous", "apiId": url_id}
    if principal is not None:
        context |= {"accountId": principal.account, "authentication": None, "authorizer": {"iam": _iam(request, principal)}}
    event["requestContext"] = context | {
        "domainName": host,
        "domainPrefix": url_id,
        "http": {
            "method": request.method,
            "path": unquote(request.path),  # recorded on AWS: decoded once, where rawPath is as it came
            "protocol": "HTTP/1.1",
            "sourceIp": request.peer,
            "userAgent": request.header("user-agent"),
        },
        "requestId": request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": format_time(now),
        "timeEpoch": round(now * 1000),
    }
    text = _text(request, body)
    if body:
        event["body"] = base64.b64encode(body).decode() if text is None else text
    event["isBase64Encoded"] = text is None
    return json.dumps(event, separators=(",", ":")).encode()


def format_time(now: float) -> str:
    """`24/Nov/2026:10:00:00 +0000`, whatever the locale."""
    moment = time.gmtime(now)
    return f"{moment.tm_mday:02d}/{_MONTHS[moment.tm_mon - 1]}/{moment.tm_year}:{time.strftime('%H:%M:%S', moment)} +0000"


def _headers(request: HttpRequest, *, signed: bool) -> dict[str, str]:
    """Make the headers: lower case, duplicates joined by commas. Cookies have their own field; the signature is left out."""
    left_out = _LEFT_OUT_SIGNED if signed else _LEFT_OUT
    return join_repeated((name, value) for name, value in request.headers if name not in left_out)


def _query(query: str) -> dict[str, str]:
    return join_repeated(parse_qsl(query, keep_blank_values=True))


def _text(request: HttpRequest, body: bytes) -> str | None:
    """Return the body as text; None when it must be base64: not a text type, or not UTF-8."""
    if body and not _TEXT_TYPE.match(request.header("content-type")):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _iam(request: HttpRequest, principal: Principal) -> dict[str, str | None]:
    key = _ACCESS_KEY.search(request.header("authorization")) or _ACCESS_KEY.search(request.query)
    return {
        "accessKey": key[1] if key else None,
        "accountId": principal.account,
        "callerId": principal.user_id,
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": principal.arn,
        "userId": principal.user_id,
    }
