"""kill -9 of the server at random moments under load: nothing accepted is lost, nothing is half-done, nothing is left behind."""

import concurrent.futures
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.leftovers import no_other_cleans, of_run
from tests.server import Server, create_function
from tests.system.plane import Plane
from tests.waiting import wait_for

CODE = """
import time
def lambda_handler(event, context):
    print("ran", event["id"])
    time.sleep(event.get("sleep", 0))
    return event["id"]
"""
ROUNDS = 4
WORKERS = 3
TROUBLE = (BotoCoreError, ClientError, OSError)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containers with limits, network slots and mounts")


@pytest.fixture
def server() -> Iterator[Server]:
    """Not started: each test has its own way to."""
    server = Server()
    try:
        yield server
    finally:
        if server.process is not None:
            server.crash()
        server.remove()


def test_nothing_accepted_is_lost_and_nothing_is_left_behind(server: Server) -> None:
    seed = int.from_bytes(os.urandom(4))
    print("seed", seed)
    dice = random.Random(seed)
    server.start()
    create_function(server.client("lambda"), "crash", CODE)
    accepted: set[str] = set()
    finished: set[str] = set()
    plane = Plane()
    for number in range(ROUNDS):
        load(server, str(number), accepted, finished, plane, dice.uniform(0.3, 2.5))
        if number % 2:  # and again, while the next one is still cleaning up after it
            crash_while_starting(server, dice.uniform(0.1, 1.2))
        server.start()
        plane.client = server.client("lambda")
        plane.check()
    print(len(accepted), "events and", len(finished), "invocations;", plane.answered, "changes")
    assert accepted and finished and plane.answered
    client = server.client("lambda")
    assert client.get_function_configuration(FunctionName="crash")["State"] == "Active"
    wait_for(lambda: accepted <= ran(server), 60)
    assert finished <= ran(server)
    assert json.loads(client.invoke(FunctionName="crash", Payload=b'{"id": "last"}')["Payload"].read()) == "last"
    wait_for(lambda: all(each["state"] != "busy" for each in environments(server)))
    for name in ("crash", "plane"):
        assert ledger_of(server, name) == reported(server, name)
    assert server.stop() == 0
    assert of_run(server.data_dir / "run") == []
    assert list((server.data_dir / "spool").iterdir()) == []


def test_environments_that_are_frozen_and_that_are_starting_at_the_crash(server: Server) -> None:
    server.options = ("--pool-size", "1")
    server.start()
    client = server.client("lambda")
    names = [create_function(client, f"crash-{letter}", CODE) for letter in "abcdef"]
    for name in names[:2]:
        client.invoke(FunctionName=name, Payload=b'{"id": "warm"}')
    wait_for(lambda: [each["state"] for each in environments(server)].count("frozen") >= 2)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(client.invoke, FunctionName=name, Payload=b'{"id": "x", "sleep": 9}') for name in names[2:]]
        wait_for(lambda: any(each["state"] in ("initializing", "busy") for each in environments(server)))
        with no_other_cleans():
            server.crash()
            left = of_run(server.data_dir / "run")
    assert all(isinstance(call.exception(), TROUBLE) for call in calls)
    assert any(each.startswith("process") for each in left)  # the frozen ones at least cannot have gone by themselves
    assert any(each.startswith("table") for each in left)
    for seconds in (0.3, 0.8):
        crash_while_starting(server, seconds)
    server.start()
    assert json.loads(server.client("lambda").invoke(FunctionName=names[5], Payload=b'{"id": "y"}')["Payload"].read()) == "y"
    assert server.stop() == 0
    assert of_run(server.data_dir / "run") == []


def test_what_a_server_left_that_never_comes_back_goes_with_the_next_one(server: Server) -> None:
    """Of another data directory: it has the numbers now, that is the addresses and the uids."""
    server.start()
    client = server.client("lambda")
    create_function(client, "crash", CODE)
    client.invoke(FunctionName="crash", Payload=b'{"id": "x"}')
    wait_for(lambda: [each["state"] for each in environments(server)].count("frozen") >= 1)
    run_directory = server.data_dir / "run"
    with no_other_cleans():
        server.crash()
        shutil.rmtree(server.data_dir)
        left = of_run(run_directory)
    assert any(each.startswith("process") for each in left) and any(each.startswith("interface") for each in left)
    with Server("--pool-size", "0"):
        wait_for(lambda: of_run(run_directory) == [])


