"""What functions log, in real containers: text as it is written, records of several lines, JSON, custom groups."""

import base64
import json
import time
from typing import Any

import pytest

from tests import toolchains
from tests.server import Server, create_function

PYTHON = """
import logging, sys
def handler(event, context):
    print("one\\n\\nt\\rwo")
    logging.getLogger().setLevel("INFO")
    logging.info("two\\nlines")
    sys.stdout.write("unfinished")
    raise ValueError("no good")
"""

NODE = """
exports.handler = async () => {
  console.log("two\\nlines", { a: 1 });
  process.stdout.write("raw\\n");
};
"""


@pytest.fixture(scope="module")
def logs_client(hanabi_server: Server) -> Any:
    return hanabi_server.client("logs")


def messages(client: Any, logs: Any, name: str, group: str) -> list[str]:
    """The log of one invocation, without its last line break."""
    client.invoke(FunctionName=name, Payload=b"{}")
    return [event["message"].removesuffix("\n") for event in logs.filter_log_events(logGroupName=group)["events"]]


@pytest.mark.parametrize("client", ["bundled", "awslambdaric"])
def test_python_text(lambda_client: Any, logs_client: Any, client: str) -> None:
    files: dict[str, str | bytes] = {"app.py": PYTHON}
    options: dict[str, Any] = {}
    if client == "awslambdaric":
        files |= {**toolchains.python_client(), "bootstrap": "#!/bin/sh\nexec /var/lang/bin/python3.11 -m awslambdaric $_HANDLER\n"}
        options["Environment"] = {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap"}}
    name = create_function(lambda_client, f"logs-{client}", files, Handler="app.handler", MemorySize=256, **options)
    _, start, one, two, record, unfinished, error, *_ = messages(lambda_client, logs_client, name, f"/aws/lambda/{name}")
    assert start.startswith("START RequestId: ")
    assert (one, two, unfinished) == ("one", "t\rwo", "unfinished")
    assert record.startswith("[INFO]\t") and record.endswith("\ttwo\nlines")
    assert error.startswith("[ERROR] ValueError: no good\nTraceback (most recent call last):\n")
    assert "handler\n" in error


def test_json(lambda_client: Any, logs_client: Any) -> None:
    group = "/custom/logs"
    for runtime, file, source, count in (("python3.11", "app.py", PYTHON, 9), ("nodejs22.x", "app.js", NODE, 6)):
        config = {"LogFormat": "JSON", "LogGroup": group, "SystemLogLevel": "DEBUG"}
        options = {"Runtime": runtime, "Handler": "app.handler", "MemorySize": 256, "LoggingConfig": config}
        name = create_function(lambda_client, f"logs-json-{runtime[:4]}", {file: source}, **options)
        described = lambda_client.get_function_configuration(FunctionName=name)["LoggingConfig"]
        assert described == {**config, "ApplicationLogLevel": "INFO"}
        answer = lambda_client.invoke(FunctionName=name, Payload=b"{}", LogType="Tail")
        tail = base64.b64decode(answer["LogResult"]).decode().splitlines()
        assert json.loads(tail[-1])["type"] == "platform.report"
        (stream,) = logs_client.describe_log_streams(logGroupName=group, logStreamNamePrefix=streams_of(name))["logStreams"]
        events = logs_client.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)["events"]
        said = [json.loads(event["message"]) for event in events if event["message"].startswith("{")]
        kinds = [each.get("type", each.get("level")) for each in said]
        first = ["platform.initStart", "platform.initRuntimeDone", "platform.initReport", "platform.start", "INFO"]
        assert kinds == [*first, *(["ERROR"] if count == 9 else []), "platform.runtimeDone", "platform.report"]
        assert said[4]["message"] == ("two\nlines" if count == 9 else "two\nlines { a: 1 }")
        assert said[4]["requestId"] == said[3]["record"]["requestId"]
        if count == 9:
            assert [*said[5]] == ["timestamp", "level", "errorMessage", "errorType", "requestId", "stackTrace"]
            assert said[-1]["record"]["status"] == "error"


def streams_of(name: str) -> str:
    return time.strftime("%Y/%m/%d/", time.gmtime()) + name
