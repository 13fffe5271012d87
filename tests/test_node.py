"""The wiring of a node: what it tells at its start, whom it lets read what it keeps, and what it clears away."""

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path

from hanabi.node import COLLECT_EVERY_S, _collect_unused
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


def test_code_goes_when_nothing_has_used_it_for_a_while() -> None:
    referenced, running = {Path("/a"), Path("/b"), Path("/c")}, {Path("/c")}
    kept: list[set[Path]] = []

    async def collect(used: set[Path]) -> None:
        kept.append(used)
        if len(kept) == 1:
            raise OSError("some other time")

    async def work() -> None:
        clock = ManualClock()
        task = asyncio.create_task(_collect_unused(collect, lambda: referenced | running, clock))
        await clock.advance(1)
        referenced.clear()
        for _ in range(2):
            await clock.advance(COLLECT_EVERY_S)
        running.clear()
        for _ in range(2):
            await clock.advance(COLLECT_EVERY_S)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(work())
    a, b, c = Path("/a"), Path("/b"), Path("/c")
    assert kept == [{a, b, c}, {a, b, c}, {c}, {c}, set()]


def refusal(server: Server) -> str:
    done = subprocess.run(server.command(), capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.removeprefix("hanabi up: ").rstrip("\n")


def pid(server: Server) -> int:
    assert server.process is not None
    return server.process.pid
