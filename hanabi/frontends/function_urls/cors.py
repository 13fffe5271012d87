"""CORS of a function URL: answers preflights and adds the configured headers to responses."""

from collections.abc import Mapping
from typing import Any

from hanabi.base.patterns import matches
from hanabi.contracts.http import HttpRequest, HttpResponse

ORIGIN_LIMIT = 512  # no origin is longer: a host name has 253 characters


def answer_preflight(cors: Mapping[str, Any], request: HttpRequest) -> HttpResponse | None:
    """Answer a preflight; None for any other request. An origin that is not allowed gets no headers, so the browser refuses it."""
    method = request.header("access-control-request-method")
    if request.method != "OPTIONS" or not method or not request.header("origin"):
        return None
    headers = _origin_headers(cors, request.header("origin"))
    if headers:
        headers.append(("access-control-allow-methods", _listed(cors.get("AllowMethods"), method)))
        if wanted := request.header("access-control-request-headers") or cors.get("AllowHeaders"):
            headers.append(("access-control-allow-headers", _listed(cors.get("AllowHeaders"), wanted if isinstance(wanted, str) else "")))
        if cors.get("MaxAge"):
            headers.append(("access-control-max-age", str(cors["MaxAge"])))
    return HttpResponse(200, [pair for pair in headers if pair[1]])


def add_headers(cors: Mapping[str, Any], request: HttpRequest, response: HttpResponse) -> None:
    """Put the configured headers on a response, replacing the function's own."""
    kept = [(name, value) for name, value in response.headers if not name.lower().startswith("access-control-")]
    added = _origin_headers(cors, request.header("origin"))
    if added and cors.get("ExposeHeaders"):
        added.append(("access-control-expose-headers", ",".join(cors["ExposeHeaders"])))
    response.headers = kept + added


def _origin_headers(cors: Mapping[str, Any], origin: str) -> list[tuple[str, str]]:
    """Return the origin headers, none when it is not allowed. In `AllowOrigins`, `*` matches anything: `https://*.example.com`."""
    allowed = tuple(cors.get("AllowOrigins") or ())
    if not 0 < len(origin) <= ORIGIN_LIMIT or not origin.isprintable():
        return []
    if not any("?" not in one and matches(one, origin, ignore_case=True) for one in allowed):  # no origin has one
        return []
    if cors.get("AllowCredentials"):
        return [("access-control-allow-origin", origin), ("access-control-allow-credentials", "true"), ("vary", "Origin")]
    if "*" in allowed:
        return [("access-control-allow-origin", "*")]
    return [("access-control-allow-origin", origin), ("vary", "Origin")]


def _listed(configured: list[str] | None, requested: str) -> str:
    """Return the allowed items; for `*` those requested, since browsers take `*` literally with credentials."""
    if configured and "*" in configured:
        return requested if requested.isprintable() else "*"
    return ",".join(configured or ())
