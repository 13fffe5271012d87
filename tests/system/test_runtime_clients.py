"""AWS's own clients of the Runtime API, unmodified, as runtimes in real containers: Python's, Node's, Go's, Rust's and Java's."""

import base64
import json
import re
from typing import Any

import pytest

from tests import toolchains
from tests.server import create_function
from tests.system.test_runtimes import call

CLIENT_CONTEXT = base64.b64encode(b'{"custom": {"k": "v"}}').decode()
NATIVE = {"Runtime": "provided.al2023", "Handler": "bootstrap", "MemorySize": 256}
WRAPPED = {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap"}}  # takes the bundled runtime's place

PYTHON = """
import logging, os, sys

def handler(event, context):
    if event.get("do") == "raise":
        raise ValueError("no good")
    if event.get("do") == "big":
        return "x" * 7_000_000
    if event.get("do") == "exit":
        os._exit(4)
    print("handling", event["n"])
    custom = context.client_context.custom if context.client_context else None
    return {"twice": 2 * event["n"], "requestId": context.aws_request_id, "arn": context.invoked_function_arn,
            "function": context.function_name, "custom": custom, "client": "awslambdaric" in sys.modules}
"""

NODE = """
exports.handler = async (event, context) => {
  if (event.do === "raise") throw new RangeError("no good");
  if (event.do === "big") return "x".repeat(7_000_000);
  if (event.do === "exit") process.exit(4);
  console.log("handling", event.n);
  return {
    twice: 2 * event.n, requestId: context.awsRequestId, arn: context.invokedFunctionArn, function: context.functionName,
    custom: context.clientContext?.custom, client: process.argv[1].includes("aws-lambda-ric"),
  };
};
exports.stream = awslambda.streamifyResponse(async (event, stream) => {
  stream.write('{"twice": ');
  if (event.do === "raise") throw new RangeError("in the middle");
  stream.end(`${2 * event.n}}`);
});
"""


def start(command: str) -> str:
    return f"#!/bin/sh\nexec {command}\n"


@pytest.fixture(scope="module")
def python(lambda_client: Any) -> str:
    files: dict[str, str | bytes] = {
        **toolchains.python_client(),
        "app.py": PYTHON,
        "bootstrap": start("/var/lang/bin/python3.11 -m awslambdaric $_HANDLER"),
    }
    return create_function(lambda_client, "client-python", files, Handler="app.handler", MemorySize=256, Environment=WRAPPED)


@pytest.fixture(scope="module")
def node_files() -> dict[str, str | bytes]:
    bootstrap = start("/var/lang/bin/node /var/task/node_modules/aws-lambda-ric/bin/index.mjs $_HANDLER")
    return {**toolchains.node_client(), "app.js": NODE, "bootstrap": bootstrap}


@pytest.fixture(scope="module")
def node(lambda_client: Any, node_files: dict[str, str | bytes]) -> str:
    options = {"Runtime": "nodejs22.x", "Handler": "app.handler", "MemorySize": 512, "Environment": WRAPPED}
    return create_function(lambda_client, "client-node", node_files, **options)


@pytest.fixture(scope="module")
def go(lambda_client: Any) -> str:
    return create_function(lambda_client, "client-go", {"bootstrap": toolchains.go_bootstrap().read_bytes()}, **NATIVE)


@pytest.fixture(scope="module")
def rust(lambda_client: Any) -> str:
    return create_function(lambda_client, "client-rust", {"bootstrap": toolchains.rust_bootstrap().read_bytes()}, **NATIVE)


@pytest.fixture(scope="module")
def java(lambda_client: Any) -> str:
    """On an OS-only runtime: a program of the function's own, with its own Java."""
    flags = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:MaxHeapSize=440m"
    command = f"/var/task/jre/bin/java {flags} -cp '/var/task:/var/task/lib/*' com.amazonaws.services.lambda.runtime.api.client.AWSLambda"
    files: dict[str, str | bytes] = {**toolchains.java_package(), "bootstrap": start(f'{command} "$_HANDLER"')}
    options = {**NATIVE, "Handler": "App::handleRequest", "MemorySize": 512}
    return create_function(lambda_client, "client-java", files, "jre/bin/java", **options)


@pytest.mark.parametrize("client", ["python", "node", "go", "rust", "java"])
def test_answers_context_and_log(lambda_client: Any, client: str, request: pytest.FixtureRequest) -> None:
    name = request.getfixturevalue(client)
    for number in range(20):
        answer, response, log = call(lambda_client, name, {"n": number}, ClientContext=CLIENT_CONTEXT)
        assert "FunctionError" not in response, answer
        request_id = response["ResponseMetadata"]["RequestId"]
        assert (answer["twice"], answer["requestId"], answer["custom"]) == (2 * number, request_id, {"k": "v"})
        assert answer["arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{name}" and answer["function"] == name
        assert answer.get("trace", response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-trace-id"]).startswith("Root=1-")
        assert answer.get("client", True) and 0 < answer.get("leftMs", 1) <= 10_000
        assert sum(f"handling {number}" in line for line in log) == 1, log
        assert ("Init Duration" in log[-1]) == (number == 0)  # one environment served them all


@pytest.mark.parametrize(
    ("client", "what", "error_type", "message"),
    [
        ("python", "raise", "ValueError", "no good"),
        ("python", "big", "Function.ResponseSizeTooLarge", r"Response payload size exceeded maximum allowed payload size .*"),
        ("python", "exit", "Runtime.ExitError", r"RequestId: \S+ Error: Runtime exited with error: exit status 4"),
        ("node", "raise", "RangeError", "no good"),
        ("node", "big", "Function.ResponseSizeTooLarge", r"Response payload size exceeded maximum allowed payload size .*"),
        ("node", "exit", "Runtime.ExitError", r"RequestId: \S+ Error: Runtime exited with error: exit status 4"),
        ("go", "fail", "noGood", "no good"),
        ("go", "plain", "errorString", "plainly no good"),
        ("go", "panic", "string", "panicked"),
        ("rust", "fail", r"&alloc::boxed::Box<dyn core::error::Error.*>", "no good"),
        ("java", "fail", "java.lang.IllegalStateException", "no good"),
        ("java", "big", "Function.ResponseSizeTooLarge", r"Response payload size exceeded maximum allowed payload size .*"),
        ("java", "exit", "Runtime.ExitError", r"RequestId: \S+ Error: Runtime exited with error: exit status 4"),
        ("rust", "panic", r"&alloc::boxed::Box<dyn core::any::Any.*>", "Lambda panicked: panicked"),
    ],
)
def test_errors(lambda_client: Any, client: str, what: str, error_type: str, message: str, request: pytest.FixtureRequest) -> None:
    name = request.getfixturevalue(client)
    error, answer, log = call(lambda_client, name, {"do": what, "n": 0})
    assert answer["StatusCode"] == 200 and answer["FunctionError"] == "Unhandled"
    assert re.fullmatch(error_type, error["errorType"]) and re.fullmatch(message, error["errorMessage"]), error
    assert "Status: error\tError Type: " in log[-1]
    assert call(lambda_client, name, {"n": 3})[0]["twice"] == 6


def test_the_node_client_streams(lambda_client: Any, node_files: dict[str, str | bytes]) -> None:
    options = {"Runtime": "nodejs22.x", "Handler": "app.stream", "MemorySize": 512, "Environment": WRAPPED}
    name = create_function(lambda_client, "client-node-stream", node_files, **options)
    assert call(lambda_client, name, {"n": 2})[0] == {"twice": 4}
    chunks, complete = stream(lambda_client, name, {"n": 2})
    assert (b"".join(chunks), complete) == (b'{"twice": 4}', {})
    chunks, complete = stream(lambda_client, name, {"do": "raise"})
    assert b"".join(chunks) == b'{"twice": ' and json.loads(complete["ErrorDetails"])["errorMessage"] == "in the middle"
    error, answer, _ = call(lambda_client, name, {"do": "raise"})
    assert answer["FunctionError"] == "Unhandled" and (error["errorType"], error["errorMessage"]) == ("RangeError", "in the middle")
    assert call(lambda_client, name, {"n": 3})[0] == {"twice": 6}


@pytest.mark.parametrize("client", ["go", "rust"])
def test_compiled_clients_stream(lambda_client: Any, client: str, request: pytest.FixtureRequest) -> None:
    """Rust's begins with a prelude, whoever calls, and has an error as text in its body."""
    name = request.getfixturevalue(client)
    chunks, complete = stream(lambda_client, name, {"do": "stream", "n": 1})
    prelude, _, body = b"".join(chunks).rpartition(bytes(8))
    assert body == b"onetwo" and chunks[-1] == b"two" and complete == {} and bool(prelude) == (client == "rust")
    chunks, complete = stream(lambda_client, name, {"do": "stream", "n": -1})
    if client == "rust":
        assert b"oneLambda-Runtime-Function-Error-Type: Runtime.StreamError\r\n" in b"".join(chunks) and complete == {}
    else:
        assert chunks == [b"one"] and complete["ErrorCode"] == "Unhandled"
        assert json.loads(complete["ErrorDetails"]) == {"errorMessage": "in the middle", "errorType": "noGood"}
    assert call(lambda_client, name, {"n": 3})[0]["twice"] == 6


def stream(client: Any, name: str, event: dict[str, Any]) -> tuple[list[bytes], dict[str, Any]]:
    """The chunks, and the last event."""
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event).encode())
    *chunks, last = list(answer["EventStream"])
    return [chunk["PayloadChunk"]["Payload"] for chunk in chunks], last["InvokeComplete"]


@pytest.mark.parametrize(("client", "handler"), [("python", "nothing.handler"), ("node", "nothing.handler")])
def test_a_handler_that_is_not_there(lambda_client: Any, client: str, handler: str, request: pytest.FixtureRequest) -> None:
    """Reported by the client to `init/error`."""
    lambda_client.update_function_configuration(FunctionName=request.getfixturevalue(client), Handler=handler)
    lambda_client.get_waiter("function_updated_v2").wait(FunctionName=f"client-{client}", WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    error, answer, log = call(lambda_client, f"client-{client}", {})
    assert answer["FunctionError"] == "Unhandled" and error["errorType"] == "Runtime.ImportModuleError"
    assert log[-1].endswith("Status: error\tError Type: Runtime.ImportModuleError")
