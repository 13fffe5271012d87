"""A subscription to the Telemetry API, or to the older Logs API: read from the request's body, checked, or refused.

AWS Lambda developer guide, "Lambda Telemetry API reference" and "Lambda Logs API"; error types and texts as recorded from Lambda.
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from hanabi.errors import SubscriptionRefused
from hanabi.quotas import (
    TELEMETRY_BYTES_MAX,
    TELEMETRY_BYTES_MIN,
    TELEMETRY_ITEMS_MAX,
    TELEMETRY_ITEMS_MIN,
    TELEMETRY_TIMEOUT_DEFAULT_MS,
    TELEMETRY_TIMEOUT_MAX_MS,
    TELEMETRY_TIMEOUT_MIN_MS,
)

TELEMETRY, LOGS = "Telemetry", "Logs"
SCHEMAS = {TELEMETRY: ("2022-07-01", "2022-12-13", "2025-01-29"), LOGS: ("2020-08-15", "2021-03-18")}
TYPES = ("platform", "function", "extension")
HOSTS = {TELEMETRY: ("sandbox.localdomain", "sandbox"), LOGS: ("sandbox", "sandbox.localdomain")}
RESERVED_PORTS = (9001, 9002)  # the Runtime API's and the AWS endpoint's
BODY_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What one extension wants, and where."""

    extension: str  # its name
    api: str  # TELEMETRY or LOGS
    schema: str
    types: tuple[str, ...]
    max_items: int
    max_bytes: int
    timeout_ms: int
    protocol: str  # HTTP or TCP
    port: int
    target: str = "/"  # of HTTP: path and query
    host: str = "sandbox.localdomain"  # of HTTP, as it was named
    method: str = "POST"


def read_subscription(body: bytes, api: str, extension: str) -> Subscription:
    """Raises `SubscriptionRefused`."""
    if len(body) > BODY_MAX_BYTES:
        raise SubscriptionRefused(api, "ValidationError", "the request is too large")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SubscriptionRefused(api, "DeserializationError", str(error)) from None
    if not isinstance(said, dict):
        raise SubscriptionRefused(api, "DeserializationError", "expected subscription object")
    schema = _schema(said, api)
    types = _types(said, api)
    max_items, max_bytes, timeout_ms = _buffering(said.get("buffering") or {}, api)
    destination = said.get("destination")
    if not isinstance(destination, dict):
        raise SubscriptionRefused(api, "DeserializationError", "missing field `destination`")
    return Subscription(
        extension=extension,
        api=api,
        schema=schema,
        types=types,
        max_items=max_items,
        max_bytes=max_bytes,
        timeout_ms=timeout_ms,
        **_destination(destination, api),
    )


def _schema(said: dict[str, Any], api: str) -> str:
    schema = said.get("schemaVersion", "2020-08-15" if api == LOGS else None)
    if schema in SCHEMAS[api]:
        return str(schema)
    if schema is not None and schema not in SCHEMAS[TELEMETRY] + SCHEMAS[LOGS]:
        known = ", ".join(f"`{each}`" for each in sorted(SCHEMAS[LOGS] + SCHEMAS[TELEMETRY]))
        raise SubscriptionRefused(api, "DeserializationError", f"unknown variant `{schema}`, expected one of {known}")
    if api == LOGS:
        raise SubscriptionRefused(api, "ValidationError", "LogsAPI only supports the following SchemaVersion: 2020-08-15, 2021-03-18")
    raise SubscriptionRefused(api, "ValidationError", "TelemetryAPI only supports the SchemaVersion released after 2021-03-18")


def _types(said: dict[str, Any], api: str) -> tuple[str, ...]:
    types = said.get("types")
    if not isinstance(types, list):
        raise SubscriptionRefused(api, "DeserializationError", "missing field `types`")
    for each in types:
        if each not in TYPES:
            known = ", ".join(f"`{type}`" for type in TYPES)
            raise SubscriptionRefused(api, "DeserializationError", f"unknown variant `{each}`, expected one of {known}")
    if not types:
        raise SubscriptionRefused(api, "ValidationError", "types should not be empty")
    if len(set(types)) < len(types):
        raise SubscriptionRefused(api, "ValidationError", "types should be unique")
    return tuple(types)


