"""Hanabi's own endpoints and frontends: what each declares is what holds at the edge."""

import json
from pathlib import Path
from typing import Any

import pytest

from hanabi.base.clock import SystemClock
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.edge import Edge
from hanabi.edge.own_endpoints import Access, OwnEndpoint
from hanabi.edge.service import DOCUMENT_BYTES
from hanabi.http.limits import BodyRule
from hanabi.testing.body import whole
from tests.unit.edge.answers import answer_of
from tests.unit.edge.live import FakeLogs, Gateway
from tests.unit.edge.signing import sign

LARGE = BodyRule(1 << 30, spool=True, known=True)


async def done(request: HttpRequest) -> HttpResponse:
    return HttpResponse(200, [], b"done")


class Scene:
    def __init__(self, directory: Path) -> None:
        self.keys = KeyRing.open(directory / "keys.json", region="us-east-1", account="0" * 12, clock=SystemClock())
        self.frontend = Gateway()
        self.edge = Edge(
            [FakeLogs()],
            self.keys,
            SystemClock(),
            "us-east-1",
            frontends=[self.frontend],
            endpoints=[
                OwnEndpoint("owner", done, ("GET", "PUT"), body=LARGE),
                OwnEndpoint("granted", done, access=Access.GRANTED, body=LARGE),
                OwnEndpoint("open", done, access=Access.OPEN, body=LARGE),
            ],
        )

    def request(self, path: str, method: str = "GET", key: Any = None, host: str = "localhost") -> HttpRequest:
        if key is not None:
            return sign(key, method, f"http://{host}/_hanabi/{path}", b"", service="hanabi")
        return HttpRequest(method, f"/_hanabi/{path}", f"/_hanabi/{path}", "", [("host", host)], b"", "127.0.0.1")

    async def status(self, *arguments: Any, **options: Any) -> int:
        return (await answer_of(self.edge.handle, self.request(*arguments, **options))).status


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_who_may_call_what(scene: Scene) -> None:
    owner, other = scene.keys.root, scene.keys.assume(f"arn:aws:iam::{'0' * 12}:role/r", "session", 900, scene.keys.root.principal)
    assert [await scene.status("owner", key=key) for key in (owner, other, None)] == [200, 403, 403]
    assert [await scene.status("granted/it", key=key) for key in (None, other)] == [200, 200]  # its handler checks
    assert [await scene.status("open", host=host) for host in ("localhost", "evil.example")] == [200, 403]
    assert [await scene.status(path, key=owner) for path in ("granted", "owner/it", "open/it", "absent", "")] == [404] * 5
    assert [await scene.status(path) for path in ("granted", "owner/it", "open/it", "absent", "")] == [403] * 5


async def test_by_which_methods(scene: Scene) -> None:
    owner = scene.keys.root
    assert [await scene.status("owner", method, owner) for method in ("GET", "PUT", "POST")] == [200, 200, 405]
    refused = await answer_of(scene.edge.handle, scene.request("owner", "POST", owner))
    assert json.loads(whole(refused.body)) == {"message": "GET or PUT only"}


async def test_how_large_a_body_may_be(scene: Scene) -> None:
    owner = scene.keys.root
    assert scene.edge.body_rule(scene.request("owner", key=owner)) == LARGE
    for request in (scene.request("owner"), scene.request("granted", key=owner), scene.request("open", key=owner), scene.request("absent")):
        assert scene.edge.body_rule(request) == BodyRule(DOCUMENT_BYTES)
    refused = scene.edge.refuse(scene.request("owner"), None, 5)
    assert refused.status == 413 and json.loads(whole(refused.body)) == {
        "message": "Request must be smaller than 5 bytes for /_hanabi/owner"
    }


async def test_how_large_a_body_from_inside_an_environment_may_be(scene: Scene) -> None:
    """Whatever key, path or host it names: nothing but the API is served there, to its own key."""
    owner, inside = scene.keys.root, scene.keys.issue(f"arn:aws:iam::{'0' * 12}:role/r", "session")
    rule = scene.edge.body_rule_for(inside.access_key)
    for key in (owner, inside, None):
        for host in ("localhost", "a.lambda-url.localhost"):
            found = rule(scene.request("owner", key=key, host=host))
            assert (found.limit_bytes, found.spool) == (DOCUMENT_BYTES, False)
    assert rule(scene.request("owner", key=inside)) == scene.edge.api.body_rule(scene.request("owner", key=inside))


async def test_a_frontend_has_its_hosts_whatever_the_path_is(scene: Scene) -> None:
    for _ in range(2):  # the second time as it is remembered
        for host in ("a.lambda-url.localhost", "A.LAMBDA-URL.example:80"):
            request = scene.request("owner", host=host)
            assert (await answer_of(scene.edge.handle, request)).headers == [("x-gateway", host)]
            assert scene.edge.body_rule(request) == scene.frontend.body_rule(request)
            assert scene.edge.refuse(request, None, 5).headers == [("x-gateway", "")]


async def test_hosts_are_remembered_within_bounds(scene: Scene) -> None:
    for number in range(3000):
        scene.edge.body_rule(scene.request("owner", host=f"h{number}"))
    scene.edge.body_rule(scene.request("owner", host="h" * 10_000))
    assert len(scene.edge._frontend_of) <= 1024 and "h" * 10_000 not in scene.edge._frontend_of


async def test_all_drain_together(scene: Scene) -> None:
    scene.edge.drain()
    assert scene.edge.draining and scene.frontend.draining
    response = await answer_of(scene.edge.handle, HttpRequest("GET", "/", "/", "", [("host", "localhost")], b""))
    assert response.status == 503 and ("retry-after", "5") in response.headers
    assert await scene.status("owner", key=scene.keys.root) == 200  # what says how the end goes on
