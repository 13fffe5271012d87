"""One reading of a request's target: paths that lead elsewhere for one part of the server than for another are refused, on every host."""

import base64
import hashlib
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from hanabi.contracts.http import HttpRequest
from hanabi.edge.auth.presign import PresignedUrls
from hanabi.http.target import is_canonical
from tests.unit.edge.live import Live
from tests.unit.edge.signing import sign

SHA = hashlib.sha256(b"PK").digest()
CODE = f"/_hanabi/code/{SHA.hex()}"


def ask(port: int, method: str, target: str, headers: list[tuple[str, str]]) -> tuple[int, bytes]:
    """Send a target as it is, which no client library would."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def code_url(live: Live) -> tuple[str, str]:
    """(host, query) of a code location."""
    request = HttpRequest("GET", "/", "/", "", [("host", f"127.0.0.1:{live.port}")], b"", "127.0.0.1")
    location = live.code.code_url(request, base64.b64encode(SHA).decode())
    assert location is not None
    parts = urlsplit(location)
    assert parts.path == CODE
    return parts.netloc, parts.query


DETOURS = [
    f"/_hanabi/usage/..{CODE.removeprefix('/_hanabi')}",
    f"/_hanabi/usage/%2e%2e{CODE.removeprefix('/_hanabi')}",
    "/_hanabi/code/../usage",
    "/_hanabi/code/%2e%2e/usage",
    "/_hanabi/code/%2E%2e/usage",
    "/_hanabi/code/.%2e/usage",
    "/_hanabi/code/..%2fusage",
    "/_hanabi/code/..%5cusage",
    "/_hanabi/code/..\\usage",
    f"{CODE}/../../usage",
    f"{CODE}%2f..%2f..%2fusage",
    f"{CODE}/",
    f"{CODE}/x",
    f"/.{CODE}",
    f"/x/..{CODE}",
    "//_hanabi/usage",
    f"/{CODE}",
    "/_hanabi//usage",
    "/%5fhanabi/usage",
    "/%5Fhanabi/usage",
    "/_hanabi%2fusage",
    "/_hanabi/usage%00",
    "/_hanabi/usage/",
    "/_hanabi/usage/x",
    "/_hanabi/%75sage",
    "/_hanabi/%c0%ae%c0%ae/usage",
    "/_HANABI/usage",
    "/./_hanabi/usage",
    "/2015-03-31/../_hanabi/usage",
    "/2015-03-31/functions/../../_hanabi/usage",
    "/_hanabi/usage;x",
    "/_hanabi/../2015-03-31/functions",
]


@pytest.mark.parametrize("path", DETOURS)
def test_a_code_location_opens_nothing_else(live: Live, path: str) -> None:
    host, query = code_url(live)
    for name in (host, "localhost", f"localhost:{live.port}", "127.0.0.1"):
        for port in (live.port, live.inside_port):
            status, body = ask(port, "GET", f"{path}?{query}", [("host", name)])
            assert status in (400, 403, 404) and b"own" not in body and b"PK" not in body and b"Functions" not in body, (name, body)
    status, body = ask(live.port, "GET", f"{path}?{query}", [("host", "x.lambda-url.localhost")])
    assert (status, body) == (200, b"")  # the gateway's, whatever the path is


def test_a_code_location_is_for_one_zip_one_host_one_method_and_a_while(live: Live) -> None:
    host, query = code_url(live)
    assert ask(live.port, "GET", f"{CODE}?{query}", [("host", host)]) == (200, b"PK")
    other = f"/_hanabi/code/{hashlib.sha256(b'').hexdigest()}"
    assert ask(live.port, "GET", f"{other}?{query}", [("host", host)])[0] == 403
    assert ask(live.port, "GET", f"{CODE}?{query}", [("host", "localhost")])[0] == 403
    for method in ("HEAD", "POST", "PUT", "DELETE"):
        assert ask(live.port, method, f"{CODE}?{query}", [("host", host)])[0] == 405
    expires = query.partition("=")[2].partition("&")[0]
    for changed in (
        "",
        query.replace(expires, str(int(expires) + 1)),
        f"{query}&a=b",
        query.replace("X-Hanabi-Expires", "x"),
        f"{query[:-1]}g",
    ):
        assert ask(live.port, "GET", f"{CODE}?{changed}", [("host", host)])[0] == 403
    assert ask(live.port, "GET", CODE, [("host", host)])[0] == 403
    owner = sign(live.keys.root, "GET", live.endpoint + CODE, b"", service="hanabi")  # a signature of AWS's kind is none of this kind
    assert ask(live.port, "GET", CODE, owner.headers)[0] == 403
    assert ask(live.port, "GET", f"{CODE}?{query}", [("host", host), ("host", host)])[0] == 400


def test_grants() -> None:
    grants, others = PresignedUrls("secret", "code"), PresignedUrls("secret", "logs")
    url = grants.sign("h:1", "/p", 100)
    assert url.startswith("http://h:1/p?X-Hanabi-Expires=100&X-Hanabi-Signature=")
    query = url.partition("?")[2]
    assert grants.check("H:1", "/p", query, 99.9) == ""
    assert grants.check("h:1", "/p", query, 100) == "expired"
    assert grants.check("h:1", "/q", query, 1) == grants.check("h:2", "/p", query, 1) == others.check("h:1", "/p", query, 1) == "wrong"
    assert PresignedUrls("other", "code").check("h:1", "/p", query, 1) == "wrong"
    for broken in ("", "X-Hanabi-Expires=100", f"{query}&x", "&".join(reversed(query.split("&"))), query + "0" * 300):
        assert grants.check("h:1", "/p", broken, 1) == "missing"
    for broken in (query.replace("100", "1e3"), query.replace("100", ""), query[:-1] + "\u00e9"):
        assert grants.check("h:1", "/p", broken, 1) == "wrong"


@pytest.mark.parametrize("path", DETOURS)
def test_an_owners_signature_opens_only_what_it_names(live: Live, path: str) -> None:
    """Signed for the path that the detour comes to when it is resolved, as AWS's signature does; sent as it is."""
    for signed in (CODE, "/_hanabi/usage", path):
        for presign in (None, 60):
            request = sign(live.keys.root, "GET", live.endpoint + signed, b"", service="hanabi", presign=presign)
            target = f"{path}?{request.query}" if request.query else path
            status, body = ask(live.port, "GET", target, request.headers)
            if path == "/_hanabi/usage/" and signed == path:
                assert (status, body) == (200, b'{"own": true}')
            else:
                assert status in (400, 403, 404) and b"own" not in body and b"PK" not in body, (signed, body)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/_hanabi/health",
        "http://x.lambda-url.localhost/",
        "*",
        "/_hanabi/health#x",
        "/_hanabi/health?a#b",
        "_hanabi/health",
        "a:1",
    ],
)
def test_other_forms_of_a_target(live: Live, target: str) -> None:
    for host in ("localhost", "x.lambda-url.localhost"):
        status, _ = ask(live.port, "GET", target, [("host", host)])
        assert status == 400 or (target == "*" and host.startswith("x.") and status == 200), (host, status)


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("/", True),
        ("/a/b-c_d.e~/", True),
        ("/.well-known/x", True),
        ("/a/...", True),
        ("/a/..b/.c", True),
        ("/2015-03-31/functions/arn%3Aaws%3alambda:us-east-1:0:function:f/invocations", True),
        ("/a%2Fb/%E2%82%AC%20c", True),
        ("", False),
        ("a", False),
        ("//", False),
        ("/a//b", False),
        ("/a//", False),
        ("/.", False),
        ("/a/..", False),
        ("/a/%2e", False),
        ("/a/%2E./b", False),
        ("/a%", False),
        ("/a%2", False),
        ("/a%zz", False),
        ("/a%00b", False),
        ("/a%7f", False),
        ("/a%0ab", False),
        ("/a\\b", False),
        ("/a b", False),
        ("/a\u00e9", False),
        ("/%c0%af", False),
        ("/%ff", False),
        ("/%e2%82", False),
        ("/%ed%a0%80", False),
    ],
)
def test_canonical_paths(path: str, canonical: bool) -> None:
    for _ in range(2):  # from the cache, too
        assert is_canonical(path) is canonical


