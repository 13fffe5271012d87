"""The main job through boto3: what a function is given, what its answers and failures become."""

import base64
import json
import re
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.server import Server, create_function
from tests.waiting import wait_for

ECHO = """
import os, json, time, sys

def lambda_handler(event, context):
    what = event.get("do") if isinstance(event, dict) else None
    if what == "context":
        return {
            "name": context.function_name, "version": context.function_version, "arn": context.invoked_function_arn,
            "memory": context.memory_limit_in_mb, "request_id": context.aws_request_id, "group": context.log_group_name,
            "stream": context.log_stream_name, "left": context.get_remaining_time_in_millis(),
            "custom": context.client_context.custom if context.client_context else None,
        }
    if what == "environ":
        return dict(os.environ)
    if what == "raise":
        raise ValueError("no good")
    if what == "exit":
        sys.exit(3)
    if what == "die":
        os._exit(1)
    if what == "segfault":
        import ctypes
        ctypes.string_at(0)
    if what == "unserialisable":
        return {1, 2}
    if what == "oversize":
        return "x" * (6 * 1024 * 1024 + 1024)
    if what == "big":
        return "x" * (6 * 1024 * 1024 - 1024)
    if what == "print":
        print("hello from inside")
        return "printed"
    if what == "sleep":
        time.sleep(event["seconds"])
    if what == "busy":
        sum(iter(lambda: 1, 2))
    return event
"""


@pytest.fixture(scope="module")
def echo(lambda_client: Any) -> str:
    return create_function(lambda_client, "invoke-echo", ECHO, Timeout=3, MemorySize=256, Environment={"Variables": {"COLOUR": "green"}})


def call(client: Any, name: str, event: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode(), **options)
    return json.loads(answer["Payload"].read() or b"null"), answer


def test_an_event_comes_back(lambda_client: Any, echo: str) -> None:
    for event in ({"a": 1}, [1, 2], "text", 7, None, {"unicode": "花火 🎆"}):
        result, answer = call(lambda_client, echo, event)
        assert result == event
        assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST" and "FunctionError" not in answer


def test_the_context_is_lambdas(lambda_client: Any, echo: str) -> None:
    client_context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    context, answer = call(lambda_client, echo, {"do": "context"}, ClientContext=client_context)
    assert context["name"] == echo and context["version"] == "$LATEST" and context["memory"] == "256"
    assert context["arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{echo}"
    assert context["request_id"] == answer["ResponseMetadata"]["RequestId"]
    assert context["group"] == f"/aws/lambda/{echo}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", context["stream"])
    assert 1000 < context["left"] <= 3000
    assert context["custom"] == {"k": "v"}


