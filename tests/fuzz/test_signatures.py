"""Mutated signed requests: whatever was changed, they are refused, unless what was signed is the same."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.http import HttpRequest
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.auth.sigv4 import Verifier, canonical_path, canonical_query, find_signature_claim
from hanabi.errors import AuthenticationError
from hanabi.testing import ManualClock
from tests.fuzz.mutate import SEED, mutations
from tests.unit.edge.auth.test_sigv4 import NOW, freeze
from tests.unit.edge.signing import sign

SIGNED = ("host", "x-amz-date", "x-amz-meta")


def text(data: bytes) -> str:
    return data.decode("latin-1")


def changed(request: HttpRequest, **fields: Any) -> HttpRequest:
    kept = {name: getattr(request, name) for name in ("method", "target", "path", "query", "headers", "body", "peer")}
    return HttpRequest(**kept | fields)


def parts(request: HttpRequest) -> list[tuple[bytes, Callable[[HttpRequest, bytes], HttpRequest]]]:
    """Every part of a request that a client chooses, and how to exchange it."""
    assert isinstance(request.body, bytes)

    def header(at: int) -> Callable[[HttpRequest, bytes], HttpRequest]:
        def exchange(given: HttpRequest, data: bytes) -> HttpRequest:
            headers = list(given.headers)
            headers[at] = (headers[at][0], text(data))
            return changed(given, headers=headers)

        return exchange

    found: list[tuple[bytes, Callable[[HttpRequest, bytes], HttpRequest]]] = [
        (request.method.encode(), lambda given, data: changed(given, method=text(data))),
        (request.path.encode("latin-1"), lambda given, data: changed(given, path=text(data))),
        (request.query.encode("latin-1"), lambda given, data: changed(given, query=text(data))),
        (request.body, lambda given, data: changed(given, body=data)),
    ]
    return found + [(value.encode("latin-1"), header(at)) for at, (_, value) in enumerate(request.headers)]


def meaning(request: HttpRequest) -> object:
    """What a signature covers, but for the order of the query."""
    query = "&".join(each for each in canonical_query(request.query).split("&") if not each.startswith("X-Amz-Signature="))
    headers = [(name, " ".join(value.split())) for name, value in request.headers if name in SIGNED]
    return request.method, canonical_path(request.path), query, headers, request.body


@pytest.mark.parametrize("presigned", [False, True])
def test_mutated_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, presigned: bool) -> None:
    freeze(monkeypatch, NOW)
    clock = ManualClock(NOW)
    keys = KeyRing.open(tmp_path / "keys.json", region="us-east-1", account="0" * 12, clock=clock)
    verifier = Verifier(keys, clock, "us-east-1")
    url = "http://127.0.0.1:9555/2015-03-31/functions/f%20x/invocations?Qualifier=1&b=%C3%A9"
    body = b"" if presigned else b"{}"  # botocore presigns no other
    request = sign(keys.root, url=url, body=body, headers={"x-amz-meta": "a  b", "user-agent": "x"}, presign=60 if presigned else None)
    verifier.verify_small(request, "lambda")
    expected, dice, refused = meaning(request), random.Random(SEED), 0
    targets = parts(request)
    for data in mutations([data for data, _ in targets], dice):
        given = dice.choice(targets)[1](request, data)
        find_signature_claim(given)
        try:
            verifier.verify_small(given, "lambda")
        except AuthenticationError:
            refused += 1
        else:
            assert meaning(given) == expected, data
    assert refused
