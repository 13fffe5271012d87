"""The link to a microVM's agent: the common messages, and those of microVMs only.

The messages are in docs/architecture.md, "Agent and sandbox".
"""

import asyncio
import os
import socket
import struct
from collections import deque
from ipaddress import IPv4Address
from typing import NamedTuple

from hanabi.base.clock import Clock
from hanabi.base.tasks import settle
from hanabi.errors import SandboxError
from hanabi.sandbox.agent import AgentLink, Answer, encode_message, encode_string

ENTROPY_BYTES = 64
IDENTIFY_S = 20.0  # a machine that has just been restored faults its memory in
MOUNT_S = 20.0
TRIM_S = 60.0
QUICK_S = 10.0
_PREFIX_MASK = {30: 0xFFFFFFFC}


class Network(NamedTuple):
    """The address of a machine in its slot; a /30."""

    address: IPv4Address
    gateway: IPv4Address


class Ports(NamedTuple):
    """Ports of the Runtime API and the AWS endpoint, on the guest's loopback."""

    runtime_api: int
    edge: int


class GuestLink(AgentLink):
    """The host end of the control channel of a microVM's agent."""

    def __init__(self, control: socket.socket, clock: Clock, *, timeout_factor: float = 1.0) -> None:
        super().__init__(control, clock)
        self._timeout_factor = timeout_factor  # of `machine.Kernel`: every answer may take so many times longer
        self.memory_peak_bytes = 0  # bytes, as last told: before each answer of the runtime
        self.oom_kills = 0
        self._ports: asyncio.Future[Ports] = self._loop.create_future()
        self._asked: deque[tuple[str, asyncio.Future[None]]] = deque()

    async def greet(self, timeout_s: float) -> Ports:
        """Wait for the agent's first message, which carries no sockets."""
        return await super()._answer(self._ports, timeout_s)  # a try, not the last one

    async def identify(self, *, time_ns: int, hostname: str, network: Network | None) -> None:
        """Give the machine its identity before any function code runs: time, fresh entropy, host name, address."""
        address, mask, gateway = (int(network.address), _PREFIX_MASK[30], int(network.gateway)) if network else (0, 0, 0)
        entropy = os.urandom(ENTROPY_BYTES)
        body = struct.pack("<QH", time_ns, len(entropy)) + entropy + struct.pack("<III", address, mask, gateway) + encode_string(hostname)
        await self._ask("V", body, IDENTIFY_S, "identify itself")

    async def mount_drive(self, letter: str, *, size: int, file_system: str, target: str, writable: bool = False) -> None:
        """Mount /dev/vd<letter> once it is `size` bytes large."""
        body = letter.encode() + struct.pack("<BQ", writable, size) + encode_string(file_system) + encode_string(target)
        await self._ask("D", body, MOUNT_S, f"mount {target}")

    def limit_memory(self, memory_bytes: int) -> None:
        self._send(encode_message(b"L", struct.pack("<Q", memory_bytes)))

    def reset_peak(self) -> None:
        self.memory_peak_bytes = 0
        self._send(encode_message(b"Z"))

    async def trim(self) -> None:
        """Have the guest drop its page cache."""
        await self._ask("T", b"", TRIM_S, "drop its caches")

    async def open_connection(self, port: int) -> None:
        """Have the agent connect a port of the guest's loopback to the host's listener for that. Raises `OSError`, `SandboxError`."""
        opened: asyncio.Future[None] = self._loop.create_future()
        self._asked.append(("o", opened))
        self._send(encode_message(b"O", struct.pack("<H", port)))
        await self._patient_answer(opened, QUICK_S)

    async def quiesce(self) -> None:
        """Have the agent close all connections but this one and go quiet, before a snapshot."""
        await self._ask("N", b"", QUICK_S, "be still")

    async def ping(self, timeout_s: float = QUICK_S) -> None:
        await self._ask("Q", b"", timeout_s, "answer")

    def catch_up(self) -> None:
        """Process messages that have arrived already, without waiting."""
        if not self.closed:
            self._readable()

    async def _answer(self, future: "asyncio.Future[Answer]", timeout_s: float) -> Answer:
        return await super()._answer(future, timeout_s * self._timeout_factor)

    # --- the codec

    async def _ask(self, type: str, body: bytes, timeout_s: float, what: str) -> None:
        answered: asyncio.Future[None] = self._loop.create_future()
        self._asked.append((type.lower(), answered))
        self._send(encode_message(type.encode(), body))
        try:
            await self._answer(answered, timeout_s)
        except OSError as error:
            raise SandboxError(f"the machine cannot {what}: {os.strerror(error.errno or 0)}") from None

    def _readable(self) -> None:
        if self._hello is not None:  # a microVM's agent sends no sockets
            self._hello.cancel()
            self._hello = None
        super()._readable()

    def _take_other(self, type: str, body: bytes) -> None:
        if type == "H" and not self._ports.done():
            settle(self._ports, Ports(*struct.unpack("<HH", body)))
        elif type == "M":
            self.memory_peak_bytes, self.oom_kills = struct.unpack("<QQ", body)
        elif self._asked and type == self._asked[0][0]:
            (error,) = struct.unpack("<I", body) if body else (0,)
            if error >= 4096:
                raise ValueError
            _, answered = self._asked.popleft()
            settle(answered, OSError(error, os.strerror(error)) if error else None)
        else:
            raise ValueError

    def _end(self, reason: str) -> None:
        if not self.closed:
            super()._end(reason)
            settle(self._ports, SandboxError(reason))
            for _, answered in self._asked:
                settle(answered, SandboxError(reason))
            self._asked.clear()
