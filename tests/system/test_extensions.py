"""Extensions in real sandboxes: the recorder of examples/, from a layer and in an image, and what it is told."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.server import Server, create_function, zip_of
from tests.system.test_runtimes import call

RECORDER = Path(__file__).parents[2] / "examples" / "extension" / "extensions" / "recorder"
OWN_START = {"LD_BIND_NOW": "1"}  # a variable of the start: the function gets no environment that was started ahead
CODE = """
import os, time
print("function loaded")

def lambda_handler(event, context):
    if event.get("do") == "sleep":
        time.sleep(60)
    if event.get("do") == "exit":
        os._exit(3)
    return os.getpid()
"""


def layer(client: Any, name: str, files: "dict[str, str | bytes]") -> str:
    content = zip_of(files, executable=list(files))
    arn: str = client.publish_layer_version(LayerName=name, Content={"ZipFile": content})["LayerVersionArn"]
    return arn


@pytest.fixture(scope="module")
def recorder(lambda_client: Any) -> str:
    return layer(lambda_client, "recorder", {"extensions/recorder": RECORDER.read_text()})


@pytest.fixture(scope="module")
def logs_client(hanabi_server: Server) -> Any:
    return hanabi_server.client("logs")


class Log:
    """What a function's log has, read again until it has what is waited for."""

    def __init__(self, logs: Any, name: str) -> None:
        self._logs, self._group = logs, f"/aws/lambda/{name}"

    def lines(self) -> list[str]:
        pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=self._group)
        return [event["message"].rstrip("\n") for page in pages for event in page["events"]]

    def recorded(self) -> list[dict[str, Any]]:
        """Wherever in a line: in a microVM the function's output and an extension's are in one pipe."""
        found = [line[start:] for line in self.lines() if (start := line.find('{"recorder"')) >= 0]
        return [json.JSONDecoder().raw_decode(text)[0]["recorder"] for text in found]

    def wait_for(self, count: int, within_s: float = 60) -> list[dict[str, Any]]:
        deadline = time.monotonic() + within_s
        while len(found := self.recorded()) < count:
            assert time.monotonic() < deadline, self.lines()
            time.sleep(0.1)
        return found


@pytest.mark.parametrize("variables", [{}, OWN_START], ids=["from the pool", "own start"])
def test_the_recorder_sees_what_aws_documents(lambda_client: Any, logs_client: Any, recorder: str, variables: dict[str, str]) -> None:
    name = f"recorded-{len(variables)}"
    environment = {"Variables": {"RECORDER_WORK_S": "0.3", **variables}}
    create_function(lambda_client, name, CODE, Runtime="python3.13", MemorySize=256, Layers=[recorder], Environment=environment, Timeout=10)
    first, response, _ = call(lambda_client, name, {})
    began = time.monotonic()
    second, _, log = call(lambda_client, name, {})
    assert second == first
    assert time.monotonic() - began >= 0.3  # who asks for the log waits for its end
    report = next(line for line in log if line.startswith("REPORT"))
    assert float(report.split("Duration: ")[1].split(" ms")[0]) >= 300  # the extension's time is part of it
    lambda_client.update_function_configuration(FunctionName=name, Description="another one")  # ends the environment
    events = Log(logs_client, name).wait_for(4)
    assert [event["eventType"] for event in events] == ["REGISTERED", "INVOKE", "INVOKE", "SHUTDOWN"]
    registered, one, two, end = events
    assert {registered[key] for key in ("functionName", "functionVersion", "handler")} == {
        name,
        "$LATEST",
        "lambda_function.lambda_handler",
    }
    assert registered["accountId"] == "000000000000"
    assert one["requestId"] == response["ResponseMetadata"]["RequestId"] != two["requestId"]
    assert one["invokedFunctionArn"].endswith(f":function:{name}") and 0 < one["deadlineMs"] - one["atMs"] <= 10_000
    assert end["shutdownReason"] == "spindown" and end["deadlineMs"] - end["atMs"] <= 2000
    lines = Log(logs_client, name).lines()
    assert lines.index("EXTENSION\tName: recorder\tState: Ready\tEvents: [INVOKE,SHUTDOWN]") < lines.index(
        next(line for line in lines if line.startswith("START"))
    )
    assert next(i for i, line in enumerate(lines) if "REGISTERED" in line) < lines.index("function loaded")  # the runtime starts after it


