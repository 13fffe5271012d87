"""The link to the agent of a machine: what it says and asks, and that whoever does not keep to the protocol is hung up on."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import Any

import pytest

from hanabi.contracts.sandbox import Exit
from hanabi.errors import EntrypointError, SandboxError
from hanabi.sandbox.agent import ANSWER_MAX_BYTES, QUEUED_MAX_BYTES
from hanabi.sandbox.firecracker.machine_agent import GuestLink, Network
from hanabi.testing import ManualClock

HELLO = b"\x05\0\0\0H" + struct.pack("<HH", 9001, 9002)


def message(type: str, body: bytes = b"") -> bytes:
    return struct.pack("<IB", len(body) + 1, ord(type)) + body


class Agent:
    """The other end, in a test's own hands."""

    def __init__(self, timeout_factor: float = 1.0) -> None:
        host, self.line = socket.socketpair()
        self.line.setblocking(False)
        self.clock = ManualClock()
        self.link = GuestLink(host, self.clock, timeout_factor=timeout_factor)
        self.closed: list[str] = []
        self.exits: list[Exit] = []
        self.link.on_close = self.closed.append
        self.link.on_exit = self.exits.append

    async def say(self, *messages: bytes) -> None:
        """In one piece, and let the link take it."""
        self.line.sendall(b"".join(messages))
        await turns()

    async def heard(self) -> tuple[str, bytes]:
        loop = asyncio.get_running_loop()
        (length,) = struct.unpack("<I", await loop.sock_recv(self.line, 4))
        data = await loop.sock_recv(self.line, length)
        return chr(data[0]), data[1:]


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def talking(timeout_factor: float = 1.0) -> AsyncIterator[Agent]:
    agent = Agent(timeout_factor)
    try:
        yield agent
    finally:
        agent.link.close()
        agent.line.close()


async def test_hello_in_pieces() -> None:
    async with talking() as agent:
        greeted = asyncio.ensure_future(agent.link.greet(5))
        for byte in HELLO:
            await agent.say(bytes([byte]))
        assert await greeted == (9001, 9002)
        assert await agent.link.greet(5) == (9001, 9002)


async def test_what_is_asked_and_answered() -> None:
    async with talking() as agent:
        await agent.say(HELLO)
        network = Network(IPv4Address("100.127.0.2"), IPv4Address("100.127.0.1"))
        asked = asyncio.ensure_future(agent.link.identify(time_ns=7, hostname="h", network=network))
        type, body = await agent.heard()
        assert type == "V" and struct.unpack_from("<QH", body) == (7, 64)
        assert struct.unpack_from("<III", body, 74) == (int(network.address), 0xFFFFFFFC, int(network.gateway))
        assert body[86:] == struct.pack("<I", 1) + b"h"
        await agent.say(message("v", bytes(4)))
        await asked
        mounting = asyncio.ensure_future(agent.link.mount_drive("b", size=4096, file_system="erofs", target="/var/task"))
        assert await agent.heard() == ("D", b"b" + struct.pack("<BQ", 0, 4096) + b"\5\0\0\0erofs" + b"\x09\0\0\0/var/task")
        await agent.say(message("d", struct.pack("<I", 22)))
        with pytest.raises(SandboxError, match="the machine cannot mount /var/task: Invalid argument"):
            await mounting
        for type, work in (("T", agent.link.trim()), ("N", agent.link.quiesce()), ("Q", agent.link.ping())):
            waiting = asyncio.ensure_future(work)
            assert await agent.heard() == (type, b"")
            await agent.say(message(type.lower()))
            await waiting
        agent.link.limit_memory(1 << 30)
        agent.link.reset_peak()
        assert [await agent.heard() for _ in range(2)] == [("L", struct.pack("<Q", 1 << 30)), ("Z", b"")]
        assert agent.closed == []


async def test_answers_come_in_the_order_of_the_questions() -> None:
    async with talking() as agent:
        await agent.say(HELLO)
        first, second = asyncio.ensure_future(agent.link.ping()), asyncio.ensure_future(agent.link.trim())
        await turns()
        first.cancel()  # its answer comes all the same
        await turns()
        await agent.say(message("q"), message("t", bytes(4)))
        await second
        assert agent.closed == []
        third, fourth = asyncio.ensure_future(agent.link.ping()), asyncio.ensure_future(agent.link.trim())
        await turns()
        await agent.say(message("t"))  # before the other one
        for each in (third, fourth):
            with pytest.raises(SandboxError, match="malformed"):
                await each
        await turns()
        assert agent.closed == ["the agent sent a malformed message"]


async def test_a_slow_host_is_waited_for() -> None:
    """Answers may take so many times longer; a try to greet may not."""

    async with talking(timeout_factor=10) as agent:
        await agent.say(HELLO)
        pinged = asyncio.ensure_future(agent.link.ping(5))
        await turns()
        await agent.clock.advance(49)
        await turns()
        assert not pinged.done()
        await agent.clock.advance(2)
        with pytest.raises(SandboxError, match="did not answer"):
            await pinged
    async with talking(timeout_factor=10) as agent:
        greeted = asyncio.ensure_future(agent.link.greet(5))
        await turns()
        await agent.clock.advance(6)
        with pytest.raises(SandboxError, match="did not answer"):
            await greeted


