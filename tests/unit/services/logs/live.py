"""CloudWatch Logs on a log store in memory, served from a thread, for real clients."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from hanabi.base.clock import SystemClock
from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.edge import Edge
from hanabi.http.limits import Limits
from hanabi.http.server import HttpServer
from hanabi.services.logs.service import LogsService
from hanabi.testing.ledger import MemoryLedger
from tests.unit.http.live import listen
from tests.unit.services.logs.support import ACCOUNT, REGION


@dataclass
class LiveLogs:
    endpoint: str
    keys: KeyRing
    home: Path
    stop: Any  # begins the drain, then closes the server

    def client(self, **options: Any) -> Any:
        key = self.keys.root
        settings = {"retries": {"max_attempts": 0}, "inject_host_prefix": False} | options.pop("config", {})
        return boto3.client(
            "logs",
            endpoint_url=options.pop("endpoint", self.endpoint),
            region_name=REGION,
            aws_access_key_id=key.access_key,
            aws_secret_access_key=key.secret_key,
            config=Config(**settings),
        )

    @property
    def environment(self) -> dict[str, str]:
        """As `hanabi env` has it."""
        key = self.keys.root
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": key.access_key,
            "AWS_SECRET_ACCESS_KEY": key.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
            "PYTHONUNBUFFERED": "1",
        }


@contextmanager
def live_logs(directory: Path) -> Iterator[LiveLogs]:
    clock = SystemClock()
    keys = KeyRing.open(directory / "keys.json", region=REGION, account=ACCOUNT, clock=clock)
    spool = directory / "spool"
    spool.mkdir()
    sock, port = listen()
    ready = threading.Event()
    stopping: list[Any] = []

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        stopping.append(lambda: loop.is_closed() or loop.call_soon_threadsafe(stop.set))
        logs = LogsService(MemoryLedger(clock), clock, AccountRegion(ACCOUNT, REGION))
        edge = Edge([logs], keys, clock, REGION, spool=spool)
        server = HttpServer(edge.handle, clock=clock, limits=Limits(body=edge.body_rule), spool=spool, refuse=edge.refuse)
        await server.listen(sock)
        ready.set()
        await stop.wait()
        edge.drain()
        server.drain()
        await server.close(10.0)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield LiveLogs(f"http://127.0.0.1:{port}", keys, directory, stopping[0])
    finally:
        if thread.is_alive():
            stopping[0]()
        thread.join(30)
    assert not thread.is_alive() and list(spool.iterdir()) == []
