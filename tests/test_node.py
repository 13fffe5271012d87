"""The wiring of a node: what it tells at its start, whom it lets read what it keeps, and what it clears away."""

import asyncio
import os
import subprocess

from hanabi.contracts import RuntimeImage
from hanabi.errors import ImageError
from hanabi.health import Health
from hanabi.node import ANNOUNCE_EVERY_S, StockedImages
from hanabi.retry import Retrying
from hanabi.testing import ManualClock
from tests.conftest import needs_root
from tests.server import Server, create_function

SECRET = ("state.db", "state.db-wal", "events.db", "record.db", "keys.json", "journal", "code", "spool", "run/state", "run/volumes")


@needs_root
def test_nobody_else_reads_what_a_node_keeps() -> None:
    with Server() as server:
        create_function(server.client("lambda"), "kept", "def lambda_handler(event, context): return 1")
        for name in SECRET:
            path = server.data_dir / name
            assert path.stat().st_mode & 0o077 == 0, f"{name}: {path.stat().st_mode:o}"
        assert os.listdir(server.data_dir / "spool") == []


@needs_root
def test_a_second_server_is_refused_in_one_line_and_does_no_harm() -> None:
    with Server() as server:
        create_function(server.client("lambda"), "kept", "def lambda_handler(event, context): return 1")
        assert (
            refusal(server) == f"{server.data_dir} is in use by another hanabi (process {pid(server)}); stop it or name another --data-dir"
        )
        other = Server()
        other.port = server.port
        assert refusal(other) == f"port {server.port} is in use; name another --port"
        other.remove()
        assert server.client("lambda").invoke(FunctionName="kept")["Payload"].read() == b"1"


def refusal(server: Server) -> str:
    done = subprocess.run(server.command(), capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.removeprefix("hanabi up: ").rstrip("\n")


def pid(server: Server) -> int:
    assert server.process is not None
    return server.process.pid


def test_a_runtime_that_cannot_be_announced_is_tried_again() -> None:
    async def work() -> None:
        clock = ManualClock()
        health = Health(clock)
        retrying = Retrying(clock, health, longest_delay_s=ANNOUNCE_EVERY_S)
        expected: list[str] = []
        times: list[float] = []

        class Announced(StockedImages):
            def __init__(self) -> None: ...

            async def ensure(self, runtime: str) -> RuntimeImage:
                if runtime == "python3.11" and len(times) < 11:
                    times.append(clock.monotonic())
                    raise ImageError("no network")
                expected.append(runtime)
                return None  # type: ignore[return-value]

        await Announced().announce(["python3.11", "python3.13"], retrying)
        assert expected == ["python3.13"]
        assert "python3.11 can be kept ready: no network" in health.problems[0].text
        await clock.advance(3000)
        assert expected == ["python3.13", "python3.11"] and health.problems == []
        assert times[-1] - times[-2] == 512

    asyncio.run(work())
