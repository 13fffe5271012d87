"""`--auth none`: which account calls, in which region, and that no web page does."""

from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.http import HttpRequest
from hanabi.edge.auth.any_signature import AnySignature
from hanabi.edge.auth.keys import Key, KeyRing, root_principal
from hanabi.edge.hosts import OwnHosts
from hanabi.errors import AccessDenied, ExpiredToken, InvalidSignature, UnrecognizedClient
from hanabi.testing import ManualClock
from tests.unit.edge.signing import change, sign

OWN, OTHER = "000000000000", "111122223333"
ROLE = f"arn:aws:iam::{OTHER}:role/r"
TEST = Key("test", "test", "", root_principal(OWN, "aws"))


class Scene:
    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.keys = KeyRing.open(directory / "keys.json", region="us-east-1", account=OWN, clock=self.clock)
        self.verifier = AnySignature(self.keys, self.clock, "us-east-1", OwnHosts(["my.host"]))

    async def caller(self, request: HttpRequest, **options: Any) -> tuple[str, str]:
        """(ARN, region) of who calls."""
        principal = await self.verifier.verify(request, "lambda", **options)
        assert request.verified and request.account == principal.account
        return principal.arn, request.region


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def named(access_key: str) -> Key:
    return Key(access_key, "wrong", "", TEST.principal)


@pytest.mark.parametrize("presign", [None, 60])
async def test_the_access_key_names_the_account_and_the_scope_the_region(scene: Scene, presign: int | None) -> None:
    for access_key, account in ((OTHER, OTHER), ("test", OWN), ("1" * 11, OWN), ("1" * 13, OWN), ("AKIAIOSFODNN7EXAMPLE", OWN)):
        request = sign(named(access_key), "GET", "http://127.0.0.1:9555/x", b"", region="eu-west-1", presign=presign)
        assert await scene.caller(request) == (f"arn:aws:iam::{account}:root", "eu-west-1")
    request = sign(TEST, "GET", "http://127.0.0.1:9555/x", b"", region="no-where-7", presign=presign)
    assert await scene.caller(request) == (f"arn:aws:iam::{OWN}:root", "us-east-1")


async def test_what_was_issued_here_speaks_for_whom_it_was_issued_to(scene: Scene) -> None:
    session = scene.keys.assume(ROLE, "s", 900, scene.keys.root.principal)
    key = scene.keys.create_account_key(OTHER)
    for given, arn in (
        (session.access_key, f"arn:aws:sts::{OTHER}:assumed-role/r/s"),
        (key.access_key, f"arn:aws:iam::{OTHER}:root"),
        (scene.keys.root.access_key, f"arn:aws:iam::{OWN}:root"),
    ):
        assert (await scene.caller(sign(named(given))))[0] == arn
    await scene.clock.advance(901)
    with pytest.raises(ExpiredToken):
        await scene.caller(sign(named(session.access_key)))


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer x", "AWS4-HMAC-SHA256 nonsense", "AWS4-HMAC-SHA256 Credential=/////", "\xff" * 9000]
)
async def test_requests_without_a_signature_are_the_nodes_own(scene: Scene, authorization: str | None) -> None:
    request = change(sign(TEST), "authorization", authorization)
    assert await scene.caller(request) == (f"arn:aws:iam::{OWN}:root", "us-east-1")
    assert scene.verifier.knows("anything") and scene.verifier.is_root("anything")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("origin", "http://evil.example"),
        ("origin", "http://127.0.0.1:9555"),
        ("origin", "null"),
        ("referer", "http://evil.example/"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "same-origin"),
        ("host", "evil.example"),
        ("host", "127.0.0.1.evil.example:9555"),
        ("host", ""),
    ],
)
async def test_a_web_page_is_refused_however_it_signs(scene: Scene, name: str, value: str) -> None:
    for key in (TEST, scene.keys.root):
        with pytest.raises(AccessDenied):
            await scene.caller(change(sign(key), name, value))


@pytest.mark.parametrize("host", ["localhost:9555", "127.0.0.1", "[::1]:9555", "my.host", "x.lambda-url.localhost", "10.0.0.1"])
async def test_the_hosts_own_names_are_taken(scene: Scene, host: str) -> None:
    request = change(change(sign(TEST), "host", host), "sec-fetch-site", "none")
    assert (await scene.caller(request))[0] == f"arn:aws:iam::{OWN}:root"


async def test_an_environments_endpoint_takes_its_own_valid_signature_alone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = scene.keys.issue(ROLE, "function")
    only = issued.access_key
    for key in (TEST, scene.keys.root, named(OTHER)):
        with pytest.raises(UnrecognizedClient):
            await scene.verifier.verify(sign(key), "lambda", only=only)
    forged = Key(only, "wrong", issued.session_token, TEST.principal)
    with pytest.raises(InvalidSignature):
        scene.verifier.verify_small(sign(forged), "lambda", only)