def _buffering(said: Any, api: str) -> tuple[int, int, int]:
    """Return (items, bytes, milliseconds)."""
    if not isinstance(said, dict):
        raise SubscriptionRefused(api, "DeserializationError", "invalid type for `buffering`")
    default_items = TELEMETRY_ITEMS_MAX if api == LOGS else TELEMETRY_ITEMS_MIN
    return (
        _bounded(said.get("maxItems", default_items), "maxItems", TELEMETRY_ITEMS_MIN, TELEMETRY_ITEMS_MAX, api),
        _bounded(said.get("maxBytes", TELEMETRY_BYTES_MIN), "maxBytes", TELEMETRY_BYTES_MIN, TELEMETRY_BYTES_MAX, api),
        _bounded(said.get("timeoutMs", TELEMETRY_TIMEOUT_DEFAULT_MS), "timeoutMs", TELEMETRY_TIMEOUT_MIN_MS, TELEMETRY_TIMEOUT_MAX_MS, api),
    )


def _bounded(value: Any, member: str, least: int, most: int, api: str) -> int:
    if type(value) is not int:
        raise SubscriptionRefused(api, "DeserializationError", f"invalid type for `{member}`, expected an integer")
    if not least <= value <= most:
        raise SubscriptionRefused(api, "ValidationError", f"{member} should be between {least} and {most}")
    return value


def _destination(said: dict[str, Any], api: str) -> dict[str, Any]:
    protocol = said.get("protocol")
    if protocol == "TCP":
        port = said.get("port")
        if type(port) is not int:
            raise SubscriptionRefused(api, "DeserializationError", "missing field `port`")
        return {"protocol": "TCP", "port": _port(port, api)}
    if protocol != "HTTP":
        missing = "missing field `protocol`" if protocol is None else f"unknown variant `{protocol}`, expected `HTTP` or `TCP`"
        raise SubscriptionRefused(api, "DeserializationError", missing)
    uri, method = said.get("URI"), said.get("method", "POST")
    if not isinstance(uri, str):
        raise SubscriptionRefused(api, "DeserializationError", "missing field `URI`")
    if method not in ("POST", "PUT"):
        raise SubscriptionRefused(api, "DeserializationError", f"unknown variant `{method}`, expected `POST` or `PUT`")
    if said.get("encoding", "JSON") != "JSON":
        raise SubscriptionRefused(api, "DeserializationError", f"unknown variant `{said['encoding']}`, expected `JSON`")
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise SubscriptionRefused(api, "ValidationError", "invalid destination URI") from None
    _check_place(parts, api)
    if port is None:
        raise SubscriptionRefused(api, "ValidationError", "URI port is not provided")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return {"protocol": "HTTP", "port": _port(port, api), "target": target, "host": parts.hostname, "method": method}


def _check_place(parts: SplitResult, api: str) -> None:
    if parts.scheme != "http":
        raise SubscriptionRefused(api, "AccessDenied", "Only 'http' scheme is supported.", 403)
    if parts.hostname not in HOSTS[api]:
        raise SubscriptionRefused(api, "AccessDenied", f"Only '{HOSTS[api][0]}' hostname is supported.", 403)
    plain = f"{parts.path}{parts.query}"
    if parts.username or parts.fragment or not plain.isascii() or not plain.isprintable() or " " in plain:
        raise SubscriptionRefused(api, "ValidationError", "invalid destination URI")


def _port(port: int, api: str) -> int:
    if not 0 < port < 65536:
        raise SubscriptionRefused(api, "ValidationError", "port should be between 1 and 65535")
    if port in RESERVED_PORTS:
        raise SubscriptionRefused(api, "ValidationError", f"port {port} is reserved")
    return port
