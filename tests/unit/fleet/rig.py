"""A fleet on in-memory sandboxes: everything but isolation is real."""

import asyncio
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hanabi.base.clock import Clock, SystemClock
from hanabi.contracts.functions import Concurrency, FunctionVersion, Route
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.invocation import Invocation, Result
from hanabi.environment.shared import SharedServices
from hanabi.fleet.fleet import Fleet
from hanabi.fleet.settings import FleetSettings
from hanabi.invoke.admission import Admission
from hanabi.invoke.invoker import LocalInvoker
from hanabi.testing.concurrency import FixedLimits
from hanabi.testing.credentials import CountingIssuer
from hanabi.testing.journal import MemoryJournal
from hanabi.testing.sandbox import READY, FakeDriver, FakeProcess, FakeSandbox, Killed

IMAGE = RuntimeImage(
    runtime="python3.11",
    digest="d",
    root=Path("/nowhere"),
    runtime_dir=Path("/nowhere"),
    command=("python",),
    environment={"TZ": ":UTC"},
    version_arn="arn:runtime",
)


async def obedient(process: FakeProcess) -> int | None:
    """Does what the payload says; what it does not know it echoes. Bundled on its channel, OS-only on the Runtime API."""
    if not process.sandbox.spec.image.command:
        return await on_runtime_api(process)
    while (await process.read())[0] != "i":
        pass
    await process.write("r")
    while True:
        kind, body = await process.read()
        if kind != "n":
            continue
        order, _, rest = process.payload(body).decode().partition(" ")
        match order:
            case "print":
                process.print(rest)
            case "write":
                os.write(process.sandbox.output, rest.encode())
            case "exit":
                return int(rest)
            case "kill":
                raise Killed(int(rest))
            case "hang":
                await asyncio.Event().wait()
            case "fail":
                await process.write("f", b'{"errorType":"ValueError","errorMessage":"no"}', READY)
                continue
            case "babble":
                await process.write("o", b"answer")
                await process.answer(b"again")
                continue
            case "last-words":
                await process.write("x", b'{"errorType":"Thrown"}')
                return 1
        await process.answer(process.payload(body))


async def on_runtime_api(process: FakeProcess) -> int | None:
    """`hang` and `answer-and-exit` do that; else an echo."""
    while True:
        headers, payload = await request(process, "GET", "invocation/next")
        if payload == b"hang":
            await asyncio.Event().wait()
        await request(process, "POST", f"invocation/{headers['lambda-runtime-aws-request-id']}/response", payload)
        if payload == b"answer-and-exit":
            return 0


async def request(process: FakeProcess, method: str, path: str, body: bytes = b"") -> tuple[dict[str, str], bytes]:
    """One request to the Runtime API of the sandbox."""
    reader, writer = await asyncio.open_connection(*process.sandbox.runtime_api_address.split(":"))
    try:
        head = f"{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")[1:-2]
        headers = dict(line.split(": ", 1) for line in lines)
        return headers, await reader.readexactly(int(headers["content-length"]))
    except (asyncio.IncompleteReadError, ConnectionError):
        raise Killed(13) from None
    finally:
        writer.close()


class Closed:
    async def close(self) -> None:
        return


async def attach_nothing(sock: socket.socket, access_key: str) -> Closed:
    return Closed()


CONTAINER = replace(
    IMAGE, runtime="image", digest="c", command=(), runtime_dir=None, environment={"PATH": "/bin:/usr/bin/"}, version_arn=""
)
OS_ONLY = replace(IMAGE, runtime="provided.al2023", digest="o", command=())


async def image_for(runtime: str) -> RuntimeImage:
    return OS_ONLY if runtime.startswith("provided") else IMAGE


async def image_of(container: RuntimeImage, version: FunctionVersion) -> RuntimeImage:
    return container if version.container is not None else await image_for(version.runtime)


class Rig:
    """`async with Rig(bootstrap) as rig: await rig.invoke(version, b"...")`."""

    def __init__(self, bootstrap: Any = obedient, *, unreserved: int = 1000, clock: Clock | None = None, **options: Any) -> None:
        self.driver = FakeDriver(bootstrap)
        self.driver.can_snapshot = "hibernate_to" in options
        self.ensure_image = image_for
        self.journal = MemoryJournal()
        self.keys = CountingIssuer()
        self.clock = clock or SystemClock()
        freeze_after_s = options.pop("freeze_after_s", 0.010)
        image = options.pop("image", CONTAINER)  # of those functions that are one
        self.host = host = SharedServices(self.clock, self.journal, self.keys, attach_nothing, freeze_after_s)
        rest = {name: options.pop(name) for name in ("read_memory", "health") if name in options}
        settings = FleetSettings(**{"max_environments": 20, "max_memory_mb": 1 << 20, "pool_size": 0, **options})
        self.fleet = Fleet(self.driver, partial(image_of, image), host, settings, **rest)
        self.environments, self.starter = self.fleet._environments, self.fleet._leases._starter
        self.admission = Admission(FixedLimits(unreserved))
        self.fleet.on_allocated(lambda version, count: self.admission.provision(version.name, version.key, count))
        self.check_role: Callable[[str], None] = lambda arn: None
        self.invoker = LocalInvoker(self.fleet, self.admission, self.journal, self.clock, lambda arn: self.check_role(arn))

    async def __aenter__(self) -> "Rig":
        await self.fleet.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.invoker.close()
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
        return await self.invoker.invoke(self.invocation(version, payload, reserved=reserved, **options))

    def invocation(self, version: FunctionVersion, payload: bytes = b"{}", *, reserved: int | None = None, **options: Any) -> Invocation:
        route = Route(version, version.arn, Concurrency(version.name, reserved))
        return Invocation(request_id=str(uuid.uuid4()), route=route, payload=payload, **options)

    def begin(self, version: FunctionVersion, payload: bytes = b"{}", **options: Any) -> "asyncio.Task[Result]":
        """An invocation under way."""
        return asyncio.get_running_loop().create_task(self.invoke(version, payload, **options))

    @property
    def sandbox(self) -> FakeSandbox:
        """The latest."""
        return self.driver.sandboxes[-1]

    def states(self) -> list[str]:
        return sorted(row["state"] for row in self.fleet.describe())
