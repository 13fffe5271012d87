"""The edge with requests that no SDK sends."""

import base64
import hashlib
import http.client
import json
import uuid
from typing import Any
from urllib.parse import urlencode

import pytest

from hanabi.contracts.http import HttpRequest
from hanabi.edge.large_json import blob_pointers
from hanabi.edge.protocols.model import load
from hanabi.edge.protocols.rest_json import RestJson
from hanabi.edge.protocols.uri_routes import UriRoutes
from hanabi.edge.request_ids import make_request_id
from hanabi.errors import InvalidRequestContent, ValidationError
from hanabi.services.lambda_.payload import check_json
from tests.unit.edge.answers import answer_of
from tests.unit.edge.live import Live
from tests.unit.edge.signing import sign


def send(live: Live, request: HttpRequest, port: int | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port or live.port, timeout=30)
    headers = dict(request.headers)
    assert isinstance(request.body, bytes)
    connection.request(request.method, request.target, request.body or None, headers)
    response = connection.getresponse()
    answer = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.close()
    return answer


def plain(method: str, target: str, body: bytes = b"", **headers: str) -> HttpRequest:
    path, _, query = target.partition("?")
    return HttpRequest(method, target, path, query, [(name.replace("_", "-"), value) for name, value in headers.items()], body)


def signed(live: Live, method: str, target: str, body: bytes = b"", **options: Any) -> HttpRequest:
    return sign(live.keys.root, method, live.endpoint + target, body, **options)


def test_unsigned_requests_get_the_services_own_error(live: Live) -> None:
    status, headers, body = send(live, plain("GET", "/2015-03-31/functions"))
    assert (status, headers["x-amzn-errortype"]) == (403, "MissingAuthenticationTokenException")
    assert json.loads(body) == {"message": "Missing Authentication Token"} and len(headers["x-amzn-requestid"]) == 36
    status, _, body = send(live, plain("POST", "/", b"Action=GetCallerIdentity&Version=2011-06-15"))
    assert status == 403 and b"<Type>Sender</Type><Code>MissingAuthenticationToken</Code>" in body
    status, _, body = send(live, plain("POST", "/", b"{}", x_amz_target="Logs_20140328.DescribeLogGroups"))
    assert status == 400 and json.loads(body)["__type"] == "MissingAuthenticationTokenException"


def test_unknown_paths_targets_and_actions(live: Live) -> None:
    for target in ("/", "/2015-03-31/nothing", "/2015-03-31/functions/f/invocations/x", "/2099-01-01/functions"):
        status, headers, body = send(live, signed(live, "GET", target))
        assert (status, headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
        assert json.loads(body) == {"Message": "Unable to determine service/operation name to be authorized"}
    assert send(live, signed(live, "PATCH", "/2015-03-31/functions"))[0] == 403
    status, _, body = send(live, signed(live, "POST", "/", b"{}", service="logs", headers={"X-Amz-Target": "Logs_20140328.Nope"}))
    assert status == 400 and json.loads(body)["__type"] == "UnknownOperationException"
    status, _, body = send(live, signed(live, "POST", "/", b"Action=Nope&Version=2011-06-15", service="sts"))
    assert status == 400 and b"<Code>InvalidAction</Code>" in body and b"Could not find operation Nope for version 2011-06-15" in body
    status, _, body = send(live, signed(live, "GET", "/", service="nonsense"))
    assert status == 403 and json.loads(body)["message"] == "Credential should be scoped to correct service: 'lambda'. "


def test_a_presigned_get(live: Live) -> None:
    query = urlencode({"Action": "GetCallerIdentity", "Version": "2011-06-15"})
    status, _, body = send(live, signed(live, "GET", f"/?{query}", service="sts", presign=60))
    assert status == 200 and b"<Arn>arn:aws:iam::000000000000:root</Arn>" in body


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"nope", b'{"a": ' + b"[" * 100_000, b"\xff", b'{"Role": 1}', b'{"Code": []}', b'{"Code": {"ZipFile": "="}}']
)
def test_bodies_that_do_not_parse(live: Live, body: bytes) -> None:
    for padding in (b"", b" " * (2 << 20)):  # read here, and in the worker
        status, headers, answer = send(live, signed(live, "POST", "/2015-03-31/functions", body + padding))
        assert (status, headers["x-amzn-errortype"]) == (400, "SerializationException"), answer
        assert json.loads(answer)["Message"]


