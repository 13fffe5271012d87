"""What users send costs work in proportion to its size: one attack for each place on the event loop that reads it."""

import asyncio
import io
import itertools
import json
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from time import thread_time
from unittest.mock import Mock

import pytest

from hanabi.base.clock import SystemClock
from hanabi.contracts.http import Answer, HttpRequest, HttpResponse
from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.evaluate import AccessRequest, Verdict, evaluate_identity_policies
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.auth.policy_documents import check_document
from hanabi.edge.auth.sigv4 import SignatureClaim, canonical_headers, canonical_path, canonical_query, check_unsigned
from hanabi.edge.edge import Edge
from hanabi.edge.protocols.codec import Match
from hanabi.edge.protocols.constraints import compile_pattern
from hanabi.edge.protocols.model import load
from hanabi.edge.protocols.query import Query
from hanabi.edge.protocols.rest_json import RestJson
from hanabi.errors import ApiError, SerializationError, ValidationError
from hanabi.frontends.function_urls.cors import answer_preflight
from hanabi.frontends.function_urls.event import make_event
from hanabi.frontends.function_urls.response import MalformedResponse, make_response
from hanabi.http.connection import Connection
from hanabi.http.context import ServerContext
from hanabi.http.limits import BodyRule, Limits
from hanabi.http.spool import BodyBuffer
from hanabi.http.target import is_canonical
from hanabi.images.code.unzip import BadZip, make_plan
from hanabi.ledger.log_errors import InvalidParameter
from hanabi.ledger.patterns.pattern import compile_pattern as compile_pattern_of_logs
from hanabi.services.lambda_.payload import check_json
from tests.security.growth import assert_linear
from tests.unit.edge.answers import answer_of
from tests.unit.edge.live import FakeLogs


@pytest.fixture
def edge(tmp_path: Path) -> Edge:
    clock = SystemClock()
    keys = KeyRing.open(tmp_path / "keys.json", region="us-east-1", account="0" * 12, clock=clock)
    return Edge([FakeLogs()], keys, clock, "us-east-1")


def preflight(origin: str) -> HttpRequest:
    headers = [("origin", origin), ("access-control-request-method", "GET")]
    return HttpRequest("OPTIONS", "/", "/", "", headers, b"", "127.0.0.1")


def test_cors_origins() -> None:
    cors = {"AllowOrigins": ["https://" + "*a" * 120 + "b"] * 100}
    assert_linear(lambda n: preflight("https://" + "a" * n + "c"), lambda request: answer_preflight(cors, request))


def test_policies() -> None:
    def make(n: int) -> tuple[str, str]:
        pattern = "arn:" + "*a" * 100 + "b"
        condition = {"StringNotLike": {"k": [pattern, "${k}" * 20]}, "ForAllValues:ArnLike": {"many": [pattern] * 10}}
        statement = {"Effect": "Allow", "Action": "*", "Resource": [pattern] * 10 + ["*"], "Condition": condition}
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]}), "arn:" + "a" * n + "c"

    def judge(given: tuple[str, str]) -> Verdict:
        request = AccessRequest("lambda:Invoke", (given[1],), {"k": (given[1],), "many": (given[1],) * 5})
        return evaluate_identity_policies([json.loads(given[0])], request)

    assert_linear(make, judge)


# --- heads ------------------------------------------------------------------------------------------------------------


def request(
    path: str = "/", query: str = "", headers: list[tuple[str, str]] | None = None, body: bytes = b"", method: str = "POST"
) -> HttpRequest:
    return HttpRequest(method, path, path, query, headers or [("host", "a")], body, "127.0.0.1")


