"""The host's end of the control channel: with the real agent, and with agents that lie."""

import array
import asyncio
import os
import random
import signal
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvloop

from hanabi.base import linux
from hanabi.base.clock import SystemClock
from hanabi.contracts.sandbox import Exit
from hanabi.errors import EntrypointError, SandboxError
from hanabi.sandbox.agent import AgentLink, encode_start, find_agent
from hanabi.testing import ManualClock
from tests.unit.guest.agent.rig import PATIENCE_S, Agent, build

ENVIRONMENT = {"PATH": os.environ["PATH"]}


class Ended:
    """What the link's callbacks said."""

    def __init__(self, link: AgentLink) -> None:
        self.exits: list[Exit] = []
        self.reasons: list[str] = []
        self._changed = asyncio.Event()
        link.on_exit = self._exit
        link.on_close = self._close

    def _exit(self, exit: Exit) -> None:
        self.exits.append(exit)
        self._changed.set()

    def _close(self, reason: str) -> None:
        self.reasons.append(reason)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


Body = Callable[[Agent, AgentLink, Ended], Awaitable[None]]


@asynccontextmanager
async def with_agent() -> AsyncIterator[tuple[Agent, AgentLink, Ended]]:
    with Agent() as agent:
        link = AgentLink(agent.control, SystemClock())
        agent.listeners = list(await link.hello(PATIENCE_S))
        try:
            yield agent, link, Ended(link)
        finally:
            link.close()


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_find_agent() -> None:
    assert find_agent() == build()


async def test_start_exit_and_signal() -> None:
    async with with_agent() as (agent, link, ended):
        pid = await link.start("runtime", ["/bin/sleep", "1000"], ENVIRONMENT, "/")
        assert os.getsid(pid) == pid
        await asyncio.gather(*(link.start(f"extension {n}", ["/bin/sh", "-c", f"exit {n}"], ENVIRONMENT, "/") for n in range(10)))
        await ended.until(lambda: len(ended.exits) == 10)
        assert sorted((each.role, each.status) for each in ended.exits) == [(f"extension {n}", n) for n in range(10)]
        link.signal("nobody", signal.SIGTERM)
        link.signal("runtime", signal.SIGTERM)
        await ended.until(lambda: len(ended.exits) == 11)
        assert ended.exits[-1] == Exit("runtime", None, signal.SIGTERM)
        link.signal("runtime", signal.SIGTERM)
        assert ended.reasons == []


async def test_the_output_of_an_extension_may_have_a_pipe_of_its_own() -> None:
    script = "echo out; echo err >&2; exec ls /proc/self/fd"  # 3 is that directory
    async with with_agent() as (agent, link, ended):
        await link.start("other", ["/bin/sh", "-c", "echo to the log"], ENVIRONMENT, "/")
        await ended.until(lambda: len(ended.exits) == 1)
        before = os.listdir(f"/proc/{agent.process.pid}/fd")
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        await link.start("extension", ["/bin/sh", "-c", script], ENVIRONMENT, "/", output=theirs)
        os.close(theirs)
        await ended.until(lambda: len(ended.exits) == 2)
        printed = b""
        while part := os.read(ours, 4096):  # to its end: nobody else holds it
            printed += part
        os.close(ours)
        assert printed.split() == [b"out", b"err", b"0", b"1", b"2", b"3"]
        assert agent.read_until("\n") == "to the log\n"
        assert os.listdir(f"/proc/{agent.process.pid}/fd") == before


async def test_kill_processes() -> None:
    async with with_agent() as (agent, link, ended):
        await link.start("runtime", ["/bin/sh", "-c", "sleep 1000 & sleep 1000"], ENVIRONMENT, "/")
        await asyncio.gather(link.kill_processes(), link.kill_processes())
        assert ended.exits == [Exit("runtime", None, signal.SIGKILL)]
        await link.start("runtime", ["/bin/true"], ENVIRONMENT, "/")


async def test_connect_to_a_port_inside() -> None:
    async with with_agent() as (agent, link, ended):
        linux.refuse_rights(agent.control)  # as a driver does after hello
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(PATIENCE_S)
            port = server.getsockname()[1]
            one, two = await asyncio.gather(link.connect(port), link.connect(port))
            for ours in (one, two):
                with ours, server.accept()[0] as theirs:
                    theirs.sendall(b"hello")
                    assert await asyncio.get_running_loop().sock_recv(ours, 100) == b"hello"
        with pytest.raises(OSError):
            await link.connect(port)
        assert ended.reasons == [] and not link.closed
        await link.start("runtime", ["/bin/true"], ENVIRONMENT, "/")


