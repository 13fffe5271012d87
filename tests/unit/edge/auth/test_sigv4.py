"""Signatures: botocore's are accepted, and no other."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.auth
import pytest

from hanabi.contracts.http import HttpRequest
from hanabi.edge.auth.keys import Key, KeyRing
from hanabi.edge.auth.sigv4 import Verifier, canonical_path, canonical_query, find_signature_claim
from hanabi.errors import (
    AuthenticationError,
    ExpiredToken,
    IncompleteSignature,
    InvalidSignature,
    MissingAuthenticationToken,
    UnrecognizedClient,
)
from hanabi.quotas import SIGNATURE_SKEW_S
from hanabi.testing import ManualClock
from tests.unit.edge.signing import change, digest, sign

NOW = 1_795_000_000.0


class World:
    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock(NOW)
        self.keys = KeyRing.open(directory / "keys.json", region="us-east-1", account="0" * 12, clock=self.clock)
        self.verifier = Verifier(self.keys, self.clock, "us-east-1")

    async def verify(self, request: HttpRequest, service: str = "lambda", **options: Any) -> str:
        return (await self.verifier.verify(request, service, **options)).arn

    async def refusal(self, request: HttpRequest, kind: type[AuthenticationError], service: str = "lambda", **options: Any) -> str:
        with pytest.raises(kind) as caught:
            await self.verify(request, service, **options)
        return caught.value.message


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    freeze(monkeypatch, NOW)
    return world


def freeze(monkeypatch: pytest.MonkeyPatch, moment: float) -> None:
    """Set the signer's clock."""
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: datetime.fromtimestamp(moment, UTC).replace(tzinfo=None))


URL = "http://127.0.0.1:9555"


@pytest.mark.parametrize(
    "url",
    [
        "/",
        "/2015-03-31/functions/f/invocations?Qualifier=live",
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Amy-f%3Alive/invocations",
        "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A0%3Afunction%3Af?tagKeys=b%20c&tagKeys=a&tagKeys=%C3%A4%2F%2B%3D",
        "/a/./b/../c//d/?Marker=&b=~-_.%2A&a=1&a=0",
        "/%E2%82%AC/plain:colon@at",
    ],
)
async def test_botocores_signatures_hold(world: World, url: str) -> None:
    key = world.keys.root
    root = f"arn:aws:iam::{'0' * 12}:root"
    headers = {"X-Amz-Client-Context": "  a   b ", "Content-Type": "application/json"}
    for method, body in (("POST", b'{"a": 1}'), ("GET", b"")):
        request = sign(key, method, URL + url, body, headers=headers)
        for _ in range(2):  # the second time from the caches
            assert await world.verify(request) == root
    assert await world.verify(sign(key, "GET", URL + url, b"", presign=60)) == root


async def test_whatever_is_changed_the_signature_breaks(world: World) -> None:
    key = world.keys.root
    request = sign(key, url=URL + "/2015-03-31/functions/f/invocations?Qualifier=a", headers={"X-Amz-Invocation-Type": "DryRun"})
    assert await world.verify(request)
    authorization = request.header("authorization")
    last = authorization[-1]
    tampered = [
        change(request, "authorization", authorization[:-1] + ("0" if last != "0" else "1")),
        change(request, "authorization", authorization + " "),
        change(request, "authorization", authorization + ", Signature=" + "0" * 64),
        change(request, "authorization", authorization[:-64] + "ü" * 64),
        change(request, "x-amz-invocation-type", "Event"),
        change(request, "host", "elsewhere"),
        HttpRequest("PUT", request.target, request.path, request.query, request.headers, request.body),
        HttpRequest("POST", request.target, "/2015-03-31/functions/g/invocations", request.query, request.headers, request.body),
        HttpRequest("POST", request.target, request.path, "Qualifier=b", request.headers, request.body),
        HttpRequest("POST", request.target, request.path, request.query, request.headers, b"{ }"),
        HttpRequest("POST", request.target, request.path, request.query, [*request.headers, ("host", "b")], request.body),
    ]
    for number, broken in enumerate(tampered):
        with pytest.raises(AuthenticationError):
            assert number >= 0 and await world.verify(broken)
    message = await world.refusal(tampered[0], InvalidSignature)
    assert message.startswith(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key"
    )
    stranger = sign(type(key)(key.access_key, "x" * 40, "", key.principal))
    assert await world.refusal(stranger, InvalidSignature) == message


