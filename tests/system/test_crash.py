"""kill -9 of the server at random moments under load: nothing accepted is lost, nothing is left behind."""

import concurrent.futures
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.server import Server, create_function, wait_for

CODE = """
import time
def lambda_handler(event, context):
    print("ran", event["id"])
    time.sleep(event.get("sleep", 0))
    return event["id"]
"""
ROUNDS = 4

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containers with limits, network slots and mounts")


def logged(server: Server, prefix: str) -> set[str]:
    """Ids for which a function printed `ran <id>`, in whatever log."""
    text = server.hanabi("logs", "crash", "--since", "1h")
    return {line.split("ran ", 1)[1].split()[0] for line in text.splitlines() if f"ran {prefix}" in line}


def test_nothing_accepted_is_lost_and_nothing_is_left_behind() -> None:
    seed = int.from_bytes(os.urandom(4))
    print("seed", seed)
    dice = random.Random(seed)
    server = Server()
    try:
        server.start()
        create_function(server.client("lambda"), "crash", CODE, Timeout=10)
        accepted: set[str] = set()
        finished: set[str] = set()
        for round_number in range(ROUNDS):
            load(server, f"{round_number}", accepted, finished, dice.uniform(0.3, 2.0))
            server.start()
        client = server.client("lambda")
        assert client.get_function_configuration(FunctionName="crash")["State"] == "Active"
        wait_for(lambda: accepted <= logged(server, "e"), 90, every=1.0)
        assert finished <= logged(server, "s")
        assert client.invoke(FunctionName="crash", Payload=b'{"id": "last"}')["StatusCode"] == 200
        assert server.stop() == 0
        assert leftovers(server.data_dir) == []
    finally:
        if server.process is not None:
            server.crash()
        server.remove()


def load(server: Server, name: str, accepted: set[str], finished: set[str], seconds: float) -> None:
    """Invoke synchronously and as events until the server is killed under it, some time into the load."""
    client = server.client("lambda")
    stop = threading.Event()

    def work(worker: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            for kind, into in (("Event", accepted), ("RequestResponse", finished)):
                label = f"{kind[0].lower() if kind == 'Event' else 's'}-{name}-{worker}-{count}"
                payload = f'{{"id": "{label}", "sleep": 0.02}}'.encode()
                try:
                    answer: Any = client.invoke(FunctionName="crash", InvocationType=kind, Payload=payload)
                    answer["Payload"].read()
                    into.add(label)
                except (BotoCoreError, ClientError, OSError):
                    return

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        for worker in range(4):
            threads.submit(work, worker)
        stop.wait(seconds)
        server.crash()
        stop.set()


def leftovers(data_dir: Path) -> list[str]:
    from tests.leftovers import of_run

    return of_run(data_dir / "run")
