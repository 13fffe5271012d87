"""Places for connections: strangers give way, whoever has signed gets in, and memory for heads is bounded and given back."""

import asyncio
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from unittest.mock import Mock

from hanabi.base.clock import SystemClock
from hanabi.base.health import Health
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.http.connection import Connection
from hanabi.http.connection_slots import CALM_S, PROBLEM, ConnectionSlots, group_peers
from hanabi.http.context import ServerContext
from hanabi.http.handlers import in_task
from hanabi.http.limits import BodyRule, Limits
from hanabi.http.request_reader import READS
from hanabi.testing import ManualClock
from tests.unit.http.live import Client, live
from tests.waiting import until

STRANGER = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OWNER = b"GET / HTTP/1.1\r\nhost: a\r\nx-key: owner\r\n\r\n"


async def verify(request: HttpRequest) -> HttpResponse:
    request.verified = request.header("x-key") == "owner"
    return HttpResponse(200, [], str(len(request.body)).encode() if isinstance(request.body, bytes) else b"")


async def ask(client: Client, data: bytes = OWNER) -> int:
    client.send(data)
    return (await client.receive())[0]


async def test_the_longest_unused_stranger_gives_way() -> None:
    health = Health(clock := ManualClock())
    async with live(verify, limits=Limits(connections=4), name_peers=False, health=health, clock=clock) as (server, port):
        owner = await Client.connect(port)
        assert await ask(owner) == 200
        strangers = [await Client.connect(port) for _ in range(3)]
        assert await ask(strangers[0], STRANGER) == 200  # so the second is unused for longest
        newcomer = await Client.connect(port)
        assert await ask(newcomer) == 200 and await strangers[1].closed()
        assert await ask(owner) == 200 and await ask(strangers[0], STRANGER) == 200
        assert len(server.connections) <= 5 and server.slots.taken == 4
        assert health.values()["hanabi_connections_evicted_total"] == 1
        assert [problem.key for problem in health.problems] == [PROBLEM] and "3 by clients" in health.problems[0].text
        await clock.advance(CALM_S + 1)
        await clock.advance(CALM_S + 1)
        assert health.problems == []


async def test_idle_clients_give_way_when_there_are_no_strangers_and_busy_ones_never() -> None:
    gate = asyncio.Event()

    async def handler(request: HttpRequest) -> HttpResponse:
        request.verified = request.header("x-key") == "owner"
        if request.path == "/wait":
            await gate.wait()
        return HttpResponse(200, [])

    async with live(handler, limits=Limits(connections=3), name_peers=False, health=(health := Health())) as (_, port):
        idle = await Client.connect(port)
        assert await ask(idle) == 200
        busy = [await Client.connect(port) for _ in range(2)]
        for client in busy:
            assert await ask(client) == 200
            client.send(OWNER.replace(b"/", b"/wait", 1))
        third = await Client.connect(port)
        third.send(OWNER.replace(b"/", b"/wait", 1))
        assert await idle.closed()
        fourth = await Client.connect(port)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            raise AssertionError(await ask(fourth))
        assert health.values()["hanabi_connections_refused_total"] == 1
        gate.set()
        for client in (*busy, third):
            assert (await client.receive())[0] == 200


async def test_the_owner_gets_in_however_many_connections_others_hold() -> None:
    """All from the same address, and new ones all the time."""

    async with live(verify, limits=Limits(connections=64)) as (server, port):
        kept = await Client.connect(port)
        assert await ask(kept) == 200
        flood: list[socket.socket] = []

        async def attack() -> None:
            while True:
                for _ in range(4):
                    sock = socket.socket()
                    sock.setblocking(False)
                    flood.append(sock)
                    with suppress(BlockingIOError):
                        sock.connect(("127.0.0.1", port))
                for sock in flood[:-200]:
                    sock.close()
                del flood[:-200]
                await asyncio.sleep(0.001)

        attacking = asyncio.create_task(attack())
        try:
            await until(lambda: server.slots.taken >= 48)
            for _ in range(50):
                client = await Client.connect(port)
                assert await ask(client) == 200
                client.close()
                assert await ask(kept) == 200
            assert server.slots.taken <= 64
        finally:
            attacking.cancel()
            for sock in flood:
                sock.close()


@dataclass(eq=False)
class Peer:
    """As much of a connection as `ConnectionSlots` looks at."""

    peer: str
    handling: bool = False
    holds_body: bool = False
    idle_since: float = 0.0
    evicted: bool = False

    def evict(self) -> None:
        self.evicted = True


def test_one_peers_strangers_have_half_of_the_places() -> None:
    slots = ConnectionSlots(16, 1 << 20, SystemClock(), None)
    others = [Peer("b") for _ in range(3)]
    many = [Peer("a") for _ in range(20)]
    assert all(slots.add(peer) for peer in (*others, *many))
    assert [peer.evicted for peer in many] == [True] * 11 + [False] * 9 and not any(peer.evicted for peer in others)
    assert all(slots.add(Peer("c")) for _ in range(4))
    assert slots.taken == 16
    for peer in (*others, *many):
        slots.remove(peer)
    assert (slots.taken, len(slots.all), slots.head_bytes) == (4, 4, 0)


def test_peers_are_grouped() -> None:
    assert group_peers("127.0.0.1") == group_peers("127.9.8.7") == group_peers("::1") == "loopback"
    assert group_peers("2001:db8:1:2:3::4") == group_peers("2001:db8:1:2:ffff::") != group_peers("2001:db8:1:3::4")
    assert group_peers("192.0.2.1") == "192.0.2.1" and group_peers("") == ""