def test_the_environment_is_lambdas(lambda_client: Any, echo: str) -> None:
    environ, _ = call(lambda_client, echo, {"do": "environ"})
    expected = {
        "COLOUR": "green",
        "_HANDLER": "lambda_function.lambda_handler",
        "AWS_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_NAME": echo,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "TZ": ":UTC",
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert environ["AWS_SESSION_TOKEN"] and environ["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert "HANABI_RUNTIME_FD" not in environ


@pytest.mark.parametrize(
    ("what", "error_type", "message"),
    [
        ("raise", "ValueError", "no good"),
        ("unserialisable", "Runtime.MarshalError", "Unable to marshal response: Object of type set is not JSON serializable"),
        ("exit", "Runtime.ExitError", r"RequestId: \S+ Error: Runtime exited with error: exit status 3"),
        ("die", "Runtime.ExitError", r"RequestId: \S+ Error: Runtime exited with error: exit status 1"),
        ("segfault", "Runtime.ExitError", r"RequestId: \S+ Error: Runtime exited with error: signal: segmentation fault.*"),
        ("oversize", "Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size .*"),
    ],
)
def test_a_failure_is_told_as_lambda_tells_it_and_the_next_invocation_works(
    lambda_client: Any, echo: str, what: str, error_type: str, message: str
) -> None:
    error, answer = call(lambda_client, echo, {"do": what}, LogType="Tail")
    assert answer["StatusCode"] == 200 and answer["FunctionError"] == "Unhandled"
    assert error["errorType"] == error_type
    assert re.fullmatch(message, error["errorMessage"]), error["errorMessage"]
    log = base64.b64decode(answer["LogResult"]).decode()
    assert "REPORT RequestId:" in log and "Status: error" in log
    assert call(lambda_client, echo, {"ok": 1})[0] == {"ok": 1}


@pytest.mark.parametrize("what", ["sleep", "busy"])
def test_a_timeout_kills_and_says_so(lambda_client: Any, echo: str, what: str) -> None:
    error, answer = call(lambda_client, echo, {"do": what, "seconds": 30}, LogType="Tail")
    assert answer["FunctionError"] == "Unhandled"
    assert error["errorType"] == "Sandbox.Timedout"
    assert re.fullmatch(r"RequestId: \S+ Error: Task timed out after 3\.00 seconds", error["errorMessage"])
    report = base64.b64decode(answer["LogResult"]).decode()
    assert "Status: timeout" in report
    duration = float(re.search(r"\tDuration: ([\d.]+) ms", report)[1])  # type: ignore[index]
    assert 3000 <= duration < 4500
    assert call(lambda_client, echo, {"ok": 1})[0] == {"ok": 1}


def test_a_large_answer_passes(lambda_client: Any, echo: str) -> None:
    result, _ = call(lambda_client, echo, {"do": "big"})
    assert len(result) == 6 * 1024 * 1024 - 1024


def test_a_large_event_passes_and_a_larger_one_is_refused(lambda_client: Any, echo: str) -> None:
    event = {"x": "y" * (6 * 1024 * 1024 - 100)}
    assert call(lambda_client, echo, event)[0] == event
    with pytest.raises(ClientError) as refused:
        call(lambda_client, echo, {"x": "y" * (6 * 1024 * 1024 + 1)})
    assert refused.value.response["Error"]["Code"] == "RequestTooLargeException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_the_log_tail_is_lambdas(lambda_client: Any, echo: str) -> None:
    _, answer = call(lambda_client, echo, {"do": "print"}, LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    lines = base64.b64decode(answer["LogResult"]).decode().splitlines()
    lines = [line for line in lines if not line.startswith("INIT_START")]
    assert lines[0] == f"START RequestId: {request_id} Version: $LATEST"
    assert lines[1] == "hello from inside"
    assert lines[2] == f"END RequestId: {request_id}"
    pattern = (
        rf"REPORT RequestId: {request_id}\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 256 MB\tMax Memory Used: \d+ MB\t"
        r"(Init Duration: [\d.]+ ms\t)?"
    )
    assert re.fullmatch(pattern, lines[3]), lines[3]


def test_dry_run_checks_and_runs_nothing(lambda_client: Any, echo: str) -> None:
    assert lambda_client.invoke(FunctionName=echo, InvocationType="DryRun")["StatusCode"] == 204


def test_an_event_invocation_is_run_once(hanabi_server: Server, lambda_client: Any, echo: str) -> None:
    answer = lambda_client.invoke(FunctionName=echo, InvocationType="Event", Payload=b'{"do": "print"}')
    assert answer["StatusCode"] == 202
    request_id = answer["ResponseMetadata"]["RequestId"]
    logs = hanabi_server.client("logs")

    def lines() -> list[str]:
        try:
            events = logs.filter_log_events(logGroupName=f"/aws/lambda/{echo}", filterPattern=f'"{request_id}"')["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"] for event in events]

    wait_for(lambda: any(line.startswith("REPORT") for line in lines()))
    assert sum(line.startswith("START") for line in lines()) == 1


def test_an_unknown_function_is_not_found(lambda_client: Any) -> None:
    with pytest.raises(ClientError) as missing:
        lambda_client.invoke(FunctionName="invoke-nothing")
    assert missing.value.response["Error"]["Code"] == "ResourceNotFoundException"
    expected = "Function not found: arn:aws:lambda:us-east-1:000000000000:function:invoke-nothing:$LATEST"
    assert missing.value.response["Error"]["Message"] == expected


IMPORT, MISSING = "Unable to import module ", "Runtime.ImportModuleError"


@pytest.mark.parametrize(
    ("name", "code", "handler", "error_type", "message"),
    [
        ("missing-module", "x = 1", "nowhere.handler", MISSING, IMPORT + "'nowhere': No module named 'nowhere'"),
        ("missing-handler", "x = 1", "lambda_function.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module '.*'"),
        ("import-error", "import nothing_here", "lambda_function.f", MISSING, IMPORT + "'lambda_function': No module named 'nothing_here'"),
        ("syntax-error", "def f(:", "lambda_function.f", "Runtime.UserCodeSyntaxError", "Syntax error in module 'lambda_function'.*"),
        ("exit-at-init", "import os; os._exit(1)", "lambda_function.f", "Runtime.ExitError", r"RequestId: \S+ Error: .* exit status 1"),
    ],
)
def test_code_that_does_not_load(lambda_client: Any, name: str, code: str, handler: str, error_type: str, message: str) -> None:
    create_function(lambda_client, f"load-{name}", code, Handler=handler)
    error, answer = call(lambda_client, f"load-{name}", {})
    assert answer["FunctionError"] == "Unhandled"
    assert error["errorType"] == error_type
    assert re.fullmatch(message, error["errorMessage"], re.S), error["errorMessage"]


def test_an_init_that_takes_too_long_is_retried_under_the_timeout(lambda_client: Any) -> None:
    create_function(lambda_client, "load-slow", "import time; time.sleep(60)", Timeout=2)
    error, answer = call(lambda_client, "load-slow", {}, LogType="Tail")
    assert error["errorType"] == "Sandbox.Timedout"
    assert error["errorMessage"].endswith("Task timed out after 2.00 seconds")
    assert "Status: timeout" in base64.b64decode(answer["LogResult"]).decode()