async def test_payload_hashes(world: World, tmp_path: Path) -> None:
    key, big = world.keys.root, b"x" * (2 << 20)
    assert await world.verify(sign(key, body=big))
    request = sign(key, body=big)
    path = tmp_path / "body"
    path.write_bytes(big)
    request.body = path
    assert await world.verify(request)
    path.write_bytes(big[:-1] + b"y")
    await world.refusal(request, InvalidSignature)
    assert await world.verify(sign(key, headers={"X-Amz-Content-SHA256": digest(b"{}")}))
    lying = sign(key, headers={"X-Amz-Content-SHA256": digest(b"{}")})
    lying.body = b"{} "
    await world.refusal(lying, InvalidSignature)
    for literal in ("UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ""):
        await world.refusal(sign(key, headers={"X-Amz-Content-SHA256": literal}), InvalidSignature)
    await world.refusal(change(sign(key), "x-amz-content-sha256", "UNSIGNED-PAYLOAD"), InvalidSignature)


async def test_unsigned_and_half_signed(world: World) -> None:
    request = sign(world.keys.root)
    assert await world.refusal(change(request, "authorization", None), MissingAuthenticationToken) == "Missing Authentication Token"
    message = await world.refusal(change(change(request, "authorization", "Bearer x"), "x-amz-date", None), IncompleteSignature)
    assert message.startswith(
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. "
        "Authorization header requires 'SignedHeaders' parameter. "
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
    )
    authorization = request.header("authorization")
    for broken in (
        authorization.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        re.sub(", Signature=.*", "", authorization),
        authorization.replace("/aws4_request", ""),
        "AWS4-HMAC-SHA256",
    ):
        await world.refusal(change(request, "authorization", broken), IncompleteSignature)
    for date in ("yesterday", "20261124T0000", "2026112xT000000Z"):
        with pytest.raises(AuthenticationError):
            await world.verify(change(request, "x-amz-date", date))
    bare = change(request, "authorization", re.sub("SignedHeaders=[^,]*", "SignedHeaders=x-amz-date", authorization))
    assert "must be a 'SignedHeader'" in await world.refusal(bare, InvalidSignature)
    presigned = sign(world.keys.root, "GET", URL + "/", b"", presign=60)
    for name in ("X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Algorithm"):
        query = re.sub(f"{name}=[^&]*&?", "", presigned.query)
        assert name in await world.refusal(HttpRequest("GET", "/", "/", query, presigned.headers, b""), IncompleteSignature)
    query = presigned.query.replace("X-Amz-Expires=60", "X-Amz-Expires=604801")
    await world.refusal(HttpRequest("GET", "/", "/", query, presigned.headers, b""), IncompleteSignature)


async def test_headers_of_amazons_must_be_signed(world: World) -> None:
    key = world.keys.root
    for request in (sign(key), sign(key, "GET", URL + "/", b"", presign=60)):
        assert await world.verify(request) and await world.verify(change(request, "x-amzn-trace-id", "Root=1-2-3"))
        for name in ("x-amz-invocation-type", "x-amz-log-type", "x-amz-target", "x-amz-unheard-of"):
            message = f"'{name}' must be a 'SignedHeader' in the AWS Authorization."
            assert await world.refusal(change(request, name, "Event"), InvalidSignature) == message
    presigned = sign(world.keys.issue("arn:aws:iam::000000000000:role/r", "s"), "GET", URL + "/", b"", presign=60)
    query = re.sub("&X-Amz-Security-Token=[^&]*", "", presigned.query)
    token = change(HttpRequest("GET", "/", "/", query, presigned.headers, b""), "x-amz-security-token", "x")
    with pytest.raises(AuthenticationError):
        await world.verify(token)


async def test_what_comes_twice(world: World) -> None:
    key = world.keys.root
    request = sign(key, headers={"X-Amz-Log-Type": "Tail", "Accept": "a"})
    assert await world.verify(request)

    def with_header(name: str, value: str) -> HttpRequest:
        return HttpRequest(request.method, request.target, request.path, request.query, [*request.headers, (name, value)], request.body)

    message = await world.refusal(with_header("authorization", request.header("authorization")), IncompleteSignature)
    assert message.startswith(
        "'AWS4-HMAC-SHA256' not a valid key=value pair (missing equal-sign) in Authorization header: 'AWS4-HMAC-SHA256 "
    )
    for name in ("x-amz-log-type", "x-amz-date", "x-amz-content-sha256", "host"):
        await world.refusal(with_header(name, request.header(name)), InvalidSignature)
    presigned = sign(key, "GET", URL + "/", b"", presign=60)
    both = HttpRequest("GET", presigned.target, "/", presigned.query, [*presigned.headers, *request.headers[1:]], b"")
    await world.refusal(both, InvalidSignature)
    for name in ("X-Amz-Expires=9", "X-Amz-Signature=0", "X-Amz-Credential=x/20261118/us-east-1/lambda/aws4_request"):
        for query in (f"{presigned.query}&{name}", f"{name}&{presigned.query}"):
            await world.refusal(HttpRequest("GET", "/", "/", query, presigned.headers, b""), InvalidSignature)
    authorization = request.header("authorization")
    twice = authorization.replace("SignedHeaders=", "SignedHeaders=host, SignedHeaders=")
    await world.refusal(change(request, "authorization", twice), IncompleteSignature)
    for names in ("host;host;x-amz-date", "x-amz-date;host", "Host;host"):
        changed = re.sub("SignedHeaders=[^,]*", f"SignedHeaders={names}", authorization)
        await world.refusal(change(request, "authorization", changed), InvalidSignature)


async def test_repeated_and_odd_values_are_signed_as_clients_do(world: World) -> None:
    key = world.keys.root
    request = sign(key, headers={"Accept": "a,b", "X-Word": "voil\u00e0"})
    request = change(request, "x-word", "voil\u00e0".encode().decode("latin-1"))  # as its bytes arrive
    accept = next(index for index, (name, _) in enumerate(request.headers) if name == "accept")
    headers = [*request.headers[:accept], ("accept", "a"), ("accept", " b "), *request.headers[accept + 1 :]]
    assert await world.verify(HttpRequest(request.method, request.target, request.path, request.query, headers, request.body, request.peer))
    assert canonical_query("a=%FF&b=%e4") == "a=%FF&b=%E4"


async def test_scope(world: World) -> None:
    key = world.keys.root
    for region in ("nowhere-1", "us-east-9", "aws-global", "US-EAST-1", ""):
        refusal = await world.refusal(sign(key, region=region), InvalidSignature)
        assert refusal == f"Credential should be scoped to a valid region, not '{region}'. "
    assert await world.refusal(sign(key, service="s3"), InvalidSignature) == "Credential should be scoped to correct service: 'lambda'. "
    assert await world.verify(sign(key, service="iam"), "iam")
    for region in ("us-east-1", "eu-west-1", "cn-north-1"):
        request = sign(key, region=region)
        assert await world.verify(request)
        assert (request.account, request.region) == ("0" * 12, region)
    elsewhere = Verifier(world.keys, world.clock, "my-own-1")
    assert await elsewhere.verify(sign(key, region="my-own-1"), "lambda")
    assert await elsewhere.verify(sign(key, region="eu-west-1"), "lambda")
    request = sign(key)
    other_day = request.header("authorization").replace(request.header("x-amz-date")[:8], "20200101")
    assert "does not match YYYYMMDD" in await world.refusal(change(request, "authorization", other_day), InvalidSignature)


async def test_clock_skew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = world.keys.root
    for offset, fine in ((-299, True), (-301, False), (299, True), (301, False)):
        freeze(monkeypatch, NOW + offset)
        if fine:
            assert await world.verify(sign(key))
        else:
            message = await world.refusal(sign(key), InvalidSignature)
    assert message == "Signature not yet current: 20261118T111141Z is still later than 20261118T111140Z (20261118T110640Z + 5 min.)"
    freeze(monkeypatch, NOW - 301)
    message = await world.refusal(sign(key), InvalidSignature)
    assert message == "Signature expired: 20261118T110139Z is now earlier than 20261118T110140Z (20261118T110640Z - 5 min.)"
    assert await world.verify(sign(key, "GET", URL + "/", b"", presign=302))
    assert "Signature expired" in await world.refusal(sign(key, "GET", URL + "/", b"", presign=300), InvalidSignature)


async def test_keys_and_tokens(world: World) -> None:
    role = "arn:aws:iam::000000000000:role/path/r"
    session = world.keys.issue(role, "env")
    arn = "arn:aws:sts::000000000000:assumed-role/r/env"
    for presign in (None, 60):
        assert await world.verify(sign(session, "GET", URL + "/", b"", presign=presign)) == arn
        assert await world.verify(sign(session, "GET", URL + "/", b"", presign=presign), only=session.access_key) == arn
        for token in ("", session.session_token[:-1], session.session_token + "x"):
            assert (
                await world.refusal(sign(session, "GET", URL + "/", b"", presign=presign, token=token), UnrecognizedClient)
                == "The security token included in the request is invalid."
            )
    await world.refusal(sign(world.keys.root), UnrecognizedClient, only=session.access_key)
    await world.refusal(sign(world.keys.root, token="abc"), UnrecognizedClient)
    world.keys.revoke(session.access_key)
    await world.refusal(sign(session), UnrecognizedClient)
    world.keys.revoke(world.keys.root.access_key)
    assert await world.verify(sign(world.keys.root))
    short = world.keys.assume(role, "s", 10, world.keys.root.principal)
    assert await world.verify(sign(short))
    await world.clock.advance(11)
    assert await world.refusal(sign(short), ExpiredToken) == "The security token included in the request is expired"
    world.keys.assume(role, "s", 10, world.keys.root.principal)
    await world.refusal(sign(short), UnrecognizedClient)  # forgotten


def test_canonical_forms() -> None:
    assert canonical_path("/a/b-c_d.e~/") == "/a/b-c_d.e~/"
    assert canonical_path("/a/../../b/.") == "/b/"
    assert canonical_path("//") == "/"
    assert canonical_path("/f%3Ax") == "/f%253Ax"
    assert canonical_query("b&a=2&a=1&c=%7E%2f") == "a=1&a=2&b=&c=~%2F"


def test_the_owners_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "data" / "keys.json"
    clock = ManualClock()
    first = KeyRing.open(path, region="us-east-1", account="0" * 12, clock=clock).root
    assert path.stat().st_mode & 0o777 == 0o600 and re.fullmatch("AKIA[A-Z2-7]{16}", first.access_key)
    again = KeyRing.open(path, region="eu-west-1", account="1" * 12, clock=clock).root
    assert (again.access_key, again.secret_key) == (first.access_key, first.secret_key)
    assert again.principal.arn == "arn:aws:iam::111111111111:root" and '"eu-west-1"' in path.read_text()
    assert first.secret_key not in repr(first) and [entry.name for entry in path.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("service", ["logs", "iam"])
def test_what_one_request_says_is_not_taken_for_another(service: str) -> None:
    """Their text before the signature is the same."""

    def claim(authorization: str) -> tuple[str, str]:
        return find_signature_claim(HttpRequest("POST", "/", "/", "", [("authorization", authorization)], b""))

    for _ in range(2):
        for key in ("AKIA1", "AKIA2"):
            said = (key, service)
            scope = f"{key}/20261128/us-east-1/{service}/aws4_request"
            assert claim(f"AWS4-HMAC-SHA256 Signature=0, Credential={scope}, SignedHeaders=host") == said
            assert claim(f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0") == said
    assert claim("AWS4-HMAC-SHA256 Signature=0") == ("", "")


async def test_a_key_that_is_revoked_or_replaced_signs_no_more(world: World) -> None:
    """Nothing that was kept of a key, a scope or a signature outlives it."""
    request = sign(world.keys.root, url=URL + "/2015-03-31/functions")
    issued = world.keys.issue("arn:aws:iam::000000000000:role/r", "session")
    session = Key(issued.access_key, issued.secret_key, issued.session_token, world.keys.root.principal)
    by_session = sign(session, url=URL + "/2015-03-31/functions")
    for _ in range(2):
        await world.verify(request)
        await world.verify(by_session)
    world.keys.revoke(issued.access_key)
    await world.refusal(by_session, UnrecognizedClient)
    other = KeyRing(Key(world.keys.root.access_key, "another secret", "", world.keys.root.principal), world.clock)
    assert_refused(Verifier(other, world.clock, "us-east-1"), request)
    await world.clock.advance(SIGNATURE_SKEW_S + 1)
    await world.refusal(request, InvalidSignature)


def assert_refused(verifier: Verifier, request: HttpRequest) -> None:
    with pytest.raises(InvalidSignature):
        verifier.verify_small(request, "lambda")
