"""InvokeWithResponseStream as boto3 sees it. What streams, and how it ends: `tests/unit/invoke/test_streaming.py`."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import EventStreamError

from hanabi.contracts.invocation import Invocation, StreamedResult
from hanabi.errors import ShuttingDown
from hanabi.testing.invoker import FakeStreamedResult
from tests.unit.control.support import ARN
from tests.unit.services.lambda_.support import Live, fails


@pytest.fixture(scope="module", autouse=True)
def function(live: Live) -> None:
    for name in ("echo", "failing", "throttled"):
        with suppress(live.client.exceptions.ResourceConflictException):  # another module's is as good
            live.create(name, Publish=True)


@pytest.fixture
def streams(live: Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the next stream has: pieces, events that it waits for, and at the end an error."""
    content: list[Any] = []

    async def pieces() -> AsyncIterator[bytes]:
        for each in content:
            if isinstance(each, bytes):
                yield each
            elif isinstance(each, asyncio.Event):
                await each.wait()

    async def stream(invocation: Invocation) -> StreamedResult:
        result = await live.invoker.invoke(invocation)
        error = next((each for each in content if isinstance(each, Exception)), None)
        return FakeStreamedResult(error or result, "text/plain", pieces())

    monkeypatch.setattr(live.invoker, "stream", stream)
    yield content


def invoke(live: Live, name: str = "echo", **options: Any) -> tuple[dict[str, Any], list[Any]]:
    answer = live.client.invoke_with_response_stream(FunctionName=name, **options)
    return answer, list(answer["EventStream"])


def test_chunks_arrive_before_the_function_has_ended(live: Live, streams: list[Any]) -> None:
    gate = asyncio.Event()
    streams += [b"one", gate, b"two"]
    answer = live.client.invoke_with_response_stream(FunctionName="echo", Payload=b'{"a": 1}')
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-trace-id"].startswith("Root=1-") and headers["transfer-encoding"] == "chunked"
    events = iter(answer["EventStream"])
    assert next(events) == {"PayloadChunk": {"Payload": b"one"}}
    live.loop.call_soon_threadsafe(gate.set)
    assert list(events) == [{"PayloadChunk": {"Payload": b"two"}}, {"InvokeComplete": {}}]
    seen = live.invoker.seen[-1]
    assert (seen.payload, seen.source, seen.request_id) == (b'{"a": 1}', "sync", answer["ResponseMetadata"]["RequestId"])


def test_a_whole_answer_is_one_chunk(live: Live) -> None:
    _, events = invoke(live, f"{ARN}:echo:1", Payload=b'"x"', LogType="Tail")
    log = base64.b64encode(b"START RequestId: x\n").decode()
    assert events == [{"PayloadChunk": {"Payload": b'"x"'}}, {"InvokeComplete": {"LogResult": log}}]


def test_an_error_of_the_function_is_in_the_last_event(live: Live, streams: list[Any]) -> None:
    streams += [b"one"]
    _, events = invoke(live, "failing", Payload=json.dumps({"errorType": "E"}).encode())
    assert events == [
        {"PayloadChunk": {"Payload": b"one"}},
        {"InvokeComplete": {"ErrorCode": "Unhandled", "ErrorDetails": '{"errorType": "E"}'}},
    ]


def test_a_server_that_stops_is_an_exception_of_the_stream(live: Live, streams: list[Any]) -> None:
    streams += [b"one", ShuttingDown()]
    with pytest.raises(EventStreamError, match="ServiceException"):
        invoke(live)


def test_a_dry_run_runs_nothing(live: Live) -> None:
    before = len(live.invoker.seen)
    answer, events = invoke(live, InvocationType="DryRun")
    assert not events and answer["StatusCode"] == 204 and len(live.invoker.seen) == before


def test_what_is_refused_is_an_answer_without_a_stream(live: Live) -> None:
    call = live.client.invoke_with_response_stream
    fails("TooManyRequestsException", 429, "Rate Exceeded", call, FunctionName="throttled")
    fails("ResourceNotFoundException", 404, "nowhere", call, FunctionName="nowhere")
    fails("InvalidRequestContentException", 400, "Could not parse request body into json", call, FunctionName="echo", Payload=b"{")
    fails("ValidationException", 400, "invocationType", call, FunctionName="echo", InvocationType="Event")
    fails("RequestTooLargeException", 413, "", call, FunctionName="echo", Payload=b'"' + b"x" * (6 << 20) + b'"')
