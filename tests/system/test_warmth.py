"""Reuse, freeze, concurrency, scale to zero, versions: how environments live."""

import concurrent.futures
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.server import Server, create_function
from tests.waiting import wait_for

COUNTER = """
import os, time, threading

state = {"count": 0, "ticks": 0}

def tick():
    while True:
        state["ticks"] += 1
        time.sleep(0.001)

def lambda_handler(event, context):
    if event.get("tick") and not state.get("ticking"):
        state["ticking"] = True
        threading.Thread(target=tick, daemon=True).start()
    state["count"] += 1
    if event.get("sleep"):
        time.sleep(event["sleep"])
    path = "/tmp/kept"
    kept = os.path.exists(path)
    open(path, "w").close()
    seen = {"stream": context.log_stream_name, "colour": os.environ.get("COLOUR")}
    return {"count": state["count"], "kept": kept, "ticks": state["ticks"], **seen}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    import os

    if os.geteuid() != 0:
        pytest.skip("needs root: the server makes containers with cgroups, network slots and mounts")
    with Server(variables={"HANABI_IDLE_TIMEOUT_S": "4"}) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return server.client("lambda")


def call(client: Any, name: str, event: Any, **options: Any) -> Any:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode(), **options)
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.loads(answer["Payload"].read())


def rows(server: Server, name: str) -> list[dict[str, Any]]:
    return [row for row in json.loads(server.hanabi("ps", "--json")) if row["function"] == name]


def test_an_environment_is_reused_with_its_globals_and_tmp(client: Any) -> None:
    name = create_function(client, "warm-reuse", COUNTER)
    first, second = call(client, name, {}), call(client, name, {})
    assert (first["count"], first["kept"]) == (1, False)
    assert (second["count"], second["kept"]) == (2, True)
    assert first["stream"] == second["stream"]


def test_a_frozen_environment_stands_still(server: Server, client: Any) -> None:
    name = create_function(client, "warm-frozen", COUNTER)
    call(client, name, {"tick": True})
    wait_for(lambda: rows(server, name)[0]["state"] == "frozen")
    before = call(client, name, {})["ticks"]
    wait_for(lambda: rows(server, name)[0]["state"] == "frozen")
    # Two looks through the CLI take far longer than the ticks that are allowed here.
    wait_for(lambda: rows(server, name)[0]["state"] == "frozen")
    assert call(client, name, {})["ticks"] - before < 100


def test_idle_environments_go_and_come_back(server: Server, client: Any) -> None:
    name = create_function(client, "warm-zero", COUNTER)
    assert call(client, name, {})["count"] == 1
    wait_for(lambda: not rows(server, name))
    assert call(client, name, {})["count"] == 1


def test_one_invocation_at_a_time_in_each_environment(client: Any) -> None:
    name = create_function(client, "warm-parallel", COUNTER, Timeout=30)
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        results = list(threads.map(lambda _: call(client, name, {"sleep": 2}), range(3)))
    assert len({each["stream"] for each in results}) == 3


def test_reserved_concurrency_throttles_with_its_reason(server: Server, client: Any) -> None:
    name = create_function(client, "warm-reserved", COUNTER, Timeout=30)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    call(client, name, {})
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        long = threads.submit(call, client, name, {"sleep": 3})
        wait_for(lambda: any(row["state"] == "busy" for row in rows(server, name)))

        def throttled() -> Any:
            try:
                call(client, name, {})
            except ClientError as error:
                return error.response
            return None

        refused = wait_for(throttled)
        long.result()
    assert refused["Error"]["Code"] == "TooManyRequestsException"
    assert refused["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(ClientError, match="Rate Exceeded"):
        call(client, name, {})
    client.delete_function_concurrency(FunctionName=name)
    assert call(client, name, {})["count"] >= 2


def test_an_update_takes_effect_in_new_environments(client: Any) -> None:
    name = create_function(client, "warm-update", COUNTER)
    call(client, name, {})
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {"COLOUR": "red"}})
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    result = call(client, name, {})
    assert (result["count"], result["colour"]) == (1, "red")


def test_versions_stay_as_they_were_and_aliases_point(client: Any) -> None:
    name = create_function(client, "warm-versions", COUNTER, Environment={"Variables": {"COLOUR": "one"}})
    first = client.publish_version(FunctionName=name)["Version"]
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {"COLOUR": "two"}})
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    second = client.publish_version(FunctionName=name)["Version"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion=first)
    assert call(client, name, {}, Qualifier="live")["colour"] == "one"
    assert call(client, name, {}, Qualifier=second)["colour"] == "two"
    routing = {"AdditionalVersionWeights": {second: 0.5}}
    client.update_alias(FunctionName=name, Name="live", RoutingConfig=routing)
    colours = {call(client, name, {}, Qualifier="live")["colour"] for _ in range(40)}
    assert colours == {"one", "two"}


def test_variables_of_the_start_are_there_at_the_start(client: Any) -> None:
    code = "import sys\ndef lambda_handler(event, context):\n    return sys.flags.utf8_mode"
    name = create_function(client, "warm-start-variables", code, Environment={"Variables": {"PYTHONUTF8": "1"}})
    assert call(client, name, {}) == 1
