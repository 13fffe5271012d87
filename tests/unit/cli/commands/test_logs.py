"""hanabi logs."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hanabi.cli import main
from hanabi.cli.commands import logs as command
from tests.unit.services.logs.live import live_logs


class Functions:
    """A client of Lambda that knows one function."""

    class exceptions:
        class ResourceNotFoundException(Exception):
            response = {"Error": {"Message": "Function not found"}}

    def get_function_configuration(self, FunctionName: str) -> dict[str, Any]:
        if FunctionName != "hello":
            raise self.exceptions.ResourceNotFoundException
        return {"LoggingConfig": {"LogGroup": "group"}}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with live_logs(tmp_path) as served:
        client = served.client()
        clients = {"logs": client, "lambda": Functions()}
        monkeypatch.setattr(command, "find_server", lambda options: SimpleNamespace(client=clients.__getitem__))
        yield client


def put(client: Any, *messages: str) -> None:
    events = [{"timestamp": round(time.time() * 1000), "message": message} for message in messages]
    client.put_log_events(logGroupName="group", logStreamName="s", logEvents=events)


def test_what_is_printed(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "hello"]) == 0 and capsys.readouterr().out == ""  # there is no group yet
    client.create_log_group(logGroupName="group")
    client.create_log_stream(logGroupName="group", logStreamName="s")
    put(client, "plain\n", '{"level": "ERROR"}\n', "two\nlines\n")
    assert main(["logs", "hello"]) == 0
    assert [line.partition("Z ")[2] for line in capsys.readouterr().out.splitlines()] == ["plain", '{"level": "ERROR"}', "two", "lines"]
    assert main(["logs", "hello", "--filter", '{ $.level = "ERROR" }', "--json"]) == 0
    (event,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert event["message"] == '{"level": "ERROR"}\n' and event["logStreamName"] == "s"


def test_what_is_wrong_is_said(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    client.create_log_group(logGroupName="group")
    assert main(["logs", "hello", "--filter", "a:b"]) == 1
    assert "Invalid character(s) in term ':'" in capsys.readouterr().err
    assert main(["logs", "none"]) == 1
    assert "Function not found" in capsys.readouterr().err