def test_a_large_document_without_code_is_too_large(live: Live) -> None:
    body = json.dumps({"FunctionName": "f", "Description": "x" * (2 << 20)}).encode()
    status, headers, _ = send(live, signed(live, "POST", "/2015-03-31/functions", body))
    assert (status, headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")
    status, headers, _ = send(live, signed(live, "POST", "/2015-03-31/event-source-mappings", body))
    assert (status, headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")


def test_strangers_may_not_send_large_bodies(live: Live) -> None:
    stranger = type(live.keys.root)("AKIA" + "A" * 16, "x", "", live.keys.root.principal)
    body = bytes(2 << 20)
    for path in ("/2015-03-31/functions", "/2015-03-31/functions/f/invocations"):
        status, headers, _ = send(live, sign(stranger, "POST", live.endpoint + path, body))
        assert (status, headers["x-amzn-errortype"]) == (403, "UnrecognizedClientException")
        assert send(live, plain("POST", path, body))[1]["x-amzn-errortype"] == "MissingAuthenticationTokenException"


def test_function_urls_never_reach_the_api(live: Live) -> None:
    request = plain("POST", "/2015-03-31/functions?a=b", b"hi", host="abc.lambda-url.localhost")
    status, headers, body = send(live, request)
    assert (status, headers["x-gateway"], body) == (200, "abc.lambda-url.localhost", b"hi")
    assert send(live, plain("GET", "/_hanabi/health", host="abc.LAMBDA-URL.us-east-1.on.aws"))[1]["x-gateway"]


def test_own_endpoints(live: Live) -> None:
    for host in ("localhost", "127.0.0.1:9", "[::1]:9", "x.localhost"):
        status, _, body = send(live, plain("GET", "/_hanabi/health", host=host))
        assert status == 200 and json.loads(body)["status"] == "ok"
    assert send(live, plain("GET", "/_hanabi/health", host="evil.example"))[0] == 403
    assert send(live, plain("GET", "/_hanabi/usage"))[0] == 403
    assert send(live, signed(live, "GET", "/_hanabi/usage", service="lambda"))[0] == 403
    assert send(live, signed(live, "GET", "/_hanabi/usage?since=1", service="hanabi"))[2] == b'{"own": true}'
    assert send(live, signed(live, "GET", "/_hanabi/other", service="hanabi"))[0] == 404
    status, _, body = send(live, signed(live, "POST", "/_hanabi/usage", service="hanabi"))
    assert (status, json.loads(body)) == (405, {"message": "GET only"})
    for method in ("GET", "POST"):
        assert send(live, signed(live, method, "/_hanabi/uploads", service="hanabi"))[0] == 405
    assert send(live, plain("POST", "/_hanabi/health", host="localhost"))[0] == 405
    inside = sign(live.inside, "GET", live.endpoint + "/_hanabi/usage", b"", service="hanabi")
    assert send(live, inside)[0] == 403
    assert send(live, plain("GET", "/_hanabi/health"), live.inside_port)[0] == 403


def test_a_crash_is_a_service_exception(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    status, headers, body = send(live, signed(live, "GET", "/2016-08-19/account-settings?crash=1"))
    assert (status, headers["x-amzn-errortype"], json.loads(body)["Type"]) == (500, "ServiceException", "Service")
    assert b"boom" not in body and "boom" in caplog.text


def test_numbers_in_paths_and_queries(live: Live) -> None:
    status, _, body = send(live, signed(live, "GET", "/2015-03-31/functions?MaxItems=many"))
    assert (status, json.loads(body)["Message"]) == (400, "'many' can not be converted to an Integer")
    assert send(live, signed(live, "GET", "/2015-03-31/functions/?MaxItems=5"))[0] == 200  # older clients end it with a slash


def test_every_lambda_operation_has_a_route() -> None:
    model = load("lambda")
    routes = UriRoutes(model)
    for name in model.operation_names:
        http = model.operation(name).http
        path, _, query = http["requestUri"].partition("?")
        path = "/".join(f"%3A{segment[1:-1]}" if segment.startswith("{") else segment for segment in path.split("/"))
        found = routes.find(http["method"], path, query)
        assert found is not None and found.operation == name
        assert all(value == f":{label}" for label, value in found.labels.items())


def test_what_uploads_carry() -> None:
    model = load("lambda")
    pointers = {name: found for name in model.operation_names if (found := blob_pointers(model.operation(name).input_shape))}
    assert pointers["CreateFunction"] == ["Code.ZipFile"] and pointers["UpdateFunctionCode"] == ["ZipFile"]
    assert pointers["PublishLayerVersion"] == ["Content.ZipFile"] and "Invoke" not in pointers


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b'{"n\x87": 1}', "Invalid UTF-8 start byte 0x87\n at [Source: REDACTED"),
        (b"\x99\xeb", "Unexpected character ((CTRL-CHAR, code 153)): expected a valid value (JSON String, Number, Array, Object or token"),
        (b"notjson", "Unrecognized token 'notjson': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')"),
        (b"{'a': 1}", "Unexpected character (''' (code 39)): was expecting double-quote to start field name"),
        (b'{"a": ', "Unexpected end-of-input"),
        (b"NaN", "Non-standard token 'NaN'"),
    ],
)
def test_payloads_that_are_not_json(payload: bytes, message: str) -> None:
    with pytest.raises(InvalidRequestContent) as caught:
        check_json(payload)
    assert caught.value.message.startswith(f"Could not parse request body into json: Could not parse payload into json: {message}")


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, 2.5e3, null, true, "\\u00e9"]}',
        "[]",
        '"x"',
        " {} ",
        "{}\n",
        "1",
        "null",
        "\ufeff{}",
        "{} {}",
        "[1]x",
        '{"a": NaN}',
        "[Infinity]",
        '"\n"',
    ]
    + ["[" * 100_000, '{"a":' * 50_000, "[" * 50 + "]" * 50, "{", '"', "[1,]", "\u00e9", '["\ud7ff"]'],
)
def test_a_payload_is_json_or_not_as_pythons_own_reader_says(text: str) -> None:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        with pytest.raises(InvalidRequestContent):
            check_json(text.encode())
    else:
        check_json(text.encode())


