"""SIGTERM, SIGINT and SIGHUP: what has begun ends and is recorded, or is told and recorded that it did not; nothing new is taken."""

import concurrent.futures
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.server import Server, create_function
from tests.waiting import wait_for

CODE = """
import time
def lambda_handler(event, context):
    print("begun", event["id"])
    time.sleep(event.get("sleep", 0))
    return event["id"]
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containers with limits, network slots and mounts")


@pytest.fixture
def pool() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        yield pool


def serving(*options: str) -> tuple[Server, Any]:
    server = Server("--pool-size", "1", *options).start()
    client = server.client("lambda")
    create_function(client, "slow", CODE, Timeout=60)
    return server, client


def invoke(client: Any, id: str, sleep_s: float) -> Any:
    answer = client.invoke(FunctionName="slow", Payload=json.dumps({"id": id, "sleep": sleep_s}))
    return json.loads(answer["Payload"].read())


def begin(pool: concurrent.futures.ThreadPoolExecutor, server: Server, client: Any, id: str, sleep_s: float) -> "Future[Any]":
    """An invocation that is seen to run."""
    future = pool.submit(invoke, client, id, sleep_s)
    wait_for(lambda: "busy" in [each["state"] for each in json.loads(server.hanabi("ps", "--json"))])
    return future


def end(server: Server) -> int:
    assert server.process is not None
    status = server.process.wait(90)
    server._release()
    return status


def fetch(server: Server, path: str = "/_hanabi/health", host: str | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host.partition(":")[0] if host else "127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{server.port}"})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def is_draining(server: Server) -> bool:
    return fetch(server)[0] == 503


def lines(server: Server) -> str:
    return server.hanabi("logs", "slow", "--since", "1h")


def requests(server: Server) -> dict[str, Any]:
    return dict(json.loads(server.hanabi("usage", "--function", "slow", "--json"))["total"])


def test_what_runs_ends_and_nothing_new_is_taken(pool: concurrent.futures.ThreadPoolExecutor) -> None:
    server, client = serving()
    try:
        url = client.create_function_url_config(FunctionName="slow", AuthType="NONE")["FunctionUrl"]
        running = begin(pool, server, client, "patient", 10)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: is_draining(server))
        assert json.loads(fetch(server)[2])["status"] == "draining"
        with pytest.raises(ClientError) as refused:
            client.invoke(FunctionName="slow", Payload=b'{"id": "late"}')
        answer = refused.value.response
        assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("ServiceUnavailable", 503)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        assert headers["retry-after"] and headers["connection"] == "close"
        status, headers, body = fetch(server, "/", url.split("/")[2])
        assert (status, json.loads(body), headers["x-amzn-errortype"]) == (503, {"Message": "Service Unavailable"}, "ServiceUnavailable")
        assert headers["retry-after"]
        assert "shutting down" in server.hanabi("doctor", check=False)
        assert not running.done()
        assert running.result(60) == "patient"
        assert end(server) == 0
        server.start()
        log = lines(server)
        assert log.count("END RequestId") == log.count("REPORT RequestId") == 1 and "Status:" not in log
        assert (requests(server)["requests"], requests(server)["errors"]) == (1, 0)
    finally:
        stop(server)


def test_what_takes_longer_than_the_limit_is_told_and_recorded(pool: concurrent.futures.ThreadPoolExecutor) -> None:
    server, client = serving("--drain-s", "1")
    try:
        client.invoke(FunctionName="slow", InvocationType="Event", Payload=json.dumps({"id": "event", "sleep": 12}))
        running = begin(pool, server, client, "cut", 50)
        wait_for(lambda: lines(server).count("begun") == 2)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(ClientError, match="shutting down") as cut:
            running.result(30)
        assert cut.value.response["Error"]["Code"] == "ServiceException"
        assert cut.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert end(server) == 0
        server.start()
        log = lines(server)
        assert log.count("END RequestId") == log.count("Status: error\tError Type: Sandbox.Failure") == 2
        assert (requests(server)["requests"], requests(server)["errors"]) == (2, 2)
        wait_for(lambda: lines(server).count("REPORT") == 3)  # the event runs again, under the same request id
        ids = [line.partition("RequestId: ")[2].split()[0] for line in lines(server).splitlines() if "START RequestId" in line]
        assert len(ids) == 3 and len(set(ids)) == 2
    finally:
        stop(server)


@pytest.mark.parametrize("hurry", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_hurries(pool: concurrent.futures.ThreadPoolExecutor, hurry: int) -> None:
    server, client = serving()
    try:
        running = begin(pool, server, client, "cut", 55)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: is_draining(server))
        began = time.monotonic()
        server.process.send_signal(hurry)
        with pytest.raises(ClientError, match="shutting down"):
            running.result(30)
        assert end(server) == 0
        assert time.monotonic() - began < 40
        server.start()
        assert "Error Type: Sandbox.Failure" in lines(server)
    finally:
        stop(server)


def test_hangup_drains_unless_it_was_ignored_at_the_start(pool: concurrent.futures.ThreadPoolExecutor) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it, and servers would inherit that
    server, client = serving()
    signal.signal(signal.SIGHUP, before)
    try:
        running = begin(pool, server, client, "patient", 10)
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        assert running.result(60) == "patient"
        assert end(server) == 0
        server.command = lambda: ["nohup", *Server.command(server)]  # type: ignore[method-assign]
        server.start()
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        assert invoke(client, "on", 1) == "on"
        assert server.process.poll() is None and not is_draining(server)
    finally:
        stop(server)


def stop(server: Server) -> None:
    if server.process is not None:
        try:
            server.stop()
        except subprocess.TimeoutExpired:
            server.crash()
    server.remove()
