"""`hanabi up`, with real environments, on data directories that earlier versions wrote: what was made there runs."""

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import needs_root
from tests.server import Server
from tests.system.test_runtimes import call
from tests.upgrades.node import VERSION_0, unpack
from tests.waiting import wait_for


@pytest.fixture
def data() -> Iterator[Path]:
    """Where the users of sandboxes may enter."""
    with tempfile.TemporaryDirectory(prefix="hanabi-", dir="/var/tmp") as name:
        yield unpack(VERSION_0, Path(name))


def change(database: Path, statement: str) -> None:
    connection = sqlite3.connect(database)
    assert connection.execute(statement).rowcount == 1
    connection.commit()
    connection.close()


def problems(server: Server) -> list[str]:
    """What `hanabi doctor` says of them."""
    return [check["detail"] for check in json.loads(server.hanabi("doctor", "--json", check=False)) if check["name"] == "problem"]


@needs_root
def test_the_first_one_runs(data: Path) -> None:
    now_ms = time.time_ns() // 1_000_000  # six hours after it was accepted, an event is dropped
    payload = "CAST('{\"waiting\": true}' AS BLOB)"  # as it is, it would sleep for 20 s
    change(data / "events.db", f"UPDATE events SET payload = {payload}, accepted_ms = {now_ms}, due_ms = {now_ms}")
    change(data / "state.db", "UPDATE documents SET value = substr(value, 1, 200) WHERE key = 'functions/plain'")
    with Server("--isolation", "oci", "--pool-size", "0", "--roles", "strict", data_dir=data) as server:
        client, logs = server.client("lambda"), server.client("logs")
        assert [each["FunctionName"] for each in client.list_functions()["Functions"]] == ["greet"]
        found = client.get_function(FunctionName="greet")
        assert found["Configuration"]["State"] == "Active" and found["Concurrency"]["ReservedConcurrentExecutions"] == 5
        assert call(client, "greet", {}, Qualifier="1")[0] == "one"
        assert call(client, "greet", {}, Qualifier="2")[0] == call(client, "greet", {})[0] == "two"
        assert {call(client, "greet", {}, Qualifier="live")[0] for _ in range(40)} == {"one", "two"}  # a quarter goes to the first
        provisioned = {"FunctionName": "greet", "Qualifier": "1"}
        wait_for(lambda: client.get_provisioned_concurrency_config(**provisioned)["Status"] == "READY", 60)

        def ran() -> bool:
            events = logs.filter_log_events(logGroupName="/aws/lambda/greet", filterPattern="waiting")["events"]
            return "two {'waiting': True}" in [event["message"].strip() for event in events]

        wait_for(ran, 60)
        found = problems(server)
        assert found and all("functions/plain" in text for text in found), found
        client.delete_function(FunctionName="plain")
        wait_for(lambda: not problems(server), 60)
        assert server.stop() == 0
    with Server("--isolation", "oci", "--pool-size", "0", "--roles", "strict", data_dir=data) as server:
        assert call(server.client("lambda"), "greet", {}, Qualifier="live")[0] in ("one", "two")