async def test_start_that_fails() -> None:
    async with with_agent() as (agent, link, ended):
        with pytest.raises(EntrypointError, match="/var/nope: No such file or directory") as raised:
            await link.start("runtime", ["/var/nope"], ENVIRONMENT, "/")
        assert raised.value.errno == 2
        with pytest.raises(EntrypointError, match="chdir for /bin/true: No such file"):
            await link.start("runtime", ["/bin/true"], ENVIRONMENT, "/nope")
        with pytest.raises(EntrypointError, match="null byte"):
            await link.start("runtime", ["/bin/true", "a\0b"], ENVIRONMENT, "/")
        with pytest.raises(EntrypointError, match="Argument list too long"):
            await link.start("runtime", ["/bin/true"], {"A": "x" * 300_000}, "/")
        with pytest.raises(EntrypointError, match="Argument list too long"):  # the kernel's own limit for one string
            await link.start("runtime", ["/bin/true"], {"A": "x" * 140_000}, "/")
        await link.start("runtime", ["/bin/sleep", "1000"], ENVIRONMENT, "/")
        with pytest.raises(SandboxError, match="runtime is running"):
            await link.start("runtime", ["/bin/true"], ENVIRONMENT, "/")


async def test_eleven_extensions_are_too_many() -> None:
    async with with_agent() as (agent, link, ended):
        for number in range(10):
            await link.start(f"x{number}", ["/bin/sleep", "1000"], ENVIRONMENT, "/")
        with pytest.raises(SandboxError, match="no more than 10"):
            await link.start("x10", ["/bin/true"], ENVIRONMENT, "/")


async def test_the_agent_s_death_is_told() -> None:
    async with with_agent() as (agent, link, ended):
        agent.process.kill()
        await ended.until(lambda: bool(ended.reasons))
        assert ended.reasons == ["the agent has gone"] and link.closed
        with pytest.raises(SandboxError, match="the agent has gone"):
            await link.start("runtime", ["/bin/true"], ENVIRONMENT, "/")
        link.signal("runtime", 9)
        with pytest.raises(SandboxError):
            await link.kill_processes()


async def test_a_cancelled_start_does_not_confuse_the_next() -> None:
    async with with_agent() as (agent, link, ended):
        start = asyncio.create_task(link.start("x", ["/bin/true"], ENVIRONMENT, "/"))
        await asyncio.sleep(0)
        start.cancel()
        await ended.until(lambda: len(ended.exits) == 1)
        await link.start("x", ["/bin/true"], ENVIRONMENT, "/")


# --- agents that lie ------------------------------------------------------------------------------------------------------


@contextmanager
def listening(count: int = 2) -> Iterator[list[socket.socket]]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    yield sockets
    for sock in sockets:
        sock.close()


def hello(sockets: list[socket.socket]) -> bytes:
    return b"\x05\0\0\0H" + b"".join(struct.pack("<H", each.getsockname()[1]) for each in sockets[:2])


def send_fds(control: socket.socket, message: bytes, fds: list[int]) -> None:
    control.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


async def refused_hello(send: Callable[[socket.socket], None]) -> str:
    """The reason the link gives, having kept no descriptor."""

    host, guest = socket.socketpair()
    before = open_fds()
    link = AgentLink(host, SystemClock())
    send(guest)
    with pytest.raises(SandboxError) as raised:
        await link.hello(PATIENCE_S)
    assert link.closed
    assert open_fds() == before - 1  # the control socket
    guest.close()
    return str(raised.value)


@pytest.mark.parametrize("count", [0, 1, 3, 200])
async def test_hello_with_another_number_of_descriptors(count: int) -> None:
    with listening() as sockets:
        fds = [sockets[n % 2].fileno() for n in range(count)]
        reason = await refused_hello(lambda guest: send_fds(guest, hello(sockets), fds) if fds else guest.sendall(hello(sockets)))
        assert ("two listening sockets" in reason) == (count < 3)
        assert ("too many descriptors" in reason) == (count >= 3)


def strangers() -> dict[str, Callable[[], socket.socket | int]]:
    def v6() -> socket.socket:
        return socket.create_server(("::1", 0), family=socket.AF_INET6)

    def unix() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind("")
        sock.listen()
        return sock

    def quiet() -> socket.socket:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        return sock

    return {
        "a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "a directory": lambda: os.open("/", os.O_RDONLY),
        "IPv6": v6,
        "unix": unix,
        "not listening": quiet,
        "UDP": lambda: socket.socket(type=socket.SOCK_DGRAM),
        "another port": lambda: socket.create_server(("127.0.0.1", 0)),
        "all addresses": lambda: socket.create_server(("0.0.0.0", 0)),
    }


@pytest.mark.parametrize("what", strangers())
@pytest.mark.parametrize("place", [0, 1])
async def test_hello_with_something_else(what: str, place: int) -> None:
    stranger = strangers()[what]()
    with listening() as sockets:
        fds = [each.fileno() for each in sockets]
        fds[place] = stranger if isinstance(stranger, int) else stranger.fileno()
        assert "two listening sockets" in await refused_hello(lambda guest: send_fds(guest, hello(sockets), fds))
    os.close(stranger) if isinstance(stranger, int) else stranger.close()


@pytest.mark.parametrize("message", [b"\x05\0\0\0H", b"\x05\0\0\0X1234", b"\xff\xff\xff\xffH1234", b"x" * 4096])
async def test_something_else_than_hello(message: bytes) -> None:
    with listening() as sockets:
        fds = [each.fileno() for each in sockets]
        assert "did not say hello" in await refused_hello(lambda guest: send_fds(guest, message, fds))


