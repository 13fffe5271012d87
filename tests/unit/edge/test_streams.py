"""Results that stream: events go out as they come, and what fails or is left early is closed."""

import asyncio
import http.client
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EventStreamError

from hanabi.edge.protocols.event_stream import EncodedEvents, EventStream
from hanabi.edge.protocols.model import load
from hanabi.errors import ServiceError
from hanabi.testing.body import Pieces
from tests.unit.edge.live import GatedEvents, Live
from tests.unit.edge.signing import sign
from tests.unit.edge.test_api import Scene, keep


@pytest.fixture
def events(live: Live) -> GatedEvents:
    live.functions.events = GatedEvents()
    return live.functions.events


def test_each_event_arrives_as_it_is_made(live: Live, events: GatedEvents) -> None:
    with closing(live.client("lambda")) as client:
        events.let_go(("PayloadChunk", {"Payload": b"one"}))
        answer = client.invoke_with_response_stream(FunctionName="f", Payload=b"{}")
        assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream" and answer["ExecutedVersion"] == "$LATEST"
        stream = iter(answer["EventStream"])
        assert next(stream) == {"PayloadChunk": {"Payload": b"one"}}
        events.let_go(("PayloadChunk", {"Payload": b"two" * 100_000}))
        assert next(stream) == {"PayloadChunk": {"Payload": b"two" * 100_000}}
        events.let_go(("InvokeComplete", {"LogResult": "bG9n"}))
        events.let_go(None)
        assert list(stream) == [{"InvokeComplete": {"LogResult": "bG9n"}}]
    assert events.closed.wait(30)


def test_an_error_after_the_first_event_is_an_exception_of_the_stream(live: Live, events: GatedEvents) -> None:
    with closing(live.client("lambda")) as client:
        events.let_go(("PayloadChunk", {"Payload": b"one"}))
        events.let_go(ServiceError("it ended"))
        with closing(client.invoke_with_response_stream(FunctionName="f")["EventStream"]) as events_read:
            stream = iter(events_read)
            assert next(stream) == {"PayloadChunk": {"Payload": b"one"}}
            with pytest.raises(EventStreamError, match=r"ServiceException.*it ended"):
                next(stream)
    assert events.closed.wait(30)


def test_a_client_that_leaves_ends_the_stream(live: Live, events: GatedEvents) -> None:
    events.let_go(("PayloadChunk", {"Payload": b"one"}))
    path = "/2021-11-15/functions/f/response-streaming-invocations"
    request = sign(live.keys.root, "POST", live.endpoint + path, b"{}")
    with closing(http.client.HTTPConnection("127.0.0.1", live.port, timeout=30)) as connection:
        connection.request("POST", path, b"{}", dict(request.headers))
        with closing(connection.getresponse()) as response:
            assert response.status == 200 and response.read1()
            assert not events.closed.is_set()
    for _ in range(3):  # that it has gone is seen when something is sent to it
        events.let_go(("PayloadChunk", {"Payload": b"two" * 100_000}))
    assert events.closed.wait(30)


class Two:
    def __init__(self) -> None:
        self.left = 2
        self.closed = False

    def __aiter__(self) -> "Two":
        return self

    async def __anext__(self) -> tuple[str, dict[str, Any]]:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return "PayloadChunk", {"Payload": b"x"}

    async def aclose(self) -> None:
        self.closed = True


async def test_no_event_is_made_before_it_is_asked_for() -> None:
    events = Two()
    encoded = EncodedEvents(EventStream(load("lambda"), "InvokeWithResponseStream"), events)
    await anext(encoded)
    assert events.left == 1
    await encoded.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(encoded)
    assert events.closed and events.left == 1


async def test_a_stream_that_cannot_go_out_is_closed(tmp_path: Path) -> None:
    scene, pieces = Scene(tmp_path), Pieces(b"x")
    scene.service.way = keep(scene)
    scene.send()
    scene.service.done[0]({"AccountUsage": 1, "Payload": pieces})
    async with asyncio.timeout(30):
        await scene.edge.api.tasks.join()
    assert scene.answer()[0] == 500 and pieces.is_closed