async def test_small_heads_until_a_signature_holds() -> None:
    large = OWNER[:-2] + b"x-filler: " + b"a" * 30_000 + b"\r\n\r\n"
    async with live(verify, limits=Limits(head_bytes=1 << 16, unauthenticated_head_bytes=1 << 14)) as (_, port):
        stranger = await Client.connect(port)
        assert await ask(stranger, large) == 431  # in one piece, and complete
        client = await Client.connect(port)
        assert await ask(client) == 200
        assert await ask(client, large) == 200
        assert await ask(client, large.replace(b"a" * 30_000, b"a" * 70_000)) == 431
        many = await Client.connect(port)
        assert await ask(many, STRANGER[:-2] + b"content-length: 40000\r\n\r\n" + b"b" * 40_000) == 200  # a body is no head


async def test_memory_for_incomplete_heads_is_bounded_over_all_connections() -> None:
    async with live(verify, limits=Limits(heads_bytes=100_000), health=(health := Health())) as (server, port):
        slow = [await Client.connect(port) for _ in range(20)]
        for client in slow:
            client.send(b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 12_000)
            await client.writer.drain()
            owner = await Client.connect(port)
            assert await ask(owner) == 200
            assert server.slots.head_bytes <= 100_000
        for client in slow[:12]:
            assert await client.closed()
        assert health.values()["hanabi_head_bytes"] > 0
        assert await ask(slow[-1], b"\r\n\r\n") == 200
        for client in slow:
            client.close()
        await until(lambda: len(server.connections) <= 20)
        assert server.slots.head_bytes == 0


async def test_a_head_in_very_many_pieces_is_refused() -> None:
    """Each costs a copy of what is there already."""

    transport = Mock(get_extra_info=lambda name: None)
    connection = Connection(ServerContext(in_task(verify), clock=SystemClock()))
    connection.connection_made(transport)
    connection.data_received(b"GET / HTTP/1.1\r\nhost: a\r\nx: ")
    for _ in range(READS - 1):
        connection.data_received(b"a")
    assert not transport.write.called
    connection.data_received(b"a")
    assert transport.write.call_args[0][0].startswith(b"HTTP/1.1 431 ")


async def test_strangers_bodies_give_way_to_those_of_clients_with_a_key() -> None:
    def rule(request: HttpRequest) -> BodyRule:
        return BodyRule(1 << 20, known=request.header("x-key") == "owner")

    async with live(verify, limits=Limits(body=rule, buffered_bytes=1 << 20)) as (server, port):
        slow = [await Client.connect(port) for _ in range(8)]
        for client in slow:
            client.send(STRANGER[:-2] + b"content-length: 200000\r\n\r\n" + b"b" * 120_000)
        await until(lambda: server.context.buffered >= 900_000)
        stranger = await Client.connect(port)
        assert await ask(stranger, STRANGER[:-2] + b"content-length: 200000\r\n\r\n" + b"b" * 200_000) == 503
        owner = await Client.connect(port)
        assert await ask(owner, OWNER[:-2] + b"content-length: 500000\r\n\r\n" + b"b" * 500_000) == 200
        assert await slow[0].closed() and await slow[1].closed()
        assert await ask(slow[-1], b"b" * 80_000) == 200


# --- a server of its own ----------------------------------------------------------------------------------------------


@contextmanager
def served(descriptors: int, connections: int) -> Iterator[tuple[int, int]]:
    """(process id, port)"""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        fd = listener.fileno()
        program = [sys.executable, "-m", "tests.unit.http.served", str(fd), str(descriptors), str(connections)]
        process = subprocess.Popen(program, pass_fds=[fd], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        port = listener.getsockname()[1]
    try:
        assert process.stdout is not None and process.stdout.readline() == b"serving\n"
        yield process.pid, port
    finally:
        process.kill()
        process.communicate()


def resident_mb(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / (1 << 20)


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def request(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(OWNER)
        return connection.recv(4096)


def test_large_unsigned_heads_take_little_memory_and_give_it_back() -> None:
    """A thousand clients, a megabyte of headers each."""
    with served(4096, 2048) as (pid, port), ExitStack() as stack:
        assert request(port).startswith(b"HTTP/1.1 200")
        before = resident_mb(pid)
        most = 0.0
        for number in range(1000):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            with suppress(ConnectionError):
                connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: " + b"y" * 12_000)  # incomplete, and allowed
                if number % 2:
                    connection.sendall(b"z" * (1 << 20))  # far too much
            if number % 100 == 99:
                most = max(most, resident_mb(pid))
                assert request(port).startswith(b"HTTP/1.1 200")
        assert most - before < 80, (before, most)
        stack.close()
        deadline = time.monotonic() + 60
        while resident_mb(pid) - before > 40:
            assert time.monotonic() < deadline, (before, most, resident_mb(pid))
            time.sleep(0.1)


def test_descriptors_that_run_out_stop_nothing() -> None:
    with served(64, 4096) as (pid, port):
        with ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            began, used = time.monotonic(), cpu_s(pid)
            while time.monotonic() < began + 1:
                time.sleep(0.05)
            assert cpu_s(pid) - used < 0.5  # it does not try again and again
        deadline = time.monotonic() + 30
        while True:
            with suppress(OSError):
                if request(port).startswith(b"HTTP/1.1 200"):
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)
