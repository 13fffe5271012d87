"""A fleet on in-memory sandboxes: everything but isolation is real."""

import asyncio
import socket
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from hanabi.clock import SystemClock
from hanabi.contracts import Concurrency, Credentials, FunctionVersion, Invocation, LogEvent, Record, Result, Route, RuntimeImage
from hanabi.fleet.fleet import Fleet
from hanabi.fleet.host import Host
from hanabi.invoke.admission import Admission
from hanabi.invoke.invoker import LocalInvoker
from hanabi.sandbox.testing import FakeDriver

IMAGE = RuntimeImage(
    runtime="python3.11",
    digest="d",
    root=Path("/nowhere"),
    runtime_dir=Path("/nowhere"),
    command=("python",),
    environment={"TZ": ":UTC"},
    version_arn="arn:runtime",
)


class MemoryJournal:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []
        self.records: list[Record] = []

    def log(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        self.events += events

    def finish(self, record: Record, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        self.log(group, stream, events)
        self.records.append(record)

    async def settle(self) -> None:
        return

    @property
    def lines(self) -> list[str]:
        return [text for _, text in self.events]


class Keys:
    """Counts the credentials that are out."""

    def __init__(self) -> None:
        self.issued: set[str] = set()

    def issue(self, role_arn: str, session_name: str) -> Credentials:
        key = f"ASIA{uuid.uuid4().hex[:16].upper()}"
        self.issued.add(key)
        return Credentials(key, "secret", "token")

    def revoke(self, access_key: str) -> None:
        self.issued.discard(access_key)


class Closed:
    async def close(self) -> None:
        return


async def attach_nothing(sock: socket.socket, access_key: str) -> Closed:
    return Closed()


async def image_for(runtime: str) -> RuntimeImage:
    return IMAGE


class Rig:
    """`async with Rig(bootstrap) as rig: await rig.invoke(version, b"...")`."""

    def __init__(self, bootstrap: Any = None, *, unreserved: int = 1000, **options: Any) -> None:
        self.driver = FakeDriver(bootstrap) if bootstrap else FakeDriver()
        self.journal = MemoryJournal()
        self.keys = Keys()
        self.clock = SystemClock()
        freeze_after_s = options.pop("freeze_after_s", 0.010)
        host = Host(self.clock, self.journal, self.keys, attach_nothing, freeze_after_s)
        settings = {"max_environments": 20, "stock_size": 0, **options}
        self.fleet = Fleet(self.driver, image_for, host, **settings)
        self.invoker = LocalInvoker(self.fleet, Admission(lambda: unreserved), self.journal, self.clock)

    async def __aenter__(self) -> "Rig":
        await self.fleet.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.fleet.close()
        assert not self.keys.issued, "credentials outlived their environments"

    def version(self, name: str = "f", **changes: Any) -> FunctionVersion:
        fields: dict[str, Any] = {
            "key": name, "name": name, "version": "$LATEST", "arn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}",
            "account": "000000000000", "region": "us-east-1", "runtime": "python3.11", "handler": "f.h", "memory_mb": 128, "timeout_s": 3,
            "tmp_mb": 512, "environment": {}, "role": "arn:aws:iam::000000000000:role/r", "code": Path("/nowhere"),
            "log_group": f"/aws/lambda/{name}",
        }  # fmt: skip
        return FunctionVersion(**{**fields, **changes})

    async def invoke(self, version: FunctionVersion, payload: bytes = b"{}", *, reserved: int | None = None, **options: Any) -> Result:
        route = Route(version, version.arn, Concurrency(version.name, reserved))
        return await self.invoker.invoke(Invocation(request_id=str(uuid.uuid4()), route=route, payload=payload, **options))

    def states(self) -> list[str]:
        return sorted(row["state"] for row in self.fleet.describe())


async def until(condition: Callable[[], Any], within_s: float = 10.0) -> None:
    """Wait for a condition, not for a time."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 (the condition is outside of any event)
            await asyncio.sleep(0.005)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await work()

    asyncio.run(bounded())