def test_functions_that_were_active_have_environments_ready_after_a_restart(server: Server) -> None:
    server.start()
    create_function(server.client("lambda"), "crash", CODE)
    server.crash()
    server.start()
    wait_for(lambda: [each["state"] for each in environments(server)].count("pooled") == 2)
    assert server.stop() == 0


def test_a_stop_under_load_lets_what_runs_end(server: Server) -> None:
    server.options = ("--drain-s", "8")
    server.start()
    client = server.client("lambda")
    create_function(client, "crash", CODE, Timeout=60)
    with concurrent.futures.ThreadPoolExecutor(5) as threads:
        short = [invoke_in(threads, client, f"s{number}", 2) for number in range(3)]
        long = invoke_in(threads, client, "long", 50)
        events = [f"e{number}" for number in range(4)]
        for label in events:
            answer = client.invoke(FunctionName="crash", InvocationType="Event", Payload=json.dumps({"id": label, "sleep": 1}))
            assert answer["StatusCode"] == 202
        wait_for(lambda: [each["state"] for each in environments(server)].count("busy") >= 4)
        began = time.monotonic()
        assert server.stop() == 0
        took = time.monotonic() - began
    print(f"stopped after {took:.1f} s")
    assert took < 40  # not as long as the long one takes
    assert [json.loads(each.result()["Payload"].read()) for each in short] == ["s0", "s1", "s2"]
    assert isinstance(long.exception(), TROUBLE)  # it takes longer than is waited
    assert of_run(server.data_dir / "run") == []
    server.start()
    wait_for(lambda: set(events) <= ran(server))
    assert {"s0", "s1", "s2", "long"} <= ran(server)
    assert ledger_of(server, "crash") == reported(server, "crash")
    assert server.stop() == 0


def load(server: Server, name: str, accepted: set[str], finished: set[str], plane: Plane, seconds: float) -> None:
    """Invoke synchronously and as events, and change a function, until the server is killed under it."""
    client = plane.client = server.client("lambda")

    def work(worker: int) -> None:
        count = 0
        while True:
            count += 1
            for kind, into in (("Event", accepted), ("RequestResponse", finished)):
                label = f"{kind[0]}-{name}-{worker}-{count}"
                try:
                    answer = client.invoke(FunctionName="crash", InvocationType=kind, Payload=json.dumps({"id": label, "sleep": 0.02}))
                    answer["Payload"].read()
                except TROUBLE:
                    return
                into.add(label)

    def change() -> None:
        try:
            plane.change_until_it_fails()
        except (BotoCoreError, OSError):  # nobody answers; an answer that is an error would be a defect
            return

    with concurrent.futures.ThreadPoolExecutor(WORKERS + 1) as threads:
        tasks = [threads.submit(work, worker) for worker in range(WORKERS)] + [threads.submit(change)]
        concurrent.futures.wait(tasks, seconds, concurrent.futures.FIRST_COMPLETED)
        early = [task for task in tasks if task.done()]
        server.crash()
    assert not [task.exception() for task in early]
    for task in tasks:
        task.result()


def crash_while_starting(server: Server, seconds: float) -> None:
    with (server.data_dir / "server.log").open("a") as log:
        process = subprocess.Popen(server.command(), stdout=subprocess.DEVNULL, stderr=log)
        time.sleep(seconds)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait(30)


def invoke_in(threads: concurrent.futures.Executor, client: Any, label: str, seconds: float) -> "concurrent.futures.Future[Any]":
    return threads.submit(client.invoke, FunctionName="crash", Payload=json.dumps({"id": label, "sleep": seconds}))


def environments(server: Server) -> list[dict[str, Any]]:
    return list(json.loads(server.hanabi("ps", "--json")))


def messages(server: Server, name: str) -> list[str]:
    return [json.loads(line)["message"] for line in server.hanabi("logs", name, "--since", "1h", "--json").splitlines()]


def ran(server: Server) -> set[str]:
    """Ids for which the function printed `ran <id>`, in whatever log."""
    return {each.split()[1] for each in messages(server, "crash") if each.startswith("ran ")}


def reported(server: Server, name: str) -> tuple[int, int]:
    """(requests, billed ms) as the REPORT lines say."""
    billed = [re.search(r"Billed Duration: (\d+) ms", each) for each in messages(server, name) if each.startswith("REPORT ")]
    return len(billed), sum(int(match[1]) for match in billed if match)


def ledger_of(server: Server, name: str) -> tuple[int, int]:
    total = json.loads(server.hanabi("usage", "--function", name, "--json"))["total"]
    return total["requests"], total["billed_ms"]
