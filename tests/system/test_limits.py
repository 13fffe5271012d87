"""Limits that are real: CPU share, memory, processes, files, /tmp. Each breach is contained and reported, and leaves nothing behind."""

import base64
import json
import re
import time
from typing import Any

import pytest

from tests.server import Server, create_function
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("hanabi_server")

HUNGRY = """
import os, resource, time

def lambda_handler(event, context):
    return globals()[event["do"]](event)

def burn(event):
    began, used = time.monotonic(), time.process_time()
    while time.monotonic() - began < event["seconds"]:
        pass
    return (time.process_time() - used) / (time.monotonic() - began)

def allocate(event):
    block = bytearray(event["mb"] << 20)
    for at in range(0, len(block), 4096):
        block[at] = 1
    return len(block)

def fork_bomb(event):
    children = 0
    try:
        while True:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            children += 1
    except OSError as error:
        return {"children": children, "errno": error.errno}

def exhaust_files(event):
    files = []
    try:
        while True:
            files.append(open("/dev/null"))
    except OSError as error:
        return {"files": len(files), "errno": error.errno}

def fill(event):
    written = 0
    block = os.urandom(1 << 20)
    try:
        with open("/tmp/fill", "wb", buffering=0) as file:
            while written < event["mb"]:
                written += file.write(block) / (1 << 20)
        return {"mb": written}
    except OSError as error:
        return {"mb": written, "errno": error.errno}
    finally:
        os.unlink("/tmp/fill")
"""


def call(client: Any, name: str, event: Any) -> tuple[Any, str, str | None]:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail")
    return json.loads(answer["Payload"].read()), base64.b64decode(answer["LogResult"]).decode(), answer.get("FunctionError")


@pytest.fixture(scope="module")
def small(lambda_client: Any) -> str:
    return create_function(lambda_client, "limits-small", HUNGRY, MemorySize=128, Timeout=60)


@pytest.mark.parametrize("memory", [256, 884, 1769])
def test_cpu_follows_memory(lambda_client: Any, memory: int) -> None:
    name = create_function(lambda_client, f"limits-cpu-{memory}", HUNGRY, MemorySize=memory, Timeout=60)
    # The share is a ceiling: other work on the host can only lower what is got, so the best of a few is the measure.
    shares = [call(lambda_client, name, {"do": "burn", "seconds": 1.5})[0] for _ in range(3)]
    assert memory / 1769 * 0.85 <= max(shares) <= memory / 1769 * 1.15, shares


def test_too_much_memory_kills_and_the_next_invocation_works(lambda_client: Any, small: str) -> None:
    began = time.monotonic()
    error, log, failed = call(lambda_client, small, {"do": "allocate", "mb": 300})
    assert failed == "Unhandled" and error["errorType"] == "Runtime.ExitError"
    assert re.fullmatch(r"RequestId: \S+ Error: Runtime exited with error: signal: killed", error["errorMessage"])
    assert "Error Type: Runtime.OutOfMemory" in log and "Max Memory Used: 128 MB" in log
    assert time.monotonic() - began < 10
    assert call(lambda_client, small, {"do": "allocate", "mb": 10})[0] == 10 << 20


def test_a_fork_bomb_is_contained(lambda_client: Any) -> None:
    name = create_function(lambda_client, "limits-fork", HUNGRY, MemorySize=1024, Timeout=60)
    result, _, failed = call(lambda_client, name, {"do": "fork_bomb"})
    assert failed is None and 900 <= result["children"] <= 1024 and result["errno"] == 11


def test_files_run_out_at_1024(lambda_client: Any, small: str) -> None:
    result, _, _ = call(lambda_client, small, {"do": "exhaust_files"})
    assert 1000 <= result["files"] <= 1024 and result["errno"] == 24


def test_tmp_takes_512_mb_in_a_128_mb_function_and_no_more(lambda_client: Any, small: str) -> None:
    result, _, failed = call(lambda_client, small, {"do": "fill", "mb": 500})
    assert failed is None and result == {"mb": 500}
    result, _, failed = call(lambda_client, small, {"do": "fill", "mb": 700})
    assert failed is None and result["errno"] == 28 and 480 <= result["mb"] <= 520


def test_tmp_has_the_size_asked_for(lambda_client: Any) -> None:
    name = create_function(lambda_client, "limits-tmp", HUNGRY, MemorySize=512, Timeout=60, EphemeralStorage={"Size": 700})
    result, _, failed = call(lambda_client, name, {"do": "fill", "mb": 800})
    assert failed is None and result["errno"] == 28 and 670 <= result["mb"] <= 710


def test_nothing_is_left_of_a_deleted_function(hanabi_server: Server, lambda_client: Any, small: str) -> None:
    lambda_client.delete_function(FunctionName=small)

    def gone() -> bool:
        rows = json.loads(hanabi_server.hanabi("ps", "--json"))
        return not any(row["function"] == small for row in rows)

    wait_for(gone)
