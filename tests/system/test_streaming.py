"""Response streaming in real sandboxes: both bundled runtimes, as boto3 sees them."""

import base64
import http.client
import json
from contextlib import closing
from typing import Any

import pytest

from tests.server import create_function

NODE = """
const { once } = require("node:events");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  if (event.rawPath) stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { "x-own": "1" }, cookies: ["a=b"] });
  if (event.rawPath) event[event.rawPath.slice(1)] = true;
  if (event.early) throw new Error("at first");
  stream.write("one");
  await pause(event.ms ?? 300);
  if (event.late) throw new Error("in the middle");
  if (event.exit) process.exit(3);
  for (let n = 0; n < (event.mib ?? 0); n++) if (!stream.write(Buffer.alloc(1 << 20, n))) await once(stream, "drain");
  console.log("written");
  stream.end("two");
});
"""
PYTHON = """
import os, time

def handler(event, context):
    if "rawPath" in event:
        event[event["rawPath"][1:]] = True
    if event.get("early"):
        raise RuntimeError("at first")
    if "rawPath" in event:
        yield {"statusCode": 201, "headers": {"x-own": "1"}, "cookies": ["a=b"]}
    yield "one"
    time.sleep(event.get("ms", 300) / 1000)
    if event.get("late"):
        raise RuntimeError("in the middle")
    if event.get("exit"):
        os._exit(3)
    for n in range(event.get("mib", 0)):
        yield bytes([n]) * (1 << 20)
    print("written")
    yield b"two"
"""


@pytest.fixture(scope="module", params=["nodejs22.x", "python3.11"])
def function(request: pytest.FixtureRequest, lambda_client: Any) -> str:
    options = {"Runtime": request.param, "MemorySize": 512, "Timeout": 2}
    if request.param.startswith("nodejs"):
        return create_function(lambda_client, "streaming-node", {"index.js": NODE}, Handler="index.handler", **options)
    return create_function(lambda_client, "streaming-python", {"app.py": PYTHON}, Handler="app.handler", **options)


def stream(client: Any, name: str, **event: Any) -> tuple[list[bytes], dict[str, Any]]:
    """The chunks, and the last event; its log decoded."""
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail")
    *chunks, last = list(answer["EventStream"])
    complete = last["InvokeComplete"]
    complete["LogResult"] = base64.b64decode(complete["LogResult"]).decode()
    return [chunk["PayloadChunk"]["Payload"] for chunk in chunks], complete


def test_chunks_come_as_they_are_written(lambda_client: Any, function: str) -> None:
    chunks, complete = stream(lambda_client, function)
    assert chunks == [b"one", b"two"] and set(complete) == {"LogResult"}
    assert "written" in complete["LogResult"] and "REPORT RequestId" in complete["LogResult"]


def test_errors_early_and_late(lambda_client: Any, function: str) -> None:
    for event, expected, message in (("early", [], "at first"), ("late", [b"one"], "in the middle")):
        chunks, complete = stream(lambda_client, function, **{event: True})
        assert (chunks, complete["ErrorCode"]) == (expected, "Unhandled")
        assert json.loads(complete["ErrorDetails"])["errorMessage"] == message


def test_an_exit_and_a_timeout_in_the_middle(lambda_client: Any, function: str) -> None:
    for event, kind in (({"exit": True}, "Runtime.ExitError"), ({"ms": 20_000}, "Sandbox.Timedout")):
        chunks, complete = stream(lambda_client, function, **event)
        assert chunks == [b"one"] and json.loads(complete["ErrorDetails"])["errorType"] == kind
    assert stream(lambda_client, function)[0] == [b"one", b"two"]


def test_more_than_a_whole_answer_may_have(lambda_client: Any, function: str) -> None:
    chunks, complete = stream(lambda_client, function, mib=7)
    assert b"".join(chunks) == b"one" + b"".join(bytes([n]) * (1 << 20) for n in range(7)) + b"two" and "ErrorCode" not in complete


def test_taken_whole(lambda_client: Any, function: str) -> None:
    for event, answer in (({}, b"onetwo"), ({"mib": 7}, b"Function.ResponseSizeTooLarge"), ({"late": True}, b"in the middle")):
        got = lambda_client.invoke(FunctionName=function, Payload=json.dumps(event).encode())
        with got["Payload"] as payload:
            assert answer in payload.read() and ("FunctionError" in got) == bool(event)


def test_a_url_that_streams(lambda_client: Any, function: str) -> None:
    made = lambda_client.create_function_url_config(FunctionName=function, AuthType="NONE", InvokeMode="RESPONSE_STREAM")
    address = made["FunctionUrl"].removeprefix("http://").rstrip("/")

    def get(path: str) -> http.client.HTTPResponse:
        connection.request("GET", path)
        return connection.getresponse()

    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        answer = get("/")
        assert answer.status == 201 and (answer.headers["x-own"], answer.headers["set-cookie"]) == ("1", "a=b")
        assert answer.headers["transfer-encoding"] == "chunked" and answer.read1() == b"one" and answer.read() == b"two"
        answer = get("/early")
        assert (answer.status, answer.read()) == (502, b"Internal Server Error")
        with pytest.raises(http.client.IncompleteRead):
            get("/late").read()
