"""Invoke as boto3 sees it."""

import base64
import json
import re
from typing import Any

import pytest

from tests.unit.control.support import ARN, create_params
from tests.unit.services.lambda_.support import CODE, Live, fails

TRACE = re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0;Lineage=1:[0-9a-f]{8}:0")


@pytest.fixture(scope="module", autouse=True)
def function(live: Live) -> str:
    live.create("echo", Publish=True)
    return "echo"


def test_a_synchronous_invocation(live: Live) -> None:
    answer = live.invoke("echo", Payload=b'{"a": 1}')
    assert (answer["StatusCode"], answer["ExecutedVersion"], answer["Payload"]) == (200, "$LATEST", b'{"a": 1}')
    assert "FunctionError" not in answer and "LogResult" not in answer
    seen = live.invoker.seen[-1]
    assert seen.request_id == answer["ResponseMetadata"]["RequestId"]
    assert (seen.source, seen.tail, seen.client_context, seen.route.invoked_arn) == ("sync", False, "", f"{ARN}:echo")
    assert TRACE.fullmatch(seen.trace)


@pytest.mark.parametrize("name", ["echo:1", f"{ARN}:echo:1", "000000000000:function:echo:1"])
def test_a_qualified_invocation(live: Live, name: str) -> None:
    answer = live.invoke(name, Qualifier="1")
    assert (answer["ExecutedVersion"], answer["Payload"]) == ("1", b"{}")  # an empty payload is an empty object
    assert live.invoker.seen[-1].route.invoked_arn == f"{ARN}:echo:1"


def test_a_log_tail_and_a_client_context(live: Live) -> None:
    context = base64.b64encode(b'{"custom":\n {"k": "v"}}').decode()
    answer = live.invoke("echo", LogType="Tail", ClientContext=context)
    assert base64.b64decode(answer["LogResult"]) == b"START RequestId: x\n"
    assert live.invoker.seen[-1].client_context == '{"custom":{"k":"v"}}'
    for bad in ("!", base64.b64encode(b"[1]").decode(), base64.b64encode(b"{").decode(), base64.b64encode(b'{"a":NaN}').decode()):
        fails("InvalidRequestContentException", 400, "Client context must be a valid Base64-encoded JSON object.",
              live.client.invoke, FunctionName="echo", ClientContext=bad)  # fmt: skip
    large = base64.b64encode(json.dumps({"k": "v" * 3000}).encode()).decode()
    fails("InvalidRequestContentException", 400, "3583", live.client.invoke, FunctionName="echo", ClientContext=large)


def test_the_callers_trace_is_kept(live: Live) -> None:
    trace = "Root=1-65a0f9a4-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1"

    def add_trace(request: Any, **_: Any) -> None:
        request.headers["X-Amzn-Trace-Id"] = trace

    live.client.meta.events.register("before-sign.lambda.Invoke", add_trace)
    try:
        live.invoke("echo")
    finally:
        live.client.meta.events.unregister("before-sign.lambda.Invoke", add_trace)
    assert live.invoker.seen[-1].trace.partition(";Lineage=")[0] == trace


def test_a_function_error_is_an_answer(live: Live) -> None:
    live.create("failing")
    answer = live.invoke("failing", Payload=b'{"errorMessage": "x"}')
    assert (answer["StatusCode"], answer["FunctionError"], answer["Payload"]) == (200, "Unhandled", b'{"errorMessage": "x"}')


def test_a_stream_passes_through(live: Live) -> None:
    live.create("streaming")
    payload = json.dumps("x" * 5_000_000).encode()
    answer = live.invoke("streaming", Payload=payload)
    assert answer["Payload"] == payload
    assert answer["ResponseMetadata"]["HTTPHeaders"]["transfer-encoding"] == "chunked"


def test_a_throttle_has_its_reason(live: Live) -> None:
    live.create("throttled")
    fails("TooManyRequestsException", 429, "Rate Exceeded.", live.client.invoke, FunctionName="throttled")


def test_an_event_is_queued(live: Live) -> None:
    before = len(live.queue.events)
    context = base64.b64encode(b"{}").decode()
    answer = live.invoke("echo:1", InvocationType="Event", Payload=b"[1]", ClientContext=context)
    assert (answer["StatusCode"], answer["Payload"]) == (202, b"")
    (event,) = live.queue.events[before:]
    assert TRACE.fullmatch(event.pop("trace"))
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert event == {"function": "echo", "payload": b"[1]", "request_id": request_id, "client_context": "", "qualifier": "1"}
    assert live.client.invoke_async(FunctionName="echo", InvokeArgs=b'{"old": true}')["Status"] == 202
    assert live.queue.events[-1]["payload"] == b'{"old": true}'


