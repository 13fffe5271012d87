"""The edge knows no service by name: one that it has never heard of is served by what it declares and by its model."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hanabi.base.clock import SystemClock
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.control.arns import AccountRegion
from hanabi.edge import service
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.edge import Edge
from hanabi.edge.served_services import ServedServices
from hanabi.edge.service import NOTHING, Call, Operation, Params, RequestBody, Service
from hanabi.errors import InvalidParameterValue
from tests.unit.edge.answers import answer_of
from tests.unit.edge.live import FakeLambda, FakeLogs
from tests.unit.edge.signing import sign
from tests.unit.edge.world import make_request

ROOT = Path(__file__).parents[3] / "hanabi" / "edge"


class Events(Service):
    """EventBridge, with one operation."""

    name = "events"

    def __init__(self) -> None:
        body = RequestBody(10, refuse=lambda request, size: InvalidParameterValue(f"{size} bytes are too many events"))
        self.operations = {"PutEvents": Operation(self.put_events, lambda params: None, NOTHING, body=body)}

    async def put_events(self, call: Call, params: Params, target: None) -> Params:
        return {"FailedEntryCount": len(params["Entries"]), "Entries": []}


def text(response: HttpResponse) -> bytes:
    assert isinstance(response.body, bytes)
    return response.body


def read(response: HttpResponse) -> Any:
    return json.loads(text(response))


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    return KeyRing.open(tmp_path / "keys.json", region="us-east-1", account="0" * 12, clock=SystemClock())


async def test_services_of_accounts_that_are_made_up_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten is drained, so that its streams end; so is what another one takes the place of."""
    monkeypatch.setattr(service, "PLACES_KEPT", 3)
    drained: list[AccountRegion] = []

    class Placed(Events):
        def __init__(self, place: AccountRegion) -> None:
            super().__init__()
            self.place = place

        def drain(self) -> None:
            drained.append(self.place)

    async def make(place: AccountRegion) -> Service:
        return Placed(place)

    each = service.EachPlace(Events(), make)
    places = [AccountRegion(f"{number:012}", "us-east-1") for number in range(6)]
    for place in [*places, places[-1]]:
        await each.at(place)
    assert drained == [*places[:3], places[-1]]
    each.forget(places[4])
    each.drain()
    assert drained[4:] == [places[4], places[3], places[5]]


async def test_a_service_that_nobody_knows_is_served(keys: KeyRing, tmp_path: Path) -> None:
    edge = Edge([FakeLambda(tmp_path), Events()], keys, SystemClock(), "us-east-1")
    request = make_request(keys.root, "events", "PutEvents", {"Entries": [{"Detail": "{}"}]})
    response = await answer_of(edge.handle, request)
    assert (response.status, read(response)) == (200, {"FailedEntryCount": 1, "Entries": []})
    assert edge.body_rule(request).limit_bytes == 10
    refused = edge.refuse(request, 11, 10)
    assert refused.status == 400 and read(refused)["message"] == "11 bytes are too many events"
    absent = await answer_of(edge.handle, make_request(keys.root, "events", "ListRules", {}))
    assert absent.status == 501 and b"Hanabi does not implement events:ListRules" in text(absent)
    large = edge.refuse(make_request(keys.root, "events", "ListRules", {}), 1 << 30, 10)
    assert large.status == 501 and b"Hanabi does not implement events:ListRules" in text(large)


def ask(headers: list[tuple[str, str]], method: str = "GET", path: str = "/x") -> HttpRequest:
    return HttpRequest(method, path, path, "", headers, b"")


def test_unsigned_requests_are_told_apart_by_target_host_and_form(tmp_path: Path) -> None:
    services = ServedServices([FakeLambda(tmp_path), FakeLogs(), Events()])
    assert services.name_of(ask([("x-amz-target", "AWSEvents.PutEvents")])) == "events"
    assert services.name_of(ask([("x-amz-target", "Logs_20140328.X")])) == "logs"
    assert services.name_of(ask([("host", "events.us-east-1.amazonaws.com")])) == "events"
    assert services.name_of(ask([("host", "a")])) == "lambda"
    assert ServedServices([Events()]).name_of(ask([("host", "a")], "POST", "/")) == "events"


@pytest.mark.parametrize(
    ("service", "headers", "form"),
    [
        ("dynamodb", {"X-Amz-Target": "DynamoDB_20120810.ListTables"}, b'{"__type":'),
        ("sqs", {}, b'{"message":'),
        ("batch", {}, b'{"message":'),
    ],
)
async def test_absent_services_fail_in_words_that_their_clients_read(
    keys: KeyRing, tmp_path: Path, service: str, headers: dict[str, str], form: bytes
) -> None:
    edge = Edge([FakeLambda(tmp_path), FakeLogs()], keys, SystemClock(), "us-east-1")
    request = sign(keys.root, "POST", "http://127.0.0.1/v1/x", b"{}", service=service, headers=headers)
    response = await answer_of(edge.handle, request)
    assert text(response).startswith(form) and f"Hanabi does not implement the service {service}".encode() in text(response)


def test_no_module_of_the_edge_names_a_service() -> None:
    """But for rest_xml.py, which lists who speaks XML, and credentials and policies, in which AWS's own names are data."""
    named = re.compile(r"""["'](lambda|logs|iam|sts|events|s3|Invoke\w*|CreateFunction)["']""")
    found = {
        path.name: named.findall(path.read_text())
        for path in ROOT.rglob("*.py")
        if path.parent.name != "auth" and path.name != "rest_xml.py" and named.search(path.read_text())
    }
    assert found == {}