def test_the_caller_has_the_answer_before_the_extension_is_done(lambda_client: Any, recorder: str) -> None:
    environment = {"Variables": {"RECORDER_WORK_S": "2"}}
    name = create_function(
        lambda_client, "answered", CODE, Runtime="python3.13", MemorySize=256, Layers=[recorder], Environment=environment, Timeout=10
    )
    began = time.monotonic()
    call(lambda_client, name, {})
    waited_s = time.monotonic() - began
    began = time.monotonic()
    lambda_client.invoke(FunctionName=name, Payload=b"{}")["Payload"].read()
    assert time.monotonic() - began < waited_s


INTERNAL = """
import json, os, threading, time
from http.client import HTTPConnection

def ask(connection, method, path, body=None, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, "/2020-01-01/extension/" + path, body, named)
    answer = connection.getresponse()
    return answer, json.loads(answer.read())

def run():
    connection = HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    answer, _ = ask(connection, "POST", "register", '{"events": ["INVOKE"]}', Lambda_Extension_Name="inner")
    identifier = answer.getheader("Lambda-Extension-Identifier")
    registered.set()
    while True:
        _, event = ask(connection, "GET", "event/next", Lambda_Extension_Identifier=identifier)
        done.wait()  # until the handler has answered
        done.clear()
        time.sleep(0.5)
        print("after the answer to", event["requestId"])

registered, done = threading.Event(), threading.Event()
threading.Thread(target=run, daemon=True).start()
registered.wait()

def lambda_handler(event, context):
    done.set()
    return context.aws_request_id
"""


def test_an_internal_extension_works_after_the_answer(lambda_client: Any, logs_client: Any) -> None:
    name = create_function(lambda_client, "internal", INTERNAL, Runtime="python3.13", MemorySize=256)
    for _ in range(2):
        answer, _, log = call(lambda_client, name, {})
        assert f"after the answer to {answer}" in log
    report = next(line for line in log if line.startswith("REPORT"))
    assert float(report.split("Duration: ")[1].split(" ms")[0]) >= 500


@pytest.mark.parametrize("do, error_type, reason", [("sleep", "Sandbox.Timedout", "timeout"), ("exit", "Runtime.ExitError", "failure")])
def test_a_failure_tells_the_extension_why(
    lambda_client: Any, logs_client: Any, recorder: str, do: str, error_type: str, reason: str
) -> None:
    name = create_function(lambda_client, f"ends-{do}", CODE, Runtime="python3.13", MemorySize=256, Layers=[recorder], Timeout=2)
    error, _, _ = call(lambda_client, name, {"do": do})
    assert error["errorType"] == error_type
    assert isinstance(call(lambda_client, name, {})[0], int)  # after the reset, with the extension started anew
    events = Log(logs_client, name).wait_for(5)
    kinds = [(event["eventType"], event.get("shutdownReason")) for event in events]
    assert kinds == [("REGISTERED", None), ("INVOKE", None), ("SHUTDOWN", reason), ("REGISTERED", None), ("INVOKE", None)]


@pytest.mark.parametrize(
    "name, script, error_type, message",
    [
        ("ends", "#!/bin/sh\nexit 4\n", "Extension.Crash", "exit status 4"),
        ("absent", "#!/nowhere\n", "Extension.LaunchError", "fork/exec /opt/extensions/broken: no such file or directory"),
        ("text", "no program", "Extension.LaunchError", "fork/exec /opt/extensions/broken: exec format error"),
    ],
)
def test_an_extension_that_does_not_come_up(lambda_client: Any, name: str, script: str, error_type: str, message: str) -> None:
    broken = layer(lambda_client, "broken", {"extensions/broken": script})
    create_function(lambda_client, f"broken-{name}", CODE, Runtime="python3.13", MemorySize=256, Layers=[broken])
    error, _, log = call(lambda_client, f"broken-{name}", {})
    assert (error["errorType"], error["errorMessage"].split("Error: ")[1]) == (error_type, message)
    assert any(line.startswith("EXTENSION\tName: broken") for line in log), log
