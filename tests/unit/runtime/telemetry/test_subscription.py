"""Subscriptions, and what is refused of them in Lambda's words."""

import json
from typing import Any

import pytest

from hanabi.errors import SubscriptionRefused
from hanabi.runtime.telemetry.subscription import BODY_MAX_BYTES, LOGS, TELEMETRY, Subscription, read_subscription

HTTP = {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080/logs?a=1"}
GOOD = {"schemaVersion": "2022-12-13", "types": ["platform", "function"], "destination": HTTP}


def read(api: str = TELEMETRY, **changes: Any) -> Subscription:
    said = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return read_subscription(json.dumps(said).encode(), api, "tool")


def test_defaults() -> None:
    assert read() == Subscription(
        extension="tool", api="Telemetry", schema="2022-12-13", types=("platform", "function"), max_items=1000, max_bytes=262144,
        timeout_ms=1000, protocol="HTTP", port=8080, target="/logs?a=1", host="sandbox.localdomain", method="POST",
    )  # fmt: skip
    logs = read(LOGS, schemaVersion=None, destination={"protocol": "HTTP", "URI": "http://sandbox:80"})
    assert (logs.schema, logs.max_items, logs.target, logs.host) == ("2020-08-15", 10_000, "/", "sandbox")


def test_all_that_may_be_said() -> None:
    said = read(
        schemaVersion="2025-01-29",
        types=["extension"],
        buffering={"maxItems": 10_000, "maxBytes": 1_048_576, "timeoutMs": 25},
        destination={"protocol": "TCP", "port": 4243},
    )
    assert (said.max_items, said.max_bytes, said.timeout_ms, said.protocol, said.port) == (10_000, 1_048_576, 25, "TCP", 4243)
    assert read(destination={**HTTP, "method": "PUT", "encoding": "JSON"}).method == "PUT"


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"schemaVersion": None}, "ValidationError", "TelemetryAPI only supports the SchemaVersion released after 2021-03-18"),
        ({"schemaVersion": "2020-08-15"}, "ValidationError", "TelemetryAPI only supports"),
        ({"schemaVersion": "1999"}, "DeserializationError", "unknown variant `1999`, expected one of `2020-08-15`, `2021-03-18`, `2022"),
        ({"types": None}, "DeserializationError", "missing field `types`"),
        ({"types": []}, "ValidationError", "types should not be empty"),
        ({"types": ["platform", "platform"]}, "ValidationError", "types should be unique"),
        ({"types": ["what"]}, "DeserializationError", "unknown variant `what`, expected one of `platform`, `function`, `extension`"),
        ({"types": [[]]}, "DeserializationError", "unknown variant `[]`"),
        ({"buffering": {"maxItems": 999}}, "ValidationError", "maxItems should be between 1000 and 10000"),
        ({"buffering": {"maxBytes": 1_048_577}}, "ValidationError", "maxBytes should be between 262144 and 1048576"),
        ({"buffering": {"timeoutMs": 24}}, "ValidationError", "timeoutMs should be between 25 and 30000"),
        ({"buffering": {"timeoutMs": "25"}}, "DeserializationError", "invalid type for `timeoutMs`"),
        ({"buffering": [1]}, "DeserializationError", "invalid type for `buffering`"),
        ({"destination": None}, "DeserializationError", "missing field `destination`"),
        ({"destination": {}}, "DeserializationError", "missing field `protocol`"),
        ({"destination": {"protocol": "UDP"}}, "DeserializationError", "unknown variant `UDP`, expected `HTTP` or `TCP`"),
        ({"destination": {"protocol": "HTTP"}}, "DeserializationError", "missing field `URI`"),
        ({"destination": {"protocol": "TCP"}}, "DeserializationError", "missing field `port`"),
        ({"destination": {"protocol": "TCP", "port": 9001}}, "ValidationError", "port 9001 is reserved"),
        ({"destination": {"protocol": "TCP", "port": 70_000}}, "ValidationError", "port should be between 1 and 65535"),
        ({"destination": {**HTTP, "URI": "http://sandbox.localdomain/x"}}, "ValidationError", "URI port is not provided"),
        ({"destination": {**HTTP, "URI": "http://sandbox.localdomain:x"}}, "ValidationError", "invalid destination URI"),
        ({"destination": {**HTTP, "URI": "http://sandbox.localdomain:1/a b"}}, "ValidationError", "invalid destination URI"),
        ({"destination": {**HTTP, "URI": "http://sandbox.localdomain:1/\u00fc"}}, "ValidationError", "invalid destination URI"),
        ({"destination": {**HTTP, "method": "GET"}}, "DeserializationError", "unknown variant `GET`"),
        ({"destination": {**HTTP, "encoding": "XML"}}, "DeserializationError", "unknown variant `XML`"),
    ],
)
def test_refusals(changes: dict[str, Any], kind: str, message: str) -> None:
    with pytest.raises(SubscriptionRefused) as refused:
        read(**changes)
    assert (refused.value.status, refused.value.kind) == (400, f"Telemetry.{kind}")
    assert message in str(refused.value)


@pytest.mark.parametrize("uri", ["https://sandbox.localdomain:1", "http://169.254.169.254:80", "http://localhost:80", "file:///etc"])
def test_only_the_sandbox_itself_is_a_destination(uri: str) -> None:
    with pytest.raises(SubscriptionRefused) as refused:
        read(destination={**HTTP, "URI": uri})
    assert (refused.value.status, refused.value.kind) == (403, "Telemetry.AccessDenied")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"[" * 100_000, b"x" * (BODY_MAX_BYTES + 1), b'{"types": {}}'])
def test_bodies_that_are_none(body: bytes) -> None:
    with pytest.raises(SubscriptionRefused):
        read_subscription(body, LOGS, "tool")
