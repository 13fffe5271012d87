"""SnapStart in containers: a published version is started once, and every environment of it is a copy of that process."""

import base64
import concurrent.futures
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.leftovers import of_run
from tests.server import Server, create_function
from tests.waiting import wait_for

CODE = """
import os, random, secrets, tempfile, time, uuid
from snapshot_restore_py import register_after_restore, register_before_snapshot
time.sleep(1.5)  # its imports
INIT, BEGAN, EVENTS = str(uuid.uuid4()), time.time(), ["init"]
random.seed(1)
register_before_snapshot(lambda: EVENTS.append("before 1"))
register_before_snapshot(lambda: EVENTS.append("before 2"))
register_after_restore(lambda: EVENTS.append("after 1"))
register_after_restore(lambda: EVENTS.append("after 2"))
with open("/tmp/made", "w") as file:
    file.write("at init")
def lambda_handler(event, context):
    if event.get("write"):
        with open("/tmp/own", "w") as file:
            file.write(event["write"])
    time.sleep(event.get("sleep", 0))
    return {
        "init": INIT, "events": EVENTS, "age": time.time() - BEGAN, "kind": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "made": open("/tmp/made").read(), "tmp": sorted(os.listdir("/tmp")),
        "unique": [random.random(), secrets.token_hex(8), str(uuid.uuid4()), os.urandom(8).hex(), tempfile.mktemp(),
                   os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN"), os.uname().nodename],
        "walls": {
            "uid_map": open("/proc/self/uid_map").read().split()[1],
            "namespaces": [os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "mnt", "net", "ipc", "user", "uts")],
            "processes": sum(name.isdigit() for name in os.listdir("/proc")),
            "status": {line.split(":")[0]: line.split(":")[1].strip() for line in open("/proc/self/status")},
            "maps": [line.split()[-1] for line in open("/proc/self/maps") if line.split()[-1].startswith("/")],
        },
        "hidden": [name for name in os.environ if "HANABI" in name],
    }
"""
HOOKS = """
_before, _after = [], []
def register_before_snapshot(function, *arguments, **keywords): _before.append((function, arguments, keywords))
def register_after_restore(function, *arguments, **keywords): _after.append((function, arguments, keywords))
def get_before_snapshot(): return _before
def get_after_restore(): return _after
"""  # the interface of AWS's package

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containers with limits, network slots and mounts"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="process snapshots are for x86-64"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    subprocess.run(["make", "--silent", "-C", str(Path(__file__).parents[2] / "guest/process_snapshot")], check=True, timeout=120)
    server = Server("--isolation", "oci", "--pool-size", "1", "--max-memory-mb", "4096")
    try:
        with server:
            yield server
            server.stop()
            assert of_run(server.data_dir / "run") == []
    finally:
        server.remove()


def publish(server: Server, name: str, code: str, **options: Any) -> dict[str, Any]:
    """Create a function with SnapStart and publish version 1; its configuration once that is no longer pending."""
    client = server.client("lambda")
    files: dict[str, str | bytes] = {"lambda_function.py": code, "snapshot_restore_py.py": HOOKS}
    settings = {"Runtime": "python3.13", "SnapStart": {"ApplyOn": "PublishedVersions"}, "Timeout": 20, **options}
    create_function(client, name, files, **settings)
    assert client.publish_version(FunctionName=name)["State"] == "Pending"

    def configuration() -> dict[str, Any]:
        found: dict[str, Any] = client.get_function_configuration(FunctionName=name, Qualifier="1")
        return found

    wait_for(lambda: configuration()["State"] != "Pending")
    return configuration()


def invoke(server: Server, name: str, **event: Any) -> tuple[Any, str]:
    """Its answer and its log."""
    answer = server.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.loads(answer["Payload"].read()), base64.b64decode(answer["LogResult"]).decode()


def test_environments_are_copies_that_share_nothing(server: Server) -> None:
    published = publish(server, "copied", CODE)
    assert (published["State"], published["SnapStart"]) == (
        "Active",
        {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"},
    )
    with concurrent.futures.ThreadPoolExecutor(2) as callers:
        first = callers.submit(invoke, server, "copied:1", sleep=5, write="one")
        wait_for(lambda: any(row["state"] == "busy" for row in json.loads(server.hanabi("ps", "--json"))))
        (two, _), (one, log) = invoke(server, "copied:1", write="two"), first.result()
    for each in (one, two):
        assert each["events"] == ["init", "before 2", "before 1", "after 1", "after 2"]
        assert (each["kind"], each["made"], each["tmp"], each["hidden"]) == ("snap-start", "at init", ["made", "own"], [])
        walls = each["walls"]
        assert walls["processes"] == 2  # the agent and itself
        status = walls["status"]
        assert (status["CapEff"], status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]) == ("0" * 16, "0" * 16, "1", "2")
        assert not [path for path in walls["maps"] if "snapshots" in path], "no path of the host"
        assert each["age"] > 0
    assert one["init"] == two["init"]
    assert not set(one["unique"]) & set(two["unique"])
    assert not set(one["walls"]["namespaces"]) & set(two["walls"]["namespaces"])
    assert one["walls"]["uid_map"] != two["walls"]["uid_map"]
    found = re.search(r"Restore Duration: ([\d.]+) ms\tBilled Restore Duration: (\d+) ms", log)
    assert found and float(found[1]) < 1500, log  # what the init takes
    assert "Init Duration" not in log

    # $LATEST has none, and an init of its own
    latest, log = invoke(server, "copied")
    assert (latest["kind"], latest["events"]) == ("on-demand", ["init"])
    assert "Init Duration" in log


def test_a_version_that_cannot_be_copied_starts_as_usual(server: Server) -> None:
    code = "import subprocess\nchild = subprocess.Popen(['/bin/sleep', '600'])\ndef lambda_handler(*about): return child.poll() is None"
    published = publish(server, "parent", code)
    assert (published["State"], published["SnapStart"]["OptimizationStatus"]) == ("Active", "Off")
    assert "its init has started" in published["StateReason"]
    assert invoke(server, "parent:1")[0] is True


def test_snapshots_outlive_a_crash_and_damage(server: Server) -> None:
    publish(server, "kept", "import uuid\nINIT = str(uuid.uuid4())\ndef lambda_handler(event, context): return INIT")
    first, _ = invoke(server, "kept:1")
    server.crash()
    server.start()
    again, log = invoke(server, "kept:1")
    assert again == first
    assert "Restore Duration" in log

    # damaged: it starts without, and gets another one
    server.crash()
    for snapshot in (server.data_dir / "snapshots").iterdir():
        if (snapshot / "pages").exists():
            os.truncate(snapshot / "plan", 100)
    server.start()
    ordinary, log = invoke(server, "kept:1")
    assert ordinary != first
    assert "Init Duration" in log
