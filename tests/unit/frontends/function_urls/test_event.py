"""HTTP request -> event, payload format 2.0."""

import json
from typing import Any

import pytest

from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.frontends.function_urls.event import make_event

HOST = "abc123.lambda-url.localhost"
OWNER = Principal("000000000000", "arn:aws:iam::000000000000:root", "AIDAEXAMPLE", True)


def make_request(
    method: str = "GET", target: str = "/", headers: list[tuple[str, str]] | None = None, body: bytes = b"", peer: str = "10.1.2.3"
) -> HttpRequest:
    path, _, query = target.partition("?")
    return HttpRequest(method, target, path, query, [("host", f"{HOST}:9555"), *(headers or [])], body, peer)


def event_of(request: HttpRequest, principal: Principal | None = None) -> dict[str, Any]:
    assert isinstance(request.body, bytes)
    event = make_event(
        request,
        request.body,
        url_id="abc123",
        host=HOST,
        request_id="rid",
        trace="Root=1-a-b",
        now=1_795_514_400.123,
        scheme="http",
        principal=principal,
    )
    return dict(json.loads(event))


def test_the_whole_event() -> None:
    request = make_request(
        "POST",
        "/my%20path/x?parameter1=value1&parameter1=value2&parameter2=value&empty=",
        [
            ("user-agent", "agent"),
            ("content-type", "application/json"),
            ("x-dup", "1"),
            ("x-dup", "2"),
            ("cookie", "cookie1=a; cookie2=b"),
            ("connection", "keep-alive"),
        ],
        b'{"hello": "world"}',
    )
    assert event_of(request) == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/my%20path/x",
        "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=value&empty=",
        "cookies": ["cookie1=a", "cookie2=b"],
        "headers": {
            "host": f"{HOST}:9555",
            "user-agent": "agent",
            "content-type": "application/json",
            "x-dup": "1,2",
            "x-amzn-trace-id": "Root=1-a-b",
            "x-forwarded-for": "10.1.2.3",
            "x-forwarded-port": "9555",
            "x-forwarded-proto": "http",
        },
        "queryStringParameters": {"parameter1": "value1,value2", "parameter2": "value", "empty": ""},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abc123",
            "domainName": HOST,
            "domainPrefix": "abc123",
            "http": {"method": "POST", "path": "/my path/x", "protocol": "HTTP/1.1", "sourceIp": "10.1.2.3", "userAgent": "agent"},
            "requestId": "rid",
            "routeKey": "$default",
            "stage": "$default",
            "time": "24/Nov/2026:10:00:00 +0000",
            "timeEpoch": 1_795_514_400_123,
        },
        "body": '{"hello": "world"}',
        "isBase64Encoded": False,
    }


def test_what_is_not_there_is_left_out() -> None:
    event = event_of(make_request())
    assert event["isBase64Encoded"] is False
    assert event["rawQueryString"] == ""
    assert not {"body", "cookies", "queryStringParameters"} & set(event)


@pytest.mark.parametrize(
    ("content_type", "body", "sent", "is_base64"),
    [
        ("text/plain", b"text", "text", False),
        ("TEXT/HTML; charset=utf-8", "é".encode(), "é", False),
        ("application/json", b"{}", "{}", False),
        ("application/vnd.api+json; charset=utf-8", b"{}", "{}", False),
        ("application/xml", b"<a/>", "<a/>", False),
        ("application/javascript", b"1", "1", False),
        ("application/json", b"\xff", "/w==", True),
        ("application/x-www-form-urlencoded", b"a=b", "YT1i", True),
        ("multipart/form-data; boundary=x", b"--x", "LS14", True),
        ("application/octet-stream", b"text", "dGV4dA==", True),
        ("image/svg+xml-no", b"text", "dGV4dA==", True),
        ("", b"text", "dGV4dA==", True),
    ],
)
def test_bodies(content_type: str, body: bytes, sent: str, is_base64: bool) -> None:
    event = event_of(make_request("POST", headers=[("content-type", content_type)] if content_type else [], body=body))
    assert (event["body"], event["isBase64Encoded"]) == (sent, is_base64)


def test_signed_requests_say_who_signed() -> None:
    headers = [("authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261124/us-east-1/lambda/aws4_request, Signature=x")]
    event = event_of(make_request(headers=headers), OWNER)
    assert event["requestContext"]["accountId"] == "000000000000"
    assert event["requestContext"]["authentication"] is None
    assert event["requestContext"]["authorizer"] == {
        "iam": {
            "accessKey": "AKIDEXAMPLE",
            "accountId": "000000000000",
            "callerId": "AIDAEXAMPLE",
            "cognitoIdentity": None,
            "principalOrgId": None,
            "userArn": "arn:aws:iam::000000000000:root",
            "userId": "AIDAEXAMPLE",
        }
    }
    assert "authorization" not in event["headers"]
    presigned = event_of(make_request(target="/?X-Amz-Credential=AKIDQUERY%2F20261124%2Fus-east-1"), OWNER)
    assert presigned["requestContext"]["authorizer"]["iam"]["accessKey"] == "AKIDQUERY"


def test_an_open_url_hands_on_the_functions_own_authorization() -> None:
    assert event_of(make_request(headers=[("authorization", "Bearer x")]))["headers"]["authorization"] == "Bearer x"


def test_forwarded_for_is_a_chain() -> None:
    event = event_of(make_request(headers=[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https")]))
    assert event["headers"]["x-forwarded-for"] == "1.1.1.1, 10.1.2.3"
    assert event["headers"]["x-forwarded-proto"] == "http"
    assert event["requestContext"]["http"]["sourceIp"] == "10.1.2.3"
