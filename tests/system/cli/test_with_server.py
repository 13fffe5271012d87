"""The commands against a running Hanabi, as a person types them."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import os

def handler(event, context):
    print("\\x1b[31mgot", event)
    if event == "fail":
        raise ValueError("no good")
    return {"got": event, "colour": os.environ.get("COLOUR")}
"""


@pytest.fixture(scope="module")
def function(hanabi_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("cli") / "cli function"
    folder.mkdir()
    (folder / "app.py").write_text(CODE)
    printed = hanabi_server.hanabi("deploy", str(folder), "--runtime", "python3.11", "--memory", "256", "--env", "COLOUR=green")
    assert printed.splitlines()[0] == "cli-function is ready: python3.11, app.handler, 256 MB, 3 s; created"
    yield "cli-function"


def hanabi(server: Server, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    command = [sys.executable, "-m", "hanabi", "--data-dir", str(server.data_dir), "--port", str(server.port), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_invoke_prints_the_result(hanabi_server: Server, function: str, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text('"file"')
    for arguments, stdin, got in (
        (["-p", '{"a": 1}'], "", {"a": 1}),
        (["-f", str(tmp_path / "event.json")], "", "file"),
        (["-f", "-"], "[1]", [1]),
    ):
        status, output, errors = hanabi(hanabi_server, "invoke", function, *arguments, stdin=stdin)
        assert (status, errors) == (0, "")
        assert json.loads(output) == {"got": got, "colour": "green"}


def test_invoke_of_a_failure(hanabi_server: Server, function: str) -> None:
    status, output, errors = hanabi(hanabi_server, "invoke", function, "-p", '"fail"', "--log")
    assert status == 1
    assert json.loads(output)["errorType"] == "ValueError"
    assert "REPORT RequestId: " in errors and errors.endswith("hanabi invoke: the function failed (Unhandled)\n")
    assert "\x1b" not in errors
    status, output, errors = hanabi(hanabi_server, "invoke", function, "-p", '"fail"', "--json")
    answer = json.loads(output)
    assert (status, answer["StatusCode"], answer["FunctionError"], answer["Payload"]["errorType"]) == (1, 200, "Unhandled", "ValueError")


def test_errors_are_one_line(hanabi_server: Server, function: str) -> None:
    for arguments, message in (
        (["invoke", "nobody"], "hanabi invoke: ResourceNotFoundException: Function not found: arn:aws:lambda:"),
        (["invoke", function, "-f", "/nonexistent"], "hanabi invoke: /nonexistent: No such file or directory"),
        (["logs", "nobody"], "hanabi logs: Function not found: "),
        (["deploy", str(ROOT / "examples" / "python"), "--name", "no such name"], "hanabi deploy: "),
    ):
        status, output, errors = hanabi(hanabi_server, *arguments)
        assert (status, output) == (1, ""), arguments
        assert errors.startswith(message) and errors.count("\n") == 1


def test_what_is_no_json_is_said_in_words(hanabi_server: Server, function: str) -> None:
    status, _, errors = hanabi(hanabi_server, "invoke", function, "-p", '{"a": 1,}')
    assert status == 2 and "is no JSON: " in errors and "line 1, column 9" in errors
    status, _, errors = hanabi(hanabi_server, "invoke", function, "-p", "hello")
    assert status == 2 and "a text wants quotes of its own" in errors
    status, _, errors = hanabi(hanabi_server, "deploy", str(ROOT / "examples" / "python"), "--env", "A=1", "--name", "words")
    assert status == 1 and "it has a character or a form that is not allowed" in errors and "[a-zA-Z]" not in errors


def test_an_event_is_accepted_and_logged(hanabi_server: Server, function: str) -> None:
    status, output, _ = hanabi(hanabi_server, "invoke", function, "--async", "-p", '"later"')
    accepted, request_id = output.split()
    assert (status, accepted) == (0, "accepted")

    def logged() -> list[str]:
        lines = hanabi_server.hanabi("logs", function, "--since", "1h").splitlines()
        return [line for line in lines if f"REPORT RequestId: {request_id}" in line]

    wait_for(logged)
    lines = [json.loads(line) for line in hanabi_server.hanabi("logs", function, "--since", "1h", "--json").splitlines()]
    assert any("got later" in line["message"] and line["logStreamName"] for line in lines)
    assert len({line["eventId"] for line in lines}) == len(lines)


def test_following_shows_what_comes(hanabi_server: Server, function: str) -> None:
    command = [sys.executable, "-m", "hanabi", "logs", function, "-f", "--since", "1h", "--data-dir", str(hanabi_server.data_dir)]
    hanabi_server.hanabi("invoke", function, "-p", '"before"')
    with subprocess.Popen([*command, "--port", str(hanabi_server.port)], stdout=subprocess.PIPE, text=True) as follower:
        try:
            assert follower.stdout is not None
            assert any("got before" in line for line in iter(follower.stdout.readline, ""))
            hanabi_server.hanabi("invoke", function, "-p", '"after"')
            assert any("got after" in line for line in iter(follower.stdout.readline, ""))
        finally:
            follower.terminate()


def test_deploy_again_updates(hanabi_server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "cli-again"
    folder.mkdir()
    (folder / "lambda_function.py").write_text("def lambda_handler(event, context): return 1")
    options = ["deploy", str(folder), "--runtime", "python3.11", "--json"]
    first = json.loads(hanabi_server.hanabi(*options, "--env", "ANSWER=1"))
    same = json.loads(hanabi_server.hanabi(*options))
    (folder / "lambda_function.py").write_text("import os\ndef lambda_handler(event, context): return os.environ['ANSWER']")
    other = json.loads(hanabi_server.hanabi(*options, "--memory", "200"))
    assert first["CodeSha256"] == same["CodeSha256"] != other["CodeSha256"]
    assert json.loads(hanabi_server.hanabi("invoke", "cli-again")) == "1"
    configuration = hanabi_server.client("lambda").get_function_configuration(FunctionName="cli-again")
    assert (configuration["MemorySize"], configuration["Role"]) == (200, "arn:aws:iam::000000000000:role/hanabi-default")


def test_deploy_with_a_url(hanabi_server: Server, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def handler(event, context): return {'path': event['rawPath']}")
    options = ["deploy", str(tmp_path), "--name", "cli-url", "--runtime", "python3.11", "--url", "--json"]
    url = json.loads(hanabi_server.hanabi(*options))["FunctionUrl"]
    assert json.loads(hanabi_server.hanabi(*options))["FunctionUrl"] == url
    with urllib.request.urlopen(f"{url}x", timeout=30) as answer:
        assert (answer.status, json.load(answer)) == (200, {"path": "/x"})


def test_ps_shows_the_environment(hanabi_server: Server, function: str) -> None:
    hanabi_server.hanabi("invoke", function, "-p", "1")
    environments = [each for each in json.loads(hanabi_server.hanabi("ps", "--json")) if each["function"] == function]
    assert environments and all(each["memory_mb"] == 256 and each["runtime"] == "python3.11" for each in environments)
    assert all(each["type"] == "on-demand" for each in environments) and any(each["idle_s"] is not None for each in environments)
    header, *rows, summary = hanabi_server.hanabi("ps").splitlines()
    assert header.split()[:3] == ["ENVIRONMENT", "FUNCTION", "VERSION"]
    assert any(environments[0]["id"] in row for row in rows)
    assert re.fullmatch(r"\d+ of 256 environments, \d+ of \d+ MB.*", summary)


def test_usage_counts_what_was_billed(hanabi_server: Server, function: str) -> None:
    def used() -> int:
        return int(json.loads(hanabi_server.hanabi("usage", "--function", function, "--json"))["total"]["requests"])

    hanabi_server.hanabi("invoke", function, "-p", "1")
    before = used()
    hanabi_server.hanabi("invoke", function, "-p", "1")
    assert used() == before + 1
    lines = hanabi_server.hanabi("usage", "--function", function, "--since", "1d", "--period", "month").splitlines()
    assert lines[0].split()[0] == "PERIOD" and lines[1].split()[:2] == [time.strftime("%Y-%m", time.gmtime()), function]
    assert lines[-1].startswith("total")


def test_a_key_of_another_server_says_so(hanabi_server: Server, tmp_path: Path) -> None:
    keys = {"access_key": "AKIAAAAAAAAAAAAAAAAA", "secret_key": "x", "region": "us-east-1", "account": "000000000000"}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    for command in (["invoke", "f"], ["ps"]):
        done = subprocess.run(
            [sys.executable, "-m", "hanabi", *command, "--data-dir", str(tmp_path), "--port", str(hanabi_server.port)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1 and "the key is not that server's" in done.stderr


def test_doctor_says_what_is_laxer_than_aws(hanabi_server: Server) -> None:
    _, output, _ = hanabi(hanabi_server, "doctor", "--json")
    assert [check["detail"].split(":")[0] for check in json.loads(output) if check["name"] == "choice"] == ["--roles any"]


def test_doctor_finds_the_server(hanabi_server: Server) -> None:
    _, output, _ = hanabi(hanabi_server, "doctor", "--json")
    assert {"name": "server", "ok": True, "detail": f"healthy on port {hanabi_server.port}", "fix": ""} in json.loads(output)


@pytest.mark.parametrize(("example", "message"), [("python", "Hello, you!"), ("node", "Hello, you!")])
def test_the_examples_run(hanabi_server: Server, example: str, message: str) -> None:
    name = f"example-{example}"
    hanabi_server.hanabi("deploy", str(ROOT / "examples" / example), "--name", name, "--timeout", "10")
    answer = json.loads(hanabi_server.hanabi("invoke", name, "-p", '{"name": "you"}'))
    assert answer["message"] == message
    if example == "python":
        assert ":assumed-role/hanabi-default/" in answer["role"]


def test_the_shell_example_runs(hanabi_server: Server) -> None:
    hanabi_server.hanabi("deploy", str(ROOT / "examples" / "provided"), "--name", "example-provided", "--timeout", "10")
    for event in ({"n": 1}, {"n": 2}):
        assert json.loads(hanabi_server.hanabi("invoke", "example-provided", "-p", json.dumps(event))) == {"received": event}
