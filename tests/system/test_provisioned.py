"""Provisioned concurrency with real environments: pre-initialised, spilled over, moved, failed, replaced, there again after a crash."""

import concurrent.futures
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.leftovers import of_run
from tests.server import Server, create_function
from tests.waiting import wait_for

CODE = """
import os, time
KIND = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
print("init", KIND)
if KIND == os.environ.get("FAIL"):
    raise Exception("Intentional failure")
def lambda_handler(event, context):
    if event.get("die"):
        os._exit(1)
    time.sleep(event.get("sleep", 0))
    return [KIND, context.function_version]
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containers with limits, network slots and mounts")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server("--pool-size", "1", "--idle-timeout-s", "2", "--max-memory-mb", "4096")
    try:
        with server:
            yield server
            server.stop()
            assert of_run(server.data_dir / "run") == []
            server.start()
    finally:
        server.remove()


def test_the_whole_life(server: Server) -> None:
    client = server.client("lambda")
    create_function(client, "warm", CODE, Publish=True)
    client.create_alias(FunctionName="warm", Name="live", FunctionVersion="1")
    put = client.put_provisioned_concurrency_config(FunctionName="warm", Qualifier="live", ProvisionedConcurrentExecutions=2)
    assert (put["ResponseMetadata"]["HTTPStatusCode"], put["Status"]) == (202, "IN_PROGRESS")
    ready(client, "warm", "live", 2)
    assert kinds(server, "warm") == ["provisioned"] * 2
    first = {row["id"] for row in rows(server, "warm")}

    # initialised before they were asked: by alias and by version, without a cold start, and again when long idle
    wait_for(lambda: all(row["state"] == "frozen" and row["idle_s"] > 3 for row in rows(server, "warm")))
    for name in ("warm:live", "warm:1"):
        answer = client.invoke(FunctionName=name, LogType="Tail")
        assert json.loads(answer["Payload"].read()) == ["provisioned-concurrency", "1"]
    assert {row["id"] for row in rows(server, "warm")} == first
    assert invoke(client, "warm")[0] == "on-demand"
    lines = log(server, "warm")
    assert len([line for line in lines if line.startswith("INIT_REPORT Init Duration: ") and line.endswith("Phase: init")]) == 2
    assert sum("Init Duration" in line for line in lines if line.startswith("REPORT")) == 1

    # all busy: the third is a cold start on demand
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(invoke, client, "warm:live", sleep=2) for _ in range(3)]
        assert sorted(call.result()[0] for call in calls) == ["on-demand", "provisioned-concurrency", "provisioned-concurrency"]
    assert "warm:1: 2 of 2 provisioned, 4 invocations, 1 spilled over" in server.hanabi("ps").splitlines()

    # one that dies is replaced
    client.invoke(FunctionName="warm:live", Payload=b'{"die": true}')
    wait_for(lambda: len([row for row in rows(server, "warm") if row["type"] == "provisioned" and row["id"] not in first]) == 1)
    ready(client, "warm", "live", 2)

    # the alias moves, and it with it
    client.update_function_configuration(FunctionName="warm", Timeout=20)
    client.get_waiter("function_updated_v2").wait(FunctionName="warm", WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})
    client.publish_version(FunctionName="warm")
    client.update_alias(FunctionName="warm", Name="live", FunctionVersion="2")
    ready(client, "warm", "live", 2)
    assert invoke(client, "warm:live") == ["provisioned-concurrency", "2"] and invoke(client, "warm:1") == ["on-demand", "1"]
    wait_for(lambda: kinds(server, "warm", "1").count("provisioned") == 0)

    # and goes with it
    client.delete_alias(FunctionName="warm", Name="live")
    wait_for(lambda: kinds(server, "warm") == [])
    assert "warm" not in server.hanabi("ps")


def test_an_init_that_fails_when_provisioned(server: Server) -> None:
    client = server.client("lambda")
    create_function(client, "fails", CODE, Publish=True, Environment={"Variables": {"FAIL": "provisioned-concurrency"}})
    client.put_provisioned_concurrency_config(FunctionName="fails", Qualifier="1", ProvisionedConcurrentExecutions=1)
    assert invoke(client, "fails:1") == ["on-demand", "1"]

    def failed() -> Any:
        status = client.get_provisioned_concurrency_config(FunctionName="fails", Qualifier="1")
        return status if status["Status"] == "FAILED" else None

    status = wait_for(failed, 60)
    assert status["StatusReason"] == "FUNCTION_ERROR_INIT_FAILURE" and status["AllocatedProvisionedConcurrentExecutions"] == 0
    assert log(server, "fails").count("init provisioned-concurrency") == 6
    assert invoke(client, "fails:1") == ["on-demand", "1"]


def test_all_that_is_reserved_is_provisioned(server: Server) -> None:
    client = server.client("lambda")
    create_function(client, "full", CODE, Publish=True)
    client.put_function_concurrency(FunctionName="full", ReservedConcurrentExecutions=1)
    assert invoke(client, "full") == ["on-demand", "$LATEST"]
    client.put_provisioned_concurrency_config(FunctionName="full", Qualifier="1", ProvisionedConcurrentExecutions=1)
    ready(client, "full", "1", 1)
    with pytest.raises(client.exceptions.TooManyRequestsException) as refused:
        client.invoke(FunctionName="full")
    assert refused.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert invoke(client, "full:1") == ["provisioned-concurrency", "1"]


def test_more_than_the_host_has(server: Server) -> None:
    client = server.client("lambda")
    create_function(client, "large", CODE, Publish=True, MemorySize=1500)
    client.put_provisioned_concurrency_config(FunctionName="large", Qualifier="1", ProvisionedConcurrentExecutions=3)

    def failed() -> Any:
        status = client.get_provisioned_concurrency_config(FunctionName="large", Qualifier="1")
        return status if status["Status"] == "FAILED" else None

    status = wait_for(failed, 60)
    assert status["AllocatedProvisionedConcurrentExecutions"] == 2 and "--max-memory-mb" in status["StatusReason"]
    create_function(client, "small", CODE)
    assert invoke(client, "small") == ["on-demand", "$LATEST"]  # what is left is there for others


def test_there_again_after_a_crash(server: Server) -> None:
    client = server.client("lambda")
    for name in ("one", "two"):
        create_function(client, name, CODE, Publish=True)
        client.put_provisioned_concurrency_config(FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=2)
    ready(client, "one", "1", 2)  # the other one may be in the middle of it
    asked = client.get_provisioned_concurrency_config(FunctionName="one", Qualifier="1")["LastModified"]
    server.crash()
    server.start()
    client = server.client("lambda")
    for name in ("one", "two"):
        ready(client, name, "1", 2)
        assert invoke(client, f"{name}:1") == ["provisioned-concurrency", "1"]
    assert client.get_provisioned_concurrency_config(FunctionName="one", Qualifier="1")["LastModified"] == asked
    client.delete_function(FunctionName="one")
    client.delete_function(FunctionName="two", Qualifier="1")
    wait_for(lambda: not rows(server, "one") and not rows(server, "two"))


def test_asked_for_and_taken_back_in_a_hurry(server: Server) -> None:
    """Starts are given up wherever they are; the fixture looks for what they left."""
    client = server.client("lambda")
    create_function(client, "hurry", CODE, Publish=True)
    for pause_s in (0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5):
        client.put_provisioned_concurrency_config(FunctionName="hurry", Qualifier="1", ProvisionedConcurrentExecutions=3)
        time.sleep(pause_s)  # the moment is the test's input
        client.delete_provisioned_concurrency_config(FunctionName="hurry", Qualifier="1")
    wait_for(lambda: rows(server, "hurry") == [])
    assert invoke(client, "hurry:1") == ["on-demand", "1"]
    client.put_provisioned_concurrency_config(FunctionName="hurry", Qualifier="1", ProvisionedConcurrentExecutions=1)
    ready(client, "hurry", "1", 1)


def ready(client: Any, name: str, qualifier: str, count: int) -> None:
    def whole() -> bool:
        status = client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
        return bool(status["Status"] == "READY" and status["AllocatedProvisionedConcurrentExecutions"] == count)

    wait_for(whole, 60)


def invoke(client: Any, name: str, **event: Any) -> Any:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event))
    return json.loads(answer["Payload"].read())


def rows(server: Server, name: str) -> list[dict[str, Any]]:
    return [row for row in json.loads(server.hanabi("ps", "--json")) if row["function"] == name]


def kinds(server: Server, name: str, version: str | None = None) -> list[str]:
    return [row["type"] for row in rows(server, name) if version in (None, row["version"])]


def log(server: Server, name: str) -> list[str]:
    return [json.loads(line)["message"].rstrip("\n") for line in server.hanabi("logs", name, "--since", "1h", "--json").splitlines()]
