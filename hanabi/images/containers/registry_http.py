"""HTTP for the registry client: one request at a time, explicit redirects, no secret to another host, every wait bounded.

https always; plain http only to a loopback address, or to a registry listed as plain, and never by a redirect from https.
"""

import ssl
from collections.abc import Collection, Mapping
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import Any
from urllib.error import URLError
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from hanabi.errors import ImageError

TIMEOUT_S = 30.0  # to connect, and between two blocks of an answer
REDIRECTS = 5
URL_LIMIT_CHARS = 16 << 10  # characters; signed addresses of blobs are long
AGENT = "hanabi"

_MOVED = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Whether a name or address (without port) is loopback."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Transport:
    """The HTTP transport. `plain`: registries (host, or host:port) without TLS."""

    def __init__(self, plain: Collection[str] = ()) -> None:
        self._plain = frozenset(plain)
        self._direct, self._proxied = OpenerDirector(), OpenerDirector()  # only these schemes: no file, no ftp, no data
        for opener in (self._direct, self._proxied):
            for handler in (HTTPHandler(), HTTPSHandler(context=ssl.create_default_context())):
                opener.add_handler(handler)
        self._proxied.add_handler(ProxyHandler())

    def base(self, host: str) -> str:
        """The address of a registry."""
        return f"{'http' if self._may_be_plain(urlsplit(f'//{host}')) else 'https'}://{host}"

    def open(self, url: str, headers: Mapping[str, str], authorization: str = "", body: bytes | None = None) -> HTTPResponse:
        """Send a request and follow redirects; returns the answer of any status, which the caller closes. Raises `ImageError`."""
        for _ in range(REDIRECTS + 1):
            self._check(url)
            request = Request(url, data=body, headers={"User-Agent": AGENT, **headers})
            if authorization:
                request.add_unredirected_header("Authorization", authorization)
            response = self._send(request)
            target = response.headers.get("Location")
            if response.status not in _MOVED or target is None:
                return response
            response.close()
            url, previous = _join(url, target), url
            if _origin(url) != _origin(previous):
                authorization = ""
                if body is not None:
                    raise ImageError(f"{_name(previous)} sends a login elsewhere", "denied")
            if previous.startswith("https:") and not url.startswith("https:"):
                raise ImageError(f"{_name(previous)} redirects away from https", "denied")
        raise ImageError(f"more than {REDIRECTS} redirects, the last one to {_name(url)}")

    def _send(self, request: Request) -> HTTPResponse:
        opener = self._direct if is_loopback(urlsplit(request.full_url).hostname or "") else self._proxied
        try:
            response: Any = opener.open(request, timeout=TIMEOUT_S)
        except (URLError, OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise ImageError(f"{_name(request.full_url)} cannot be reached: {reason}") from None
        if not isinstance(response, HTTPResponse):
            raise ImageError(f"{_name(request.full_url)} cannot be reached: no such scheme")
        return response

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ImageError(f"{_name(url)} is no address", "invalid") from None
        if len(url) > URL_LIMIT_CHARS or not url.isascii() or not parts.hostname or parts.username is not None or not url.isprintable():
            raise ImageError(f"{_name(url)} is no address that is followed", "denied")
        if parts.scheme != "https" and not (parts.scheme == "http" and self._may_be_plain(parts)):
            raise ImageError(
                f"{_name(url)} is not https; if the registry is meant to have no TLS, name it with --insecure-registry {parts.netloc}",
                "denied",
            )

    def _may_be_plain(self, parts: SplitResult) -> bool:
        host = parts.hostname or ""
        return is_loopback(host) or host in self._plain or parts.netloc in self._plain


def _join(url: str, target: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError:
        raise ImageError(f"{_name(url)} redirects to no address", "invalid") from None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, _port(parts)


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        raise ImageError("an address has a port that is none", "invalid") from None


def _name(url: str) -> str:
    """An address for messages: without its query, which may hold a signature."""
    shown = url.partition("?")[0]
    return shown if len(shown) <= 200 and shown.isprintable() else f"{shown[:200]!r}"
