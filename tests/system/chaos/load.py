"""Mixed load on a server that faults happen to: invocations, events and changes, and a list of what was acknowledged."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.server import Server
from tests.system.plane import Plane

NAME = "chaos"
CODE = """
import time
def lambda_handler(event, context):
    print("ran", event["id"])
    time.sleep(event["sleep"])
    return event["id"]
"""
TROUBLE = (BotoCoreError, ClientError, OSError)
PAUSE_S = 0.05  # after trouble


class Load:
    """`answered` and `accepted` are request ids. What is no trouble of the network or an error of the service ends up in `defects`."""

    def __init__(self, server: Server, *, invokers: int = 3, producers: int = 2) -> None:
        self.answered: set[str] = set()
        self.accepted: set[str] = set()
        self.refused: dict[str, int] = {}
        self.defects: list[BaseException] = []
        self.plane = Plane()
        self._server = server
        self._client = server.client("lambda")
        self._ending = threading.Event()
        work = [self._invoke] * invokers + [self._produce] * producers + [self._change]
        self._threads = [threading.Thread(target=self._run, args=(each, number)) for number, each in enumerate(work)]

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(180)
            assert not thread.is_alive(), "a call has not ended"

    def _run(self, work: Callable[[int], None], number: int) -> None:
        while not self._ending.is_set():
            try:
                work(number)
            except TROUBLE as error:
                kind = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
                self.refused[kind] = self.refused.get(kind, 0) + 1
                time.sleep(PAUSE_S)
            except BaseException as error:
                self.defects.append(error)
                return

    def _invoke(self, number: int) -> None:
        label = f"i{number}-{time.monotonic_ns()}"
        answer = self._client.invoke(FunctionName=NAME, Payload=json.dumps({"id": label, "sleep": 0.01}))
        said = json.loads(answer["Payload"].read())
        if "FunctionError" not in answer:
            assert said == label, f"asked with {label}, answered {said}"
            self.answered.add(answer["ResponseMetadata"]["RequestId"])

    def _produce(self, number: int) -> None:
        event = json.dumps({"id": f"e{number}-{time.monotonic_ns()}", "sleep": 0.01})
        answer = self._client.invoke(FunctionName=NAME, InvocationType="Event", Payload=event)
        self.accepted.add(answer["ResponseMetadata"]["RequestId"])
        time.sleep(0.02)

    def _change(self, number: int) -> None:
        """Until a call is not answered; then, as soon as somebody answers, what is there must be what may be there."""
        self.plane.client = self._client
        try:
            self.plane.change_until_it_fails(self._ending.is_set)
        except TROUBLE:
            while not self._ending.is_set():
                try:
                    self.plane.check()
                    return
                except TROUBLE:
                    time.sleep(PAUSE_S)


def record_of(server: Server) -> dict[str, list[tuple[str, int]]]:
    """Request id -> (status, billed ms) of each time it ran, from the server's own index, read beside it."""
    import sqlite3

    connection = sqlite3.connect(f"file:{server.data_dir / 'record.db'}?mode=ro", uri=True, timeout=30)
    found: dict[str, list[tuple[str, int]]] = {}
    try:
        for request_id, status, billed_ms in connection.execute(
            "SELECT request_id, status, billed_ms FROM ledger WHERE function = ?", (NAME,)
        ):
            found.setdefault(request_id, []).append((status, billed_ms))
    finally:
        connection.close()
    return found


def problems(server: Server) -> list[str]:
    checks: list[dict[str, Any]] = json.loads(server.hanabi("doctor", "--json", check=False))
    return [check["detail"] for check in checks if check["name"] == "problem"]
