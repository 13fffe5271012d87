"""A head that comes again on a connection: read without the parser where only values of a signature differ, else left to it."""

import pytest

from hanabi.contracts.http import HttpRequest
from hanabi.http.repeated_head import RepeatedHead

HEAD = (
    b"POST /2015-03-31/functions/f/invocations?Qualifier=1 HTTP/1.1\r\nHost: a:1\r\nX-Amz-Date: 20261128T101010Z\r\n"
    b"Authorization: AWS4-HMAC-SHA256 Credential=K/20261128/r/lambda/aws4_request, SignedHeaders=host, Signature=%b\r\n"
    b"Content-Length: %d\r\namz-sdk-request: attempt=1\r\n\r\n"
)


def message(signature: bytes = b"0a1b", body: bytes = b"{}") -> bytes:
    return HEAD % (signature, len(body)) + body


def parsed(data: bytes) -> HttpRequest:
    """As the parser makes it, of a plain head."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    path, _, query = target.partition("?")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return HttpRequest(method, target, path, query, headers, body, "127.0.0.1")


def learned(data: bytes) -> RepeatedHead:
    repeated = RepeatedHead.learn(data, parsed(data))
    assert repeated is not None
    return repeated


@pytest.mark.parametrize("other", [message(), message(b"ffff"), message(body=b"[]"), message(b"0000", b"123456789")])
def test_what_may_change(other: bytes) -> None:
    read, expected = learned(message()).read(other), parsed(other)
    assert read is not None
    for field in ("method", "target", "path", "query", "headers", "fields", "repeated", "body", "peer", "verified", "trailers"):
        assert getattr(read, field) == getattr(expected, field), field


@pytest.mark.parametrize(
    "other",
    [
        message().replace(b"POST", b"PUT "),
        message().replace(b"a:1", b"b:1"),
        message(b"0a1"),  # of another length
        message(b"0a1b2"),
        message(b"0a b"),
        message(b"0a\r\n"),
        message(b"0a\x001"),
        message(b"0a\xe4b"),
        message(body=b"0123456789"),  # as many digits only
        message().replace(b"Length: 2", b"Length: x"),
        message() + b"G",
        message()[:-1],
        message()[:40],
        b"",
    ],
)
def test_everything_else_is_left_to_the_parser(other: bytes) -> None:
    assert learned(message()).read(other) is None


def test_a_body_that_a_rule_must_be_asked_for_is_left_to_the_parser() -> None:
    assert learned(message(body=b"x" * 10000)).read(message(body=b"x" * 65536)) is not None
    assert learned(message(body=b"x" * 10000)).read(message(body=b"x" * 65537)) is None


def test_a_request_without_a_body() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX-Amz-Date: 20261128T101010Z\r\n\r\n"
    read = learned(data).read(data.replace(b"1010Z", b"1011Z"))
    assert read is not None and read.fields == {"host": "a", "x-amz-date": "20261128T101011Z"} and read.body == b""


@pytest.mark.parametrize(
    "data",
    [
        message().replace(b"Host: a:1", b"Host:  a:1"),
        message().replace(b"Host: a:1", b"Host:a:1"),
        message().replace(b"Host: a:1", b"Host: a:1 "),
        message().replace(b"amz-sdk-request", b"Connection"),
        message().replace(b"amz-sdk-request", b"Expect"),
        message().replace(b"amz-sdk-request", b"Upgrade"),
        message().replace(b"amz-sdk-request", b"Transfer-Encoding"),
        message().replace(b"amz-sdk-request", b"Host"),
        message().replace(b"attempt=1", b"a" * 5000),
    ],
)
def test_heads_that_are_not_plain_are_not_learned(data: bytes) -> None:
    assert RepeatedHead.learn(data, parsed(data)) is None


def test_a_second_request_in_the_same_read_is_not_learned() -> None:
    data = message()
    assert RepeatedHead.learn(data + data, parsed(data)) is None
