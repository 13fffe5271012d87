"""The doubles keep the contract: a test above the sandbox sees what it would see of a real one."""

import asyncio
import os
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Driver, Exit, SandboxSpec
from hanabi.testing.sandbox import Bootstrap, FakeDriver, FakeProcess, FakeSandbox, Killed, echo, exit_when_invoked, silent

NOWHERE = Path("/nowhere")
IMAGE = RuntimeImage(runtime="x", digest="0", root=NOWHERE, runtime_dir=NOWHERE, command=("/x",), environment={}, version_arn="")
SPEC = SandboxSpec(id="one", image=IMAGE, memory_mb=128, tmp_mb=512)


def frame(kind: str, body: bytes = b"") -> bytes:
    return struct.pack("<IB", len(body) + 1, ord(kind)) + body


def invoke(payload: bytes) -> bytes:
    return frame("n", b"\3\0r\n0" + payload)


async def run(bootstrap: Bootstrap, body: Callable[[FakeSandbox, list[Exit]], Awaitable[None]]) -> None:
    fake = FakeDriver(bootstrap)
    driver: Driver = fake
    await driver.open()
    sandbox = await fake.create(SPEC)
    exits: list[Exit] = []
    sandbox.on_exit = exits.append
    await sandbox.start("runtime", ["/x"], {"A": "b"}, "/var/task")
    async with asyncio.timeout(10):
        await body(sandbox, exits)
    await sandbox.destroy()
    await driver.close()


async def receive(sandbox: FakeSandbox) -> bytes:
    return await asyncio.get_running_loop().sock_recv(sandbox.runtime, 65536)


async def send(sandbox: FakeSandbox, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sandbox.runtime, data)


async def test_echo_and_freeze() -> None:
    async def body(sandbox: FakeSandbox, exits: list[Exit]) -> None:
        assert await receive(sandbox) == frame("r")
        await send(sandbox, invoke(b"payload"))
        assert await receive(sandbox) == frame("o", b"payload") + frame("r")
        sandbox.freeze()
        await send(sandbox, invoke(b"later"))
        answer = asyncio.create_task(receive(sandbox))
        await asyncio.sleep(0.02)
        assert not answer.done()
        sandbox.thaw()
        assert await answer == frame("o", b"later") + frame("r")
        await sandbox.kill_processes()
        assert exits == [Exit("runtime", None, 9)]

    await run(echo, body)


async def test_endings() -> None:
    async def dies(sandbox: FakeSandbox, exits: list[Exit]) -> None:
        assert await receive(sandbox) == frame("r")
        await send(sandbox, invoke(b""))
        for _ in range(10):
            await asyncio.sleep(0)
        assert exits == [Exit("runtime", 3, None)]

    async def ended(sandbox: FakeSandbox, exits: list[Exit]) -> None:
        assert exits == [Exit("runtime", None, 11)]

    async def crashed(sandbox: FakeSandbox, exits: list[Exit]) -> None:
        assert exits == [Exit("runtime", 1, None)]
        assert b"ZeroDivisionError" in os.read(sandbox.logs, 65536)

    async def vanished(sandbox: FakeSandbox, exits: list[Exit]) -> None:
        sandbox.vanish()
        assert exits[0].role == "sandbox"

    async def segfault(process: FakeProcess) -> int | None:
        raise Killed(11)

    async def crash(process: FakeProcess) -> int | None:
        return 1 // 0

    await run(exit_when_invoked(3), dies)
    await run(segfault, ended)
    await run(crash, crashed)
    await run(silent, vanished)