HEADS: dict[str, Callable[[int], HttpRequest]] = {
    "slashes": lambda n: request("/" * n),
    "dots": lambda n: request("/.." * n),
    "segments": lambda n: request("/a" * n),
    "escapes": lambda n: request("/%2e%41" * n),
    "queries": lambda n: request(query="a=1&" * n),
    "long queries": lambda n: request(query=f"a={'b' * 1000}&" * n),
    "distinct queries": lambda n: request(query="&".join(f"a{number}=%41" for number in range(n))),
    "escaped query": lambda n: request(query="a=" + "%41" * n),
    "signature fields": lambda n: request(query="X-Amz-Algorithm=&" + "X-Amz-Credential=" * n),
    "headers": lambda n: request(headers=[("x-a", "b" * 1000)] * n),
    "distinct headers": lambda n: request(headers=[(f"x-a{number}", "b") for number in range(n)]),
    "amazon's headers": lambda n: request(headers=[(f"x-amz-a{number}", "b") for number in range(n)]),
    "spaces": lambda n: request(headers=[("host", "a" + " " * n + "b"), ("x", " \t" * n)]),
    "cookies": lambda n: request(headers=[("cookie", "a=b; " * n), ("cookie", ";" + " " * n)]),
    "authorization": lambda n: request(headers=[("authorization", "AWS4-HMAC-SHA256 " + "Credential=a/b/c/d/e, " * n)]),
    "authorization's spaces": lambda n: request(headers=[("authorization", "AWS4-HMAC-SHA256 " + " ," * n)]),
    "signed headers": lambda n: request(
        headers=[
            ("authorization", f"AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host{';host' * n}, Signature=0"),
            ("x-amz-date", "x"),
        ]
    ),
    "dates": lambda n: request(headers=[("authorization", "AWS4-HMAC-SHA256 Credential=a"), ("date", "Mon, " * n)]),
    "a date": lambda n: request(headers=[("authorization", "AWS4-HMAC-SHA256 Credential=a"), ("date", "1 " * n + ":" * n)]),
    "hosts": lambda n: request("/_hanabi/health", headers=[("host", "a." * n)], method="GET"),
    "content type": lambda n: request(headers=[("content-type", "application/" + "a+" * n), ("x-forwarded-for", "a," * n)], body=b"x"),
}


@pytest.mark.parametrize("kind", HEADS)
def test_heads(edge: Edge, kind: str) -> None:
    """All that looks at a head before anybody has proved anything: routing, body rules, signatures, canonical forms, URLs."""
    claim = SignatureClaim("a", "b", "c", "d", "e", "host;x-a", ("host", "x-a"), "b/c/d/e", "host:%s\nx-a:%s\n", itemgetter("host", "x-a"))

    def look(given: HttpRequest) -> None:
        asyncio.run(answer_of(edge.handle, given))
        edge.body_rule(given)
        edge.refuse(given, None, 1)
        is_canonical(given.path)
        canonical_path(given.path)
        with suppress(ApiError):
            canonical_query(given.query)
        with suppress(ApiError):
            check_unsigned(dict(given.headers), claim)
            canonical_headers(dict(given.headers), claim)
        make_event(given, b"x", url_id="a", host="b", request_id="c", trace="d", now=0.0, scheme="http", principal=None)

    assert_linear(HEADS[kind], look, 200)


@pytest.mark.parametrize(
    ("head", "unit"),
    [
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", b"2;x=yyyyyy\r\nab\r\n"),
        (b"POST / HTTP/1.1\r\nhost: a\r\n", b"a: b\r\n"),
        (b"POST / HTTP/1.1\r\nhost: a\r\nx: ", b"a\t "),
        (b"GET /", b"/../"),
    ],
)
def test_bytes_of_a_request(head: bytes, unit: bytes) -> None:
    """As they arrive, in large reads and in small ones."""

    async def receive(data: bytes) -> None:
        limits = Limits(head_bytes=1 << 16, headers=1 << 30, heads_bytes=1 << 30, body=lambda request: BodyRule(1 << 30))
        connection = Connection(ServerContext(answer, clock=SystemClock(), limits=limits))
        connection.connection_made(Mock(get_extra_info=lambda name: None))
        for size in (1 << 18, 1 << 9):
            for start in range(0, len(data), size):
                connection.data_received(data[start : start + size])

    def answer(request: HttpRequest, answer: Answer) -> None:
        answer(HttpResponse(200, []))

    assert_linear(lambda n: head + unit * n, lambda data: asyncio.run(receive(data)))


def test_small_chunks_take_no_more_memory_than_they_have_bytes() -> None:
    body = BodyBuffer(None, 1 << 20)
    for _ in range(100_000):
        body.add(b"ab")
    assert sum(map(sys.getsizeof, body._chunks)) < 400_000 and body.finish() == b"ab" * 100_000