async def test_silence_and_early_end() -> None:
    assert "has gone" in await refused_hello(lambda guest: guest.shutdown(socket.SHUT_RDWR))

    async def main() -> None:
        host, guest = socket.socketpair()
        clock = ManualClock()
        link = AgentLink(host, clock)
        waiting = asyncio.create_task(link.hello(10))
        await clock.advance(9.9)
        assert not waiting.done()
        await clock.advance(0.2)
        with pytest.raises(SandboxError, match="did not answer"):
            await waiting
        guest.close()

    await main()


async def fake_agent(clock: Any = None) -> tuple[AgentLink, socket.socket, Ended]:
    """A link past its hello, and the agent's end."""
    host, guest = socket.socketpair()
    guest.settimeout(PATIENCE_S)
    link = AgentLink(host, clock or SystemClock())
    with listening() as sockets:
        send_fds(guest, hello(sockets), [each.fileno() for each in sockets])
        for listener in await link.hello(PATIENCE_S):
            listener.close()
    return link, guest, Ended(link)


LIES = [
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\1\4\0\0P",
    b"\1\0\0\0?",
    b"\1\0\0\0k",
    b"\2\0\0\0k ",
    b"\1\0\0\0P",
    b"\6\0\0\0P\0\1\0\0\0",
    b"\4\0\0\0X\0\0\0",
    b"\4\0\0\0X\3\0\0",
    b"\x0a\0\0\0F\0\2\0\0\0\0\0\0\0",
    b"\x05\0\0\0H\1\2\3\4",
    b"\4\0\0\0F\0\0\0",
]


@pytest.mark.parametrize("lie", LIES, ids=repr)
async def test_an_unexpected_message_ends_the_link(lie: bytes) -> None:
    link, guest, ended = await fake_agent()
    guest.sendall(lie)
    await ended.until(lambda: bool(ended.reasons))
    assert ended.reasons == ["the agent sent a malformed message"]
    assert ended.exits == [] and link.closed
    assert guest.recv(1) == b""
    guest.close()


@pytest.mark.parametrize(
    "lie",
    [
        b"\4\0\0\0X\0\0\0",  # it has not been started yet
        b"\x0a\0\0\0F\0\0\0\0\0\0\0\0\0",  # failed with success
        b"\x0a\0\0\0F\0\xff\xff\xff\xff\0\0\0\0",
        b"\x0a\0\0\0F\0\2\0\0\0\1\0\0\0",  # a text that is not there
        b"\6\0\0\0P\1\1\0\0\0",  # another role
    ],
    ids=repr,
)
async def test_a_false_answer_fails_the_start(lie: bytes) -> None:
    link, guest, ended = await fake_agent()
    start = asyncio.create_task(link.start("runtime", ["/x"], {}, "/"))
    await asyncio.sleep(0)
    guest.sendall(lie)
    with pytest.raises(SandboxError, match="malformed"):
        await start
    guest.close()


async def test_descriptors_sent_later_are_not_kept() -> None:
    link, guest, ended = await fake_agent()
    before = open_fds()
    start = asyncio.create_task(link.start("runtime", ["/x"], {}, "/"))
    await asyncio.sleep(0)
    send_fds(guest, b"\6\0\0\0P\0\1\0\0\0", [guest.fileno()] * 100)
    assert await start == 1
    assert open_fds() == before
    link.close()
    guest.close()


async def test_an_agent_that_neither_reads_nor_answers() -> None:
    clock = ManualClock()
    link, guest, ended = await fake_agent(clock)
    start = asyncio.create_task(link.start("runtime", ["/x"], {}, "/", timeout_s=3))
    await clock.advance(3.1)
    with pytest.raises(SandboxError, match="did not answer"):
        await start
    assert ended.reasons == ["the agent did not answer"]
    guest.close()

    link, guest, ended = await fake_agent(clock)
    kills = [asyncio.create_task(link.kill_processes()) for _ in range(3)]
    await asyncio.sleep(0)
    for _ in range(4000):
        if link.closed:
            break
        link.signal("runtime", 9)
        link._send(encode_start(1, ["/x" * 1000], {}, "/"))
    for kill in kills:
        with pytest.raises(SandboxError, match="does not read"):
            await kill
    guest.close()


async def test_noise() -> None:
    for seed in range(200):
        noise = random.Random(seed)
        link, guest, ended = await fake_agent()
        start = asyncio.create_task(link.start("runtime", ["/x"], {}, "/"))
        await asyncio.sleep(0)
        for _ in range(noise.randrange(1, 20)):
            body = noise.randbytes(noise.choice([0, 2, 3, 5, 9, 20]))
            try:
                guest.sendall(struct.pack("<IB", len(body) + 1, noise.choice(b"HPFXk")) + body)
            except OSError:
                break
            await asyncio.sleep(0)
        guest.close()
        await ended.until(lambda ended=ended: bool(ended.reasons))  # type: ignore[misc]
        await asyncio.gather(start, return_exceptions=True)
        assert link.closed and len(ended.reasons) == 1
