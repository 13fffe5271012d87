"""The DNS relay of a sandbox: queries to 127.0.0.1:53 inside go to this host's resolvers. Everything is bounded."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hanabi.base.clock import Clock, Timer
from hanabi.base.tasks import Tasks, settle
from hanabi.quotas import DNS_QUERIES_PER_S

PENDING_MAX = 64  # queries of one sandbox under way
CONNECTIONS_MAX = 8
TIMEOUT_S = 5.0
_BURST_S = 1.0  # of queries that come at once
_PAUSE_S = 0.02  # fewer, longer pauses cost less
_MESSAGE_MAX_BYTES = 4096
_HEADER = 12
_SERVFAIL = 2


def resolvers(path: Path = Path("/etc/resolv.conf")) -> list[str]:
    """List this host's resolvers, at most three as in glibc."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    return [words[1] for words in map(str.split, lines) if len(words) > 1 and words[0] == "nameserver"][:3]


class DnsRelay:
    """Serves one sandbox on sockets bound inside it, which it owns."""

    def __init__(self, udp: socket.socket, tcp: socket.socket, upstream: Sequence[str], clock: Clock) -> None:
        self._udp, self._tcp = udp, tcp
        self._upstream = upstream
        self._clock = clock
        self._tasks = Tasks("DNS forwarder")
        self._streams = 0
        self._due = 0.0  # when the next query would come at the greatest rate
        self._resume: Timer | None = None
        self._loop = asyncio.get_running_loop()
        for each, ready in ((udp, self._take_query), (tcp, self._take_connection)):
            each.setblocking(False)
            self._loop.add_reader(each.fileno(), ready)

    async def close(self) -> None:
        if self._resume is not None:
            self._resume.cancel()
        for each in (self._udp, self._tcp):
            self._loop.remove_reader(each.fileno())
            each.close()
        await self._tasks.cancel()

    # --- UDP

    def _take_query(self) -> None:
        try:
            query, client = self._udp.recvfrom(_MESSAGE_MAX_BYTES)
        except OSError:
            return
        now = self._clock.monotonic()
        self._due = max(self._due, now - _BURST_S) + 1 / DNS_QUERIES_PER_S
        if self._due > now:  # what does not fit the socket's buffer meanwhile is dropped by the kernel
            self._loop.remove_reader(self._udp.fileno())
            self._resume = self._clock.call_later(max(_PAUSE_S, self._due - now), self._listen)
        if len(query) > _HEADER and len(self._tasks) < PENDING_MAX:  # else dropped: the client asks again
            self._tasks.spawn(self._answer(query, client))

    def _listen(self) -> None:
        self._resume = None
        self._loop.add_reader(self._udp.fileno(), self._take_query)

    async def _answer(self, query: bytes, client: tuple[str, int]) -> None:
        for server in self._upstream:
            answer = await self._ask(server, query, TIMEOUT_S / len(self._upstream))
            if answer is not None:
                break
        else:
            answer = _failure(query)
        with suppress(OSError):
            self._udp.sendto(answer, client)

    async def _ask(self, server: str, query: bytes, timeout_s: float) -> bytes | None:
        """Ask one resolver. Each query has its own socket: the random port protects from forged answers."""
        done: asyncio.Future[bytes | None] = self._loop.create_future()
        with _socket(server, socket.SOCK_DGRAM) as upstream:

            def receive() -> None:
                try:
                    answer = upstream.recv(65535)
                except OSError:  # refused
                    return settle(done, None)
                if answer[:2] == query[:2]:
                    settle(done, answer)

            try:
                upstream.connect((server, 53))
                upstream.send(query)
            except OSError:
                return None
            self._loop.add_reader(upstream.fileno(), receive)
            timer = self._clock.call_later(timeout_s, settle, done, None)
            try:
                return await done
            finally:
                timer.cancel()
                self._loop.remove_reader(upstream.fileno())

    # --- TCP: for answers too long for a datagram

    def _take_connection(self) -> None:
        try:
            connection, _ = self._tcp.accept()
        except OSError:
            return
        if self._streams >= CONNECTIONS_MAX or not self._upstream:
            connection.close()
            return
        connection.setblocking(False)
        self._streams += 1
        self._tasks.spawn(self._relay_stream(connection))

    async def _relay_stream(self, inside: socket.socket) -> None:
        server = self._upstream[0]
        with inside, _socket(server, socket.SOCK_STREAM) as outside, suppress(OSError, EOFError):
            # Hanging up both ends is what ends a wait for either of them.
            timer = self._clock.call_later(TIMEOUT_S, _hang_up, inside, outside)
            try:
                await self._loop.sock_connect(outside, (server, 53))
                while True:
                    await self._loop.sock_sendall(outside, await self._read_message(inside, _MESSAGE_MAX_BYTES))
                    await self._loop.sock_sendall(inside, await self._read_message(outside, 65535))
            finally:
                timer.cancel()
                self._streams -= 1

    async def _read_message(self, sock: socket.socket, most: int) -> bytes:
        """Read a message with its two-byte length."""
        data = b""
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2]):
            wanted = 2 + int.from_bytes(data[:2]) if len(data) >= 2 else 2
            part = await self._loop.sock_recv(sock, wanted - len(data))
            if not part or wanted > most + 2:
                raise EOFError
            data += part
        return data


def _socket(server: str, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, kind)
    made.setblocking(False)
    return made


def _hang_up(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _failure(query: bytes) -> bytes:
    """Make a SERVFAIL answer: no resolver answered. It omits the question, as RFC 1035 allows for errors."""
    return query[:2] + bytes((0x80 | query[2] & 0x79, 0x80 | _SERVFAIL)) + bytes(8)