def test_request_ids_are_uuids() -> None:
    for _ in range(50):
        text = make_request_id()
        parsed = uuid.UUID(text)
        assert str(parsed) == text and parsed.version == 4 and parsed.variant == uuid.RFC_4122


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def test_a_browser_is_told_what_this_is_and_nothing_else(live: Live) -> None:
    status, headers, body = send(live, plain("GET", "/", accept=BROWSER, host="localhost:9555"))
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"hanabi env" in body and live.keys.root.access_key.encode() not in body and b"<script" not in body
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    style = body.partition(b"<style>")[2].partition(b"</style>")[0]
    assert base64.b64encode(hashlib.sha256(style).digest()).decode() in policy
    again = send(live, plain("GET", "/", accept=BROWSER, host="127.0.0.1"))
    assert again[2] == body  # the same for everybody


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/", {"accept": "*/*", "host": "localhost"}),
        ("GET", "/", {"accept": BROWSER, "host": "rebound.example"}),
        ("GET", "/", {"accept": BROWSER, "host": "localhost", "authorization": "AWS4-HMAC-SHA256 x"}),
        ("GET", "/?Action=ListUsers", {"accept": BROWSER, "host": "localhost"}),
        ("POST", "/", {"accept": BROWSER, "host": "localhost"}),
        ("GET", "/2015-03-31/functions", {"accept": BROWSER, "host": "localhost"}),
    ],
)
def test_everything_else_is_answered_as_aws_does(live: Live, method: str, target: str, headers: dict[str, str]) -> None:
    status, answered, body = send(live, plain(method, target, b"", **headers))
    assert status in (403, 400) and b"html" not in body and "html" not in answered["content-type"]


async def test_a_request_says_what_it_was_for_the_access_log(live: Live) -> None:
    seen: list[HttpRequest] = []
    handle = live.edge.handler_for(live.keys.root.access_key)
    request = signed(live, "GET", "/2015-03-31/functions")

    seen.append(request)
    await answer_of(handle, request)
    assert (request.operation, request.caller) == ("lambda:ListFunctions", "arn:aws:iam::000000000000:root")


def test_a_head_that_was_read_before_is_read_alike() -> None:
    """What is remembered of heads changes nothing: parameters, errors, and what handlers do with what they get."""
    codec = RestJson(load("lambda"))

    def read(target: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        path, _, query = target.partition("?")
        request = HttpRequest("POST", target, path, query, list(headers.items()), body)
        return codec.read(codec.match(request), request, None)

    target = "/2015-03-31/functions/f/invocations"
    for number in range(3):
        params = read(target, {"host": "x"}, b"%d" % number)
        assert params == {"FunctionName": "f", "Payload": b"%d" % number}
        params["FunctionName"] = "another"
        assert read(target + "?Qualifier=live", {"x-amz-log-type": "Tail"}, b"") == {
            "FunctionName": "f",
            "Qualifier": "live",
            "LogType": "Tail",
            "Payload": b"",
        }
        assert read(target, {"x-amz-client-context": "c" * 3000}, b"{}")["ClientContext"] == "c" * 3000
        for bad, headers in (("/2015-03-31/functions/f!/invocations", {}), (target, {"x-amz-log-type": "All"})):
            with pytest.raises(ValidationError):
                read(bad, headers, b"{}")
    assert len(codec._heads) == 2