async def test_memory_as_told() -> None:
    async with talking() as agent:
        agent.line.sendall(HELLO + message("M", struct.pack("<QQ", 5, 1)) + message("M", struct.pack("<QQ", 2**64 - 1, 2)))
        agent.link.catch_up()  # no turn of the loop
        assert (agent.link.memory_peak_bytes, agent.link.oom_kills) == (2**64 - 1, 2)
        agent.link.reset_peak()
        assert agent.link.memory_peak_bytes == 0
        agent.link.catch_up()
        agent.link.close()
        agent.link.catch_up()


@pytest.mark.parametrize(
    "said",
    [
        message("H"),
        message("H", bytes(3)),
        message("H", bytes(5)),
        HELLO + HELLO,
        HELLO + struct.pack("<I", 0),
        HELLO + struct.pack("<I", ANSWER_MAX_BYTES + 1),
        HELLO + b"\xff" * 4,
        HELLO + message("M", bytes(15)),
        HELLO + message("M", bytes(17)),
        HELLO + message("v", bytes(4)),  # nobody has asked
        HELLO + message("k"),
        HELLO + message("q"),
        HELLO + message("?"),
        HELLO + message("\0"),
        HELLO + message("P", struct.pack("<BI", 0, 1)),
        HELLO + message("F", struct.pack("<BII", 0, 2, 0)),
        HELLO + message("X", bytes(3)),
        HELLO + message("X"),
    ],
    ids=lambda said: said.hex()[-24:],
)
async def test_what_no_agent_says(said: bytes) -> None:
    async with talking() as agent:
        greeted = asyncio.ensure_future(agent.link.greet(5))
        await turns()
        await agent.say(said)
        assert agent.link.closed and agent.closed == ["the agent sent a malformed message"]
        if said.startswith(HELLO):
            await greeted
        else:
            with pytest.raises(SandboxError, match="malformed"):
                await greeted
        with pytest.raises(SandboxError, match="the agent has gone"):
            await agent.link.ping()
        assert agent.line.recv(10) == b""


@pytest.mark.parametrize(
    "answer",
    [
        message("d", bytes(4)),
        message("v", bytes(3)),
        message("v", bytes(5)),
        message("v", struct.pack("<I", 4096)),
        message("v", b"\xff" * 4),
        message("V", bytes(4)),
    ],
    ids=bytes.hex,
)
async def test_answers_that_are_none(answer: bytes) -> None:
    async with talking() as agent:
        await agent.say(HELLO)
        asked = asyncio.ensure_future(agent.link.identify(time_ns=1, hostname="h", network=None))
        await turns()
        await agent.say(answer)
        with pytest.raises(SandboxError, match="malformed"):
            await asked
        await turns()
        assert agent.closed == ["the agent sent a malformed message"]


async def test_descriptors_that_are_sent_are_nobodys() -> None:
    async with talking() as agent:
        before = len(os.listdir("/proc/self/fd"))
        socket.send_fds(agent.line, [HELLO], [0, 1, 2])
        socket.send_fds(agent.line, [message("M", bytes(16))], [0])
        await turns()
        assert await agent.link.greet(5) == (9001, 9002)
        assert len(os.listdir("/proc/self/fd")) == before and agent.closed == []


@pytest.mark.parametrize("limit_s", [20.0, 10.0])
async def test_an_agent_that_does_not_answer_is_hung_up_on(limit_s: float) -> None:
    async with talking() as agent:
        await agent.say(HELLO)
        work: Coroutine[Any, Any, None] = agent.link.ping()
        if limit_s == 20:
            work.close()
            work = agent.link.mount_drive("b", size=1, file_system="erofs", target="/opt")
        asked = asyncio.ensure_future(work)
        await turns()
        await agent.clock.advance(limit_s - 0.1)
        assert not asked.done()
        await agent.clock.advance(0.1)
        with pytest.raises(SandboxError, match="the agent did not answer"):
            await asked
        await turns()
        assert agent.closed == ["the agent did not answer"]


async def test_an_agent_that_does_not_read_is_hung_up_on() -> None:
    async with talking() as agent:
        await agent.say(HELLO)
        count = 0
        while not agent.link.closed:
            agent.link.limit_memory(1)
            count += 1
            assert count < 10 * QUEUED_MAX_BYTES
        await turns()
        assert agent.closed == ["the agent does not read"]


async def test_an_agent_that_goes() -> None:
    async with talking() as agent:
        await agent.say(HELLO)
        asked = [asyncio.ensure_future(agent.link.ping()) for _ in range(3)]
        await turns()
        agent.line.close()
        for each in asked:
            with pytest.raises(SandboxError, match="the agent has gone|the control channel broke"):
                await each
        await turns()
        assert len(agent.closed) == 1


async def test_processes_of_before_the_snapshot() -> None:
    async with talking() as agent:
        await agent.say(HELLO)
        agent.link.adopt("runtime")
        with pytest.raises(SandboxError, match="runtime is running"):
            await agent.link.start("runtime", ["/x"], {}, "/")
        with pytest.raises(SandboxError, match="runtime is running"):
            agent.link.adopt("runtime")
        await agent.say(message("X", bytes((0, 1, 9))))
        assert agent.exits == [Exit("runtime", None, 9)]
        starting = asyncio.ensure_future(agent.link.start("runtime", ["/x"], {}, "/"))
        await agent.heard()
        await agent.say(message("F", struct.pack("<BII", 0, 2, 4) + b"exec"))
        with pytest.raises(EntrypointError, match="/x: No such file"):
            await starting
        assert agent.closed == []