def test_clients_with_odd_names(live: Live) -> None:
    """What AWS's clients make of odd names comes through, or is refused for what it is."""
    client = live.client("lambda")
    for name in (
        "my-function_1",
        "arn:aws:lambda:us-east-1:000000000000:function:f",
        "000000000000:function:f:live",
        "function:f",
        "f:$LATEST",
    ):
        client.get_function_configuration(FunctionName=name)
        assert live.functions.calls[-1][1]["FunctionName"] == name
    client.get_function_configuration(FunctionName="f", Qualifier="$LATEST")
    assert live.functions.calls[-1][1]["Qualifier"] == "$LATEST"
    keys = ["a b", "a/b", "\u00e9\u4e00", "a+b=c:d@e", "."]
    client.untag_resource(Resource="arn:aws:lambda:us-east-1:000000000000:function:f", TagKeys=keys)
    assert live.functions.calls[-1][1]["TagKeys"] == keys
    for name in ("a b", "a/b", "a\\b", "\u00e9", "f/../g", "f%2e", "a\nb", "..", "."):
        assert refusal(client.get_function_configuration, FunctionName=name) == ("ValidationException", 400)
    assert refusal(client.get_function_configuration, FunctionName="f", Qualifier="a b/..\u00e9") == ("ValidationException", 400)
    logs = live.client("logs")
    logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/a.b#c")
    assert live.logs.calls[-1][1]["logGroupNamePrefix"] == "/aws/lambda/a.b#c"
    assert refusal(logs.describe_log_groups, logGroupNamePrefix="\u00e9 x") == ("InvalidParameterException", 400)


def refusal(operation: Any, **arguments: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        operation(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]
