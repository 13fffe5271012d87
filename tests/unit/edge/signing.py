"""Requests signed by botocore, as `HttpRequest`s."""

import hashlib
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from hanabi.contracts.http import HttpRequest


def sign(
    key: Any,
    method: str = "POST",
    url: str = "http://127.0.0.1:9555/2015-03-31/functions/f/invocations",
    body: bytes = b"{}",
    *,
    service: str = "lambda",
    region: str = "us-east-1",
    headers: dict[str, str] | None = None,
    presign: int | None = None,
    token: str | None = None,
) -> HttpRequest:
    request = AWSRequest(method, url, data=body, headers=headers or {})
    credentials = Credentials(key.access_key, key.secret_key, token if token is not None else key.session_token or None)
    auth = SigV4Auth(credentials, service, region) if presign is None else SigV4QueryAuth(credentials, service, region, expires=presign)
    auth.add_auth(request)
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    sent = [("host", parts.netloc)] + [
        (name.lower(), value if isinstance(value, str) else value.decode()) for name, value in prepared.headers.items()
    ]
    sent = [(name, value) for name, value in sent if name != "content-length"]
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    return HttpRequest(method, target, parts.path, parts.query, sent, body, "127.0.0.1")


def change(request: HttpRequest, name: str, value: str | None) -> HttpRequest:
    """The request with a header replaced, added or (None) removed."""
    headers = [(key, text) for key, text in request.headers if key != name] + ([] if value is None else [(name, value)])
    return HttpRequest(request.method, request.target, request.path, request.query, headers, request.body, request.peer)


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