def test_a_dry_run_runs_nothing(live: Live) -> None:
    before = len(live.invoker.seen)
    assert live.invoke("echo", InvocationType="DryRun")["StatusCode"] == 204
    fails(
        "ResourceNotFoundException", 404, ":function:nowhere:$LATEST", live.client.invoke, FunctionName="nowhere", InvocationType="DryRun"
    )
    assert len(live.invoker.seen) == before


@pytest.mark.parametrize("payload", [b"{", b"'x'", b"{} {}", b"\xff", b"NaN", b"[" * 100_000, b'"' + b"x" * 300_000])
def test_a_payload_that_is_not_json_is_refused(live: Live, payload: bytes) -> None:
    fails("InvalidRequestContentException", 400, "Could not parse request body into json: ",
          live.client.invoke, FunctionName="echo", Payload=payload)  # fmt: skip


def test_sizes(live: Live) -> None:
    six = 6 * 1024 * 1024
    largest = b'"' + b"x" * (six - 2) + b'"'
    assert live.invoke("echo", Payload=largest)["Payload"] == largest
    fails("RequestTooLargeException", 413, f"{six + 1} byte payload is too large for the RequestResponse invocation type (limit {six} ",
          live.client.invoke, FunctionName="echo", Payload=largest + b" ")  # fmt: skip
    one = b'"' + b"x" * (1024 * 1024 - 2) + b'"'
    assert live.invoke("echo", InvocationType="Event", Payload=one)["StatusCode"] == 202
    fails("RequestTooLargeException", 413, "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
          live.client.invoke, FunctionName="echo", InvocationType="Event", Payload=one + b" ")  # fmt: skip


def test_a_recursive_loop_is_stopped_unless_it_is_allowed(live: Live) -> None:
    """What SDKs do inside a function: they hand on the trace that it was invoked with."""
    client, trace = live.client, ""

    def add_trace(request: Any, **_: Any) -> None:
        if trace:
            request.headers["X-Amzn-Trace-Id"] = trace

    client.meta.events.register("before-sign.lambda.Invoke", add_trace)
    try:
        for _ in range(16):
            live.invoke("echo")
            trace = live.invoker.seen[-1].trace
        stopped = "Lambda has detected your function being invoked in a recursive loop"
        fails("RecursiveInvocationException", 400, stopped, client.invoke, FunctionName="echo:1")
        assert live.invoke("echo", InvocationType="Event")["StatusCode"] == 202  # it is dropped in the queue
        assert client.put_function_recursion_config(FunctionName="echo", RecursiveLoop="Allow")["RecursiveLoop"] == "Allow"
        assert client.get_function_recursion_config(FunctionName=f"{ARN}:echo")["RecursiveLoop"] == "Allow"
        assert live.invoke("echo")["StatusCode"] == 200
        client.put_function_recursion_config(FunctionName="echo", RecursiveLoop="Terminate")
        fails("RecursiveInvocationException", 400, stopped, client.invoke, FunctionName="echo")
    finally:
        client.meta.events.unregister("before-sign.lambda.Invoke", add_trace)
    fails("ValidationException", 400, "at 'recursiveLoop' failed to satisfy constraint: Member must satisfy enum value set: [Terminate",
          client.put_function_recursion_config, FunctionName="echo", RecursiveLoop="x")  # fmt: skip
    fails("ResourceNotFoundException", 404, f"Function not found: {ARN}:nowhere",
          client.put_function_recursion_config, FunctionName="nowhere", RecursiveLoop="Allow")  # fmt: skip


def test_modes_that_functions_here_do_not_have(live: Live) -> None:
    fails("InvalidParameterValueException", 400, "Remove the tenant ID", live.client.invoke, FunctionName="echo", TenantId="t")
    fails("InvalidParameterValueException", 400, "DurableExecutionName", live.client.invoke, FunctionName="echo", DurableExecutionName="d")


def test_a_pending_function_cannot_be_invoked(live: Live) -> None:
    live.loop.call_soon_threadsafe(live.images.hold)
    live.client.create_function(**create_params("pending", CODE))
    for kind in ("RequestResponse", "Event", "DryRun"):
        fails("ResourceConflictException", 409,
              "The operation cannot be performed at this time. The function is currently in the following state: Pending",
              live.client.invoke, FunctionName="pending", InvocationType=kind)  # fmt: skip
    live.loop.call_soon_threadsafe(live.images.release)
    live.client.get_waiter("function_active_v2").wait(FunctionName="pending", WaiterConfig={"Delay": 0.02, "MaxAttempts": 500})
