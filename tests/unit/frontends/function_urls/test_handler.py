"""A function URL from request to response: who may, what is refused, CORS."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.body import Body
from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.contracts.invocation import Invocation, Result
from hanabi.errors import AccessDenied, ResourceConflict, ResourceNotFound, SandboxError, ServiceError, TooManyRequests
from hanabi.frontends.function_urls.handler import FORBIDDEN, FunctionUrls, UrlConfig
from hanabi.quotas import INVOKE_PAYLOAD_BYTES
from hanabi.testing import ManualClock
from hanabi.testing.body import Pieces
from hanabi.testing.invoker import FakeInvoker
from tests.unit.frontends.function_urls.test_event import HOST, OWNER, make_request
from tests.unit.triggers.support import FixedCatalog, make_result

CORS: dict[str, Any] = {
    "AllowOrigins": ["https://app.example.com", "https://*.dev.example.com"],
    "AllowMethods": ["GET", "POST"],
    "AllowHeaders": ["x-token"],
    "ExposeHeaders": ["x-request", "x-cost"],
    "MaxAge": 300,
    "AllowCredentials": True,
}
ORIGIN = ("origin", "https://app.example.com")


@dataclass
class Config:
    function: str = "hello"
    qualifier: str | None = None
    auth_type: str = "NONE"
    cors: Mapping[str, Any] | None = None
    streams: bool = False
    arn: str = "arn:aws:lambda:us-east-1:000000000000:function:hello"
    policy: Sequence[Mapping[str, Any]] = ()


class OneUrl(FakeInvoker):
    """Function URLs with one, `abc123`."""

    def __init__(self, config: Config | None = None, answer: Body | Exception = b'{"statusCode": 200, "body": "ok"}') -> None:
        self.seen: list[Invocation] = []
        self.answer = answer
        self.function_error: str | None = None
        self._config = config or Config()
        self.clock = ManualClock()
        self._urls = FunctionUrls(self, FixedCatalog(), self, self._authenticate, self.clock)

    def lookup(self, url_id: str) -> Config | None:
        return self._config if url_id == "abc123" else None

    async def invoke(self, invocation: Invocation) -> Result:
        self.seen.append(invocation)
        if isinstance(self.answer, Exception):
            raise self.answer
        return make_result(invocation, self.function_error, self.answer)

    async def _authenticate(self, request: HttpRequest, config: UrlConfig) -> Principal | None:
        if config.auth_type == "NONE":
            return None
        if request.header("authorization") != "good":
            raise AccessDenied("no")
        return OWNER

    async def ask(self, request: HttpRequest) -> HttpResponse:
        return await self._urls.handle(request)


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("abc123.lambda-url.localhost", True),
        ("ABC123.lambda-url.localhost:9555", True),
        ("abc123.lambda-url.us-east-1.on.aws", True),
        ("localhost:9555", False),
        ("lambda-url.localhost", False),
        (".lambda-url.localhost", False),
        ("a.b.lambda-url.localhost", False),
        ("abc123.lambda-url.localhost:x", False),
        ("abc123.lambda-url.localhost/", False),
        ("", False),
    ],
)
async def test_hosts(host: str, is_one: bool) -> None:
    request = HttpRequest("GET", "/", "/", "", [("host", host)], b"")
    assert (await OneUrl().ask(request)).status == (200 if is_one else 403)


async def test_a_request_reaches_the_function_and_its_answer_comes_back() -> None:
    urls = OneUrl(answer=b'{"statusCode": 201, "headers": {"x-own": "1"}, "body": "made"}')
    response = await urls.ask(make_request("PUT", "/things?id=1", [("x-amzn-trace-id", "Root=1-5-6")]))
    (invocation,) = urls.seen
    event = json.loads(invocation.payload)
    assert invocation.source == "url" and event["headers"]["x-amzn-trace-id"] == "Root=1-5-6"
    assert re.fullmatch("Root=1-5-6;Parent=[0-9a-f]{16};Sampled=0;Lineage=1:[0-9a-f]{8}:0", invocation.trace)
    assert event["requestContext"]["requestId"] == invocation.request_id
    assert event["requestContext"]["domainName"] == HOST
    assert (response.status, response.body) == (201, b"made")
    headers = dict(response.headers)
    assert headers["x-own"] == "1" and headers["x-amzn-requestid"] == invocation.request_id
    assert headers["x-amzn-trace-id"] == invocation.trace


async def test_a_trace_is_made_where_there_is_none() -> None:
    urls = OneUrl()
    await urls.ask(make_request())
    event = json.loads(urls.seen[0].payload)
    assert re.fullmatch("Root=1-6afd86c0-[0-9a-f]{24}", event["headers"]["x-amzn-trace-id"])
    assert urls.seen[0].trace.startswith(f"{event['headers']['x-amzn-trace-id']};Parent=")


async def test_a_url_that_is_not_there() -> None:
    request = make_request()
    request.headers[0] = ("host", "0123456789.lambda-url.localhost")
    request.fields["host"] = "0123456789.lambda-url.localhost"
    response = await OneUrl().ask(request)
    assert (response.status, response.body) == (403, b'{"Message":null}')
    assert ("x-amzn-errortype", "AccessDeniedException") in response.headers


async def test_iam() -> None:
    urls = OneUrl(Config(auth_type="AWS_IAM"))
    response = await urls.ask(make_request())
    assert (response.status, response.body, urls.seen) == (403, json.dumps({"Message": FORBIDDEN}, separators=(",", ":")).encode(), [])
    assert (await urls.ask(make_request(headers=[("authorization", "good")]))).status == 200
    assert json.loads(urls.seen[0].payload)["requestContext"]["authorizer"]["iam"]["userArn"] == OWNER.arn


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b'{"statusCode": 1}', 502, b"Internal Server Error"),
        (b"no json", 502, b"Internal Server Error"),
        (
            TooManyRequests("ReservedFunctionConcurrentInvocationLimitExceeded"),
            429,
            b'{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}',
        ),
        (ServiceError("secret path"), 500, b'{"Message":null}'),
        (ResourceConflict("pending"), 409, b'{"Message":"pending"}'),
        (ResourceNotFound("Function not found"), 403, b'{"Message":null}'),
        (SandboxError("secret path"), 500, b'{"Message":null}'),
    ],
)
async def test_failures(answer: bytes | Exception, status: int, body: bytes) -> None:
    response = await OneUrl(answer=answer).ask(make_request())
    assert (response.status, response.body) == (status, body)


async def test_strangers_do_not_fill_the_log_with_what_ails_the_server(caplog: pytest.LogCaptureFixture) -> None:
    urls = OneUrl(answer=ServiceError("the disk is full"))
    for _ in range(100):
        assert (await urls.ask(make_request())).status == 500
    assert len(caplog.records) == 1
    await urls.clock.advance(1)
    await urls.ask(make_request())
    assert caplog.messages[1].endswith("the disk is full (and 99 others since the last line)")


async def test_why_a_result_makes_no_response_is_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    urls = OneUrl(answer=json.dumps({"statusCode": 200, "headers": {"x": "\n" * 100_000}}).encode())
    assert [(await urls.ask(make_request())).status for _ in range(3)] == [502] * 3
    (said,) = caplog.messages
    assert "the URL of hello answers request" in said and "header value '\\n\\n" in said and len(said) < 400
    await urls.clock.advance(10)
    assert (await urls.ask(make_request())).status == 502 and len(caplog.messages) == 2
    urls.function_error = "Unhandled"  # its own log says that
    await urls.clock.advance(10)
    assert (await urls.ask(make_request())).status == 502 and len(caplog.messages) == 2


async def test_a_function_error_says_nothing_to_the_caller() -> None:
    urls = OneUrl(answer=b'{"errorMessage": "secret"}')
    urls.function_error = "Unhandled"
    response = await urls.ask(make_request())
    assert (response.status, response.body) == (502, b"Internal Server Error")


async def test_six_megabytes(tmp_path: Path) -> None:
    urls = OneUrl()
    text = [("content-type", "text/plain")]
    assert (await urls.ask(make_request("POST", headers=text, body=b"x" * (INVOKE_PAYLOAD_BYTES - 2000)))).status == 200
    assert (await urls.ask(make_request("POST", headers=text, body=b"x" * INVOKE_PAYLOAD_BYTES))).status == 413
    assert (await urls.ask(make_request("POST", body=b"x" * (INVOKE_PAYLOAD_BYTES * 4 // 5)))).status == 413  # as base64 it is too long
    spool = tmp_path / "body"
    request = make_request("POST", headers=text)
    request.body = spool
    for size, status in ((2_000_000, 200), (INVOKE_PAYLOAD_BYTES + 1, 413)):
        spool.write_bytes(b"x" * size)
        assert (await urls.ask(request)).status == status
    assert len(json.loads(urls.seen[-1].payload)["body"]) == 2_000_000


# --- CORS -----------------------------------------------------------------------------------------------------------------


def preflight(origin: str, method: str = "GET", headers: str = "x-token") -> HttpRequest:
    asked = [("origin", origin), ("access-control-request-method", method), ("access-control-request-headers", headers)]
    return make_request("OPTIONS", headers=asked)


@pytest.mark.parametrize("origin", ["https://app.example.com", "https://a.dev.example.com"])
async def test_preflight_is_answered_without_the_function(origin: str) -> None:
    urls = OneUrl(Config(cors=CORS, auth_type="AWS_IAM"))
    response = await urls.ask(preflight(origin))
    assert (response.status, response.body, urls.seen) == (200, b"", [])
    assert dict(response.headers) == {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "vary": "Origin",
        "access-control-allow-methods": "GET,POST",
        "access-control-allow-headers": "x-token",
        "access-control-max-age": "300",
    }


@pytest.mark.parametrize("origin", ["https://evil.com", "https://app.example.com.evil.com", "https://appXexample.com", "null"])
async def test_preflight_of_a_stranger_gets_nothing(origin: str) -> None:
    response = await OneUrl(Config(cors=CORS)).ask(preflight(origin))
    assert (response.status, response.headers) == (200, [])


async def test_wildcards() -> None:
    cors = {"AllowOrigins": ["*"], "AllowMethods": ["*"], "AllowHeaders": ["*"]}
    response = await OneUrl(Config(cors=cors)).ask(preflight("https://any.where", "PATCH", "a, b"))
    assert dict(response.headers) == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "PATCH",
        "access-control-allow-headers": "a, b",
    }


async def test_configured_headers_take_the_place_of_the_functions() -> None:
    answer = b'{"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*", "x-own": "1"}}'
    response = await OneUrl(Config(cors=CORS), answer).ask(make_request(headers=[ORIGIN]))
    headers = [pair for pair in response.headers if not pair[0].startswith("x-amzn")]
    assert headers == [
        ("x-own", "1"),
        ("content-type", "application/json"),
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-credentials", "true"),
        ("vary", "Origin"),
        ("access-control-expose-headers", "x-request,x-cost"),
    ]


async def test_errors_have_the_headers_too() -> None:
    response = await OneUrl(Config(cors=CORS), ServiceError("x")).ask(make_request(headers=[ORIGIN]))
    assert response.status == 500 and dict(response.headers)["access-control-allow-origin"] == "https://app.example.com"


async def test_a_stream_passes_through_as_it_is() -> None:
    stream = Pieces(b'{"statusCode": 201}')
    response = await OneUrl(Config(cors=CORS), answer=stream).ask(make_request(headers=[ORIGIN]))
    headers = dict(response.headers)
    assert (response.status, response.body, headers["content-type"]) == (200, stream, "application/octet-stream")
    assert "access-control-allow-origin" in headers and "x-amzn-requestid" in headers and not stream.is_closed


async def test_options_is_the_functions_where_no_cors_is_configured() -> None:
    urls = OneUrl()
    assert (await urls.ask(preflight("https://app.example.com"))).body == b"ok"
    assert len(urls.seen) == 1
    assert (await OneUrl(Config(cors=CORS)).ask(make_request("OPTIONS"))).body == b"ok"  # no preflight: the function's as well
