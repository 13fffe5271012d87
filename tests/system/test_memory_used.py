"""`Max Memory Used` is what people size by: what the runtime and the function have resident, in a real container."""

import base64
import json
import re
from typing import Any

import pytest

from tests.server import create_function

pytestmark = pytest.mark.usefixtures("hanabi_server")

PYTHON = """
import os, subprocess, sys, time

KEPT = []

def resident_mb():
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1024

def lambda_handler(event, context):
    if event.get("mb"):
        KEPT.append(b"x" * (event["mb"] << 20))
    for _ in range(event.get("forks", 0)):
        if os.fork() == 0:
            time.sleep(30)
    if event.get("file_mb"):
        with open("/tmp/file", "wb") as file:
            for _ in range(event["file_mb"]):
                file.write(os.urandom(1 << 20))
    if event.get("child_mb"):
        subprocess.run([sys.executable, "-c", f"len(b'x' * ({event['child_mb']} << 20))"], check=True)
    if event.get("exit"):
        os._exit(3)
    return resident_mb()
"""

NODE = """
const { readFileSync } = require("node:fs");
const kept = [];

exports.handler = async (event) => {
  if (event.mb) kept.push(Buffer.alloc(event.mb << 20, 1));
  return Number(/VmHWM:\\s*(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
};
"""


def call(client: Any, name: str, **event: Any) -> tuple[Any, int]:
    """(what the function says that it has, what is reported), in MB."""
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()
    found = re.search(r"Max Memory Used: (\d+) MB", log)
    assert found, log
    return json.loads(answer["Payload"].read()), int(found[1])


@pytest.mark.parametrize(
    "runtime, code, idle_mb",
    [
        ("python3.13", {"lambda_function.py": PYTHON}, 10),
        ("python3.11", {"lambda_function.py": PYTHON}, 10),
        ("nodejs22.x", {"index.js": NODE}, 40),
    ],
)
def test_it_is_what_the_runtime_has_resident(lambda_client: Any, runtime: str, code: dict[str, str], idle_mb: int) -> None:
    handler = "index.handler" if "index.js" in code else "lambda_function.lambda_handler"
    name = create_function(
        lambda_client, f"memory-{runtime.replace('.', '-')}", dict(code), Runtime=runtime, Handler=handler, MemorySize=256, Timeout=60
    )
    for event in ({}, {}, {"mb": 60}, {}):
        resident_mb, reported_mb = call(lambda_client, name, **event)
        assert resident_mb > (idle_mb + 60 if event else idle_mb)
        assert 0.85 * resident_mb <= reported_mb <= 1.15 * resident_mb + 1, (event, resident_mb, reported_mb)


@pytest.fixture(scope="module")
def used(lambda_client: Any) -> str:
    return create_function(lambda_client, "memory-used", PYTHON, Runtime="python3.13", MemorySize=256, Timeout=60)


def test_files_in_tmp_are_no_memory_and_a_child_is(lambda_client: Any, used: str) -> None:
    resident_mb, reported_mb = call(lambda_client, used, file_mb=300)
    assert 0.85 * resident_mb <= reported_mb <= 1.5 * resident_mb + 10, (resident_mb, reported_mb)
    resident_mb, reported_mb = call(lambda_client, used, child_mb=100)
    assert resident_mb + 100 < reported_mb < resident_mb + 150, (resident_mb, reported_mb)


def test_forks_do_not_count_twice_what_they_share(lambda_client: Any, used: str) -> None:
    lambda_client.update_function_configuration(FunctionName=used, Timeout=59)  # another environment
    lambda_client.get_waiter("function_updated_v2").wait(FunctionName=used)
    resident_mb, reported_mb = call(lambda_client, used, forks=5)
    assert 0.85 * resident_mb <= reported_mb <= 1.6 * resident_mb + 10, (resident_mb, reported_mb)


def test_what_crashes_has_used_memory_too(lambda_client: Any, used: str) -> None:
    resident_mb, _ = call(lambda_client, used)
    _, reported_mb = call(lambda_client, used, exit=True)
    assert reported_mb >= 0.85 * resident_mb