# --- bodies -----------------------------------------------------------------------------------------------------------


def form(fields: Iterable[str]) -> HttpRequest:
    return request(body="&".join(("Action=TagRole", "Version=2010-05-08", "RoleName=r", *fields)).encode())


FORMS: dict[str, Callable[[int], HttpRequest]] = {
    "members": lambda n: form(f"Tags.member.{number}.Key=a" for number in range(min(n, 1900))),
    "large numbers": lambda n: form(["Tags.member." + "9" * n + ".Key=a"]),
    "depth": lambda n: form(["Tags" + ".member" * n + "=a"]),
    "dots": lambda n: form(["." * n + "=a"]),
    "fields": lambda n: form("a=b" for _ in range(n)),
    "a value": lambda n: form(["RoleName=" + "%41" * n]),
}


@pytest.mark.parametrize("kind", FORMS)
def test_forms(kind: str) -> None:
    codec = Query(load("iam"))

    def read(given: HttpRequest) -> None:
        with suppress(ApiError):
            match = codec.match(given)
            codec.model.validate(match.operation, codec.parse(match, given, None))

    assert_linear(FORMS[kind], read)


DOCUMENTS: dict[str, Callable[[int], bytes]] = {
    "depth": lambda n: b'{"a":' * n,
    "lists in lists": lambda n: b"[" * n + b"]" * n,
    "nested objects that end": lambda n: b'{"Tags":' * n + b"1" + b"}" * n,
    "objects": lambda n: b'{"Layers":[' + b"{}," * n + b"{}]}",
    "strings": lambda n: b'{"Layers":[' + b'"a",' * n + b'"a"]}',
    "one string": lambda n: b'{"Description":"' + b"\\u0041" * n + b'"}',
    "keys": lambda n: b'{"Tags":{' + b",".join(b'"%d":"v"' % number for number in range(n)) + b"}}",
    "the same key": lambda n: b'{"Tags":{' + b",".join(b'"k":"v"' for number in range(n)) + b"}}",
    "variables": lambda n: b'{"Environment":{"Variables":{' + b",".join(b'"a%d":"v"' % number for number in range(n)) + b"}}}",
    "digits": lambda n: b'{"MemorySize":' + b"1" * n + b"}",
    "decimals": lambda n: b'{"MemorySize":1.' + b"1" * n + b"e-5}",
    "structures": lambda n: b'{"FileSystemConfigs":[' + b"{}," * n + b"{}]}",
    "base64": lambda n: b'{"Code":{"ZipFile":"' + b"QUJD" * n + b'"}}',
    "broken base64": lambda n: b'{"Code":{"ZipFile":"' + b"=" * n + b'"}}',
    "a name": lambda n: b'{"FunctionName":"' + b"arn:aws:lambda:us-east-1:" + b"a-" * n + b'","Role":"arn:aws:iam::' + b"1" * n + b'"}',
    "white space": lambda n: b" \n" * n + b"x",
    "not UTF-8": lambda n: b'"' * n + b"\xff",
    "a token": lambda n: b"a" * n,
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_documents(kind: str) -> None:
    """As an operation's body, as a payload, as a policy, and as what a function returns to its URL."""
    codec = RestJson(load("lambda"))

    def read(body: bytes) -> None:
        with suppress(ApiError):
            params = codec.parse(Match("CreateFunction"), request(body=body), None)
            codec.model.validate("CreateFunction", params)
        with suppress(ApiError):
            check_json(body)
        with suppress(ApiError):
            check_document(body.decode("latin-1"), trust=False)
        with suppress(MalformedResponse):
            make_response(body)

    assert_linear(DOCUMENTS[kind], read)


def test_deep_documents_are_refused_in_the_services_words() -> None:
    codec = RestJson(load("lambda"))
    for depth in (500, 900, 1000, 2000, 100_000):
        for body in (b"[" * depth, b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
            try:
                codec.parse(Match("CreateFunction"), request(body=body), None)
            except SerializationError as error:
                assert len(error.message) < 1000
            try:
                make_response(b'{"statusCode":200,"body":' + body + b"}")
            except MalformedResponse:
                continue


def test_one_answer_tells_of_a_hundred_errors() -> None:
    model = load("logs")
    with pytest.raises(ValidationError) as caught:
        model.validate("PutLogEvents", {"logGroupName": "g", "logStreamName": "s", "logEvents": [{}] * 100_000})
    assert caught.value.message.count("failed to satisfy") <= 102


SEEDS = [
    "a",
    "0",
    "-",
    "a-",
    "a:",
    "a.",
    "a/",
    "_1",
    "aA0",
    "-a.",
    "a@",
    " ",
    "\u00e9",
    "us-east-1",
    "aws-",
    ":0",
    "$",
    "1.",
    "/a",
    "\u4e00 ",
]
PREFIXES = ["", "arn:aws:", "arn:aws:lambda:us-east-1:000000000000:", "arn:aws-us-gov:iam::000000000000:role/"]


@pytest.mark.parametrize("service", ["lambda", "iam", "sts", "logs"])
def test_the_models_patterns(service: str) -> None:
    """None of them takes its time over a text that nearly fits."""
    model = load(service).botocore
    patterns = {shape.metadata["pattern"] for shape in map(model.shape_for, model.shape_names) if "pattern" in shape.metadata}
    for pattern in map(compile_pattern, patterns):
        for prefix, seed in itertools.product(PREFIXES, SEEDS):
            fast = thread_time()
            pattern.fullmatch(prefix + seed * (4000 // len(seed)) + "\x00")
            if thread_time() - fast > 0.005:
                assert_linear(lambda n, text=(prefix, seed): text[0] + text[1] * n + "\x00", pattern.fullmatch)  # type: ignore[misc]


@pytest.mark.parametrize("unit", ["a ", "-a ", "?a ", '"a" ', '"\\"', '"', "-", " ", "a"])
def test_log_filter_patterns(unit: str) -> None:
    def compile_and_match(pattern: str) -> None:
        with suppress(InvalidParameter):
            matches = compile_pattern_of_logs(pattern).matches
            if matches is not None:
                matches("b" * 1000)

    assert_linear(lambda n: unit * n, compile_and_match)


@pytest.mark.parametrize(
    ("pattern", "unit"),
    [
        ("%a*a*a*a*a*a*a*a*b%", "a"),
        ("%a{0,900}b%", "a"),
        ("%" + "a?" * 300 + "b$%", "ab"),
        ("%[ab]{300}c%", "ab"),
        ("%^.*x.*y.*z$%", "xy"),
        ("[a, ..., b = *x*]", "[ "),
        ("[a, b = c, d]", '"a" '),
        ("[..., x > 1]", "["),
        ("{ $.* = x && $.*.a = y && $.*[0] = z }", '"a":[{"b":['),
        ("{ $.*.a = *x* || $.a NOT EXISTS }", "1,"),
        ('a -b "c d"', "a c "),
    ],
)
def test_events_against_filter_patterns(pattern: str, unit: str) -> None:
    matches = compile_pattern_of_logs(pattern).matches
    assert matches is not None
    for before, after in (("", ""), ("{", "}"), ("[", "1]")):
        assert_linear(lambda n, before=before, after=after: before + unit * n + after, matches)  # type: ignore[misc]


@pytest.mark.parametrize("unit", ["a:", "us-east-1:", "0", "a-", "arn:aws:", ":", "function:", "."])
def test_function_names(unit: str) -> None:
    place = AccountRegion("000000000000", "us-east-1")

    def parse(text: str) -> None:
        for read in (place.parse, place.parse_whole, place.parse_new, place.parse_resource):
            with suppress(ApiError):
                read(text)

    assert_linear(lambda n: unit * n, parse)


@pytest.mark.parametrize("name", ["a/{}", "a", "{}/" + "b/" * 30, "x" * 100 + "{}"])
def test_zip_listings(name: str) -> None:
    def make(n: int) -> zipfile.ZipFile:
        buffer = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
            warnings.simplefilter("ignore")
            for number in range(min(n, 20_000)):
                archive.writestr(name.format(number), b"")
        return zipfile.ZipFile(buffer)

    def plan(archive: zipfile.ZipFile) -> None:
        with suppress(BadZip):
            make_plan(archive)

    assert_linear(make, plan, 300)
