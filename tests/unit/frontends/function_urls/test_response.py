"""Result -> HTTP response. The first table is what AWS was recorded to answer."""

import json

import pytest

from hanabi.frontends.function_urls.response import MalformedResponse, make_response


@pytest.mark.parametrize(
    ("payload", "status", "body"),
    [
        (b'{"hello": "world"}', 200, b'{"hello":"world"}'),
        (b'{"statusCode": 200, "body": "body123"}', 200, b"body123"),
        (b'{"statusCode": 200, "body": "{\\"hello\\": \\"world\\"}"}', 200, b'{"hello": "world"}'),
        (b'["hello", 3, true]', 200, b'["hello",3,true]'),
        (b'"hello"', 200, b"hello"),
        (b"3", 200, b"3"),
        (b"3.1", 200, b"3.1"),
        (b"true", 200, b"true"),
        (b"null", 200, b"null"),
        (b'{"statusCode": "418", "body": "i\'m a teapot", "isBase64Encoded": false}', 418, b"i'm a teapot"),
        (b'{"statusCode": 201}', 201, b""),
        (b'{"statusCode": 200, "body": "aGk=", "isBase64Encoded": true}', 200, b"hi"),
        (b'{"statusCode": 200, "body": {"a": 1}}', 200, b'{"a":1}'),
        (b'{"statusCode": 204, "body": "x"}', 204, b""),
        ('{"statusCode": 200, "body": "\u00e9"}'.encode(), 200, "\u00e9".encode()),
        (b'{"statusCode": 200, "body": "\\ud800"}', 200, b"?"),
    ],
)
def test_bodies(payload: bytes, status: int, body: bytes) -> None:
    response = make_response(payload)
    assert (response.status, response.body) == (status, body)
    assert response.headers == [("content-type", "application/json")]


def test_headers_and_cookies() -> None:
    value = {
        "statusCode": 302,
        "headers": {"Content-Type": "text/html", "My-Custom-Header": "Custom Value", "X-Number": 5, "X-Bool": True, "X-None": None},
        "cookies": ["Cookie_1=Value1; Expires=21 Oct 2026 07:48 GMT", "Cookie_2=Value2; Max-Age=78000"],
        "body": "",
    }
    response = make_response(json.dumps(value).encode())
    assert response.headers == [
        ("Content-Type", "text/html"),
        ("My-Custom-Header", "Custom Value"),
        ("X-Number", "5"),
        ("X-Bool", "true"),
        ("set-cookie", "Cookie_1=Value1; Expires=21 Oct 2026 07:48 GMT"),
        ("set-cookie", "Cookie_2=Value2; Max-Age=78000"),
    ]


@pytest.mark.parametrize("name", ["Connection", "transfer-encoding", "Content-Length", "keep-alive", "Upgrade", "x-amzn-RequestId", "TE"])
def test_headers_that_are_not_the_functions(name: str) -> None:
    response = make_response(json.dumps({"statusCode": 200, "headers": {name: "1"}}).encode())
    assert response.headers == [("content-type", "application/json")]


@pytest.mark.parametrize(
    "value",
    [
        {"statusCode": 99},
        {"statusCode": 101},
        {"statusCode": 600},
        {"statusCode": "abc"},
        {"statusCode": "20"},
        {"statusCode": True},
        {"statusCode": None},
        {"statusCode": 200.5},
        {"statusCode": 200, "headers": ["a"]},
        {"statusCode": 200, "headers": {"a": ["b"]}},
        {"statusCode": 200, "headers": {"a b": "c"}},
        {"statusCode": 200, "headers": {"": "c"}},
        {"statusCode": 200, "headers": {"a\r\nSet-Cookie": "c"}},
        {"statusCode": 200, "headers": {"Location": "/\r\nSet-Cookie: a=b"}},
        {"statusCode": 200, "headers": {"Location": "/\nX: y"}},
        {"statusCode": 200, "headers": {"a": "\0"}},
        {"statusCode": 200, "headers": {"a": "\u2603"}},
        {"statusCode": 200, "cookies": "a=b"},
        {"statusCode": 200, "cookies": ["a=b\r\nX: y"]},
        {"statusCode": 200, "cookies": [1.5, {}]},
        {"statusCode": 200, "body": "not base64!", "isBase64Encoded": True},
        {"statusCode": 200, "body": "abc", "isBase64Encoded": True},
    ],
)
def test_malformed(value: object) -> None:
    with pytest.raises(MalformedResponse):
        make_response(json.dumps(value).encode())


@pytest.mark.parametrize("payload", [b"", b"plain", b"\xff", b"[" * 10_000, b'{"statusCode": 200'])
def test_not_json(payload: bytes) -> None:
    with pytest.raises(MalformedResponse):
        make_response(payload)
