"""The guest of a fake machine: the agent's part of the protocol in docs/architecture.md, and processes that are coroutines.

async def bootstrap(process: FakeGuestProcess) -> int | None: ...

FakeFirecracker(root, guest=lambda: FakeAgent(bootstrap))
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from hanabi.base.clock import Clock
from hanabi.sandbox.firecracker import machine
from hanabi.testing.firecracker.faults import Fault, Faults

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Arrivals = asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter, "asyncio.Future[None]"]]
Bootstrap = Callable[["FakeGuestProcess"], Awaitable[int | None]]

PORTS = (9001, 9002)
PEAK = 40 * 1024 * 1024  # bytes that the function is said to use
_EIO = 5


class GuestContext:
    """A guest's view of its machine."""

    def __init__(
        self,
        dial: Callable[[int], Awaitable[Line]],
        faults: Faults,
        restored: bool,
        end: Callable[[int], None],
        clock: Clock,
        told: Callable[[str, bytes], None] = lambda type, body: None,
    ) -> None:
        self.told = told  # called with each message to the agent
        self.clock = clock
        self.dial = dial  # to the host, by vsock
        self.faults = faults
        self.restored = restored
        self.end = end  # the machine ends, with this status of its VMM
        self.running = asyncio.Event()
        self.listening: dict[int, Arrivals] = {}

    def listen(self, port: int) -> Arrivals:
        """A vsock port: what arrives is (reader, writer, a future to be settled when the guest has closed it)."""
        return self.listening.setdefault(port, asyncio.Queue())


class Guest(Protocol):
    """The software in a fake machine."""

    async def run(self, context: GuestContext) -> None: ...

    def save(self) -> Any:
        """The guest's state for a snapshot, as JSON."""

    def load(self, kept: Any) -> None:
        """Load the state before `run` in a restored machine; None in a booted one."""


class IdleGuest:
    """A guest that listens nowhere and does nothing."""

    async def run(self, context: GuestContext) -> None:
        await asyncio.Event().wait()

    def save(self) -> Any:
        return None

    def load(self, kept: Any) -> None:
        pass


@dataclass(eq=False)
class FakeGuestProcess:
    """A bootstrap's process. It stands still while its machine is paused."""

    agent: "FakeAgent"
    role: int
    argv: list[str]
    environment: dict[str, str]
    cwd: str
    restored: bool = False  # it was running in the snapshot, and had loaded
    signals: list[int] = field(default_factory=list)

    async def read(self) -> tuple[str, bytes]:
        """The next frame of the runtime channel, which only role 0 has; a host that hangs up and connects anew is no end."""
        if self.role != 0:
            await asyncio.Event().wait()
        while True:
            reader, _ = await self.agent.runtime()
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                length, kind = struct.unpack("<IB", await reader.readexactly(5))
                body = await reader.readexactly(length - 1)
                await self.agent.context.running.wait()
                return chr(kind), body
            self.agent.drop_runtime(reader)

    async def write(self, kind: str, body: bytes = b"") -> None:
        await self.agent.context.running.wait()
        if kind in "of":
            self.agent.tell_memory()
        _, writer = await self.agent.runtime()
        writer.write(struct.pack("<IB", len(body) + 1, ord(kind)) + body)

    def print(self, text: str) -> None:
        """To standard output."""
        self.agent.print(text)

    @staticmethod
    def payload(body: bytes) -> bytes:
        """Of an invoke frame."""
        return body[2 + int.from_bytes(body[:2], "little") :]


async def echo(process: FakeGuestProcess) -> int | None:
    """A bootstrap that loads, waits for its function, gets ready, and answers with the invocation's payload."""
    if "HANABI_ANNOUNCE" in process.environment and not process.restored:
        await process.write("l")
    while True:
        kind, body = await process.read()
        if kind == "i":
            await process.write("r")
        elif kind == "n":
            process.print("an invocation")
            await process.write("o", process.payload(body))


async def silent(process: FakeGuestProcess) -> int | None:
    """A bootstrap that never sends anything."""
    await asyncio.Event().wait()
    return None


class FakeAgent:
    """A fake agent: listens for the host's three connections, and answers messages.

    Faults are `agent <type>` of a message, `agent H` of the hello; "refuse" answers with the error number that is the fault's `message`.
    """

    def __init__(self, bootstrap: Bootstrap = echo) -> None:
        self.context: GuestContext
        self.bootstrap = bootstrap
        self.identities: list[bytes] = []  # bodies of `V`
        self.mounted: list[tuple[str, str, bool]] = []  # (drive's letter, target, writable)
        self.processes: dict[int, FakeGuestProcess] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._control: asyncio.StreamWriter | None = None
        self._runtime: asyncio.Future[Line] | None = None
        self._log: asyncio.StreamWriter | None = None
        self._unlogged = b""

    # --- snapshots

    def save(self) -> Any:
        return [[process.role, process.argv, process.environment, process.cwd] for process in self.processes.values()]

    def load(self, kept: Any) -> None:
        for role, argv, environment, cwd in kept or ():
            self.processes[role] = FakeGuestProcess(self, role, argv, environment, cwd, restored=True)

    # --- the three channels

    async def run(self, context: GuestContext) -> None:
        self.context = context
        for process in self.processes.values():
            self._begin(process)
        try:
            await asyncio.gather(*(self._accept(port, take) for port, take in enumerate(self._takers(), machine.PORT)))
        finally:
            for task in self._tasks.values():
                task.cancel()

    def _takers(self) -> list[Callable[[Line], Awaitable[None]]]:
        return [self._serve_control, self._take_runtime, self._take_log]

    async def _accept(self, port: int, take: Callable[[Line], Awaitable[None]]) -> None:
        arrivals = self.context.listen(port)
        task: asyncio.Future[None] | None = None
        try:
            while True:
                reader, writer, done = await arrivals.get()
                if task is not None:
                    task.cancel()  # a new connection takes the old one's place
                task = asyncio.ensure_future(take((reader, writer)))
                task.add_done_callback(partial(_settle, done))
        finally:
            if task is not None:
                task.cancel()

    async def _take_runtime(self, line: Line) -> None:
        if self._runtime is None or self._runtime.done():
            self._runtime = asyncio.get_running_loop().create_future()
        self._runtime.set_result(line)
        await asyncio.Event().wait()

    async def runtime(self) -> Line:
        """Wait for the host's connection."""
        if self._runtime is None:
            self._runtime = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._runtime)

    def drop_runtime(self, reader: asyncio.StreamReader) -> None:
        if self._runtime is not None and self._runtime.done() and self._runtime.result()[0] is reader:
            self._runtime = None

    async def _take_log(self, line: Line) -> None:
        self._log = line[1]
        self._log.write(self._unlogged)
        self._unlogged = b""
        await asyncio.Event().wait()

    def print(self, text: str) -> None:
        if self._log is None:
            self._unlogged += text.encode() + b"\n"
        else:
            self._log.write(text.encode() + b"\n")

    def tell_memory(self) -> None:
        self._say("M", struct.pack("<QQ", PEAK, 0))

    def _say(self, type: str, body: bytes = b"") -> None:
        if self._control is not None:
            self._control.write(struct.pack("<IB", len(body) + 1, ord(type)) + body)

    # --- control

    async def _serve_control(self, line: Line) -> None:
        reader, self._control = line
        hello = self.context.faults.match("agent H")
        if not await self._apply_fault(hello):
            return
        self._say("H", struct.pack("<HH", *PORTS))
        try:
            while True:
                (length,) = struct.unpack("<I", await reader.readexactly(4))
                message = await reader.readexactly(length)
                await self.context.running.wait()
                if not await self._handle(chr(message[0]), message[1:]):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if self._control is line[1]:
                self._control = None

    async def _apply_fault(self, fault: Fault | None) -> bool:
        """Apply a fault; False: hang up."""
        if fault is None or fault.do == "refuse":
            return True
        if fault.do == "hang":
            await asyncio.Event().wait()
        elif fault.do == "delay":
            await self.context.clock.sleep(fault.seconds)
            return True
        elif fault.do in ("garbage", "lie") and self._control is not None:
            self._control.write(b"\xff" * 64 if fault.do == "garbage" else bytes.fromhex(fault.message))
            return await asyncio.Event().wait()  # it is for the host to hang up
        elif fault.do.startswith("crash"):
            self.context.end(1)
        return False

    async def _handle(self, type: str, body: bytes) -> bool:
        """Handle a message; False: hang up, as the agent does on an unknown one."""
        self.context.told(type, body)
        fault = self.context.faults.match(f"agent {type}")
        if not await self._apply_fault(fault):
            return False
        error = struct.pack("<I", int(fault.message) if fault and fault.message.isdigit() else _EIO) if fault else bytes(4)
        refused = fault is not None and fault.do == "refuse"
        match type:
            case "V":
                self.identities.append(body)
                self._say("v", error if refused else bytes(4))
            case "D":
                _, writable, _ = struct.unpack_from("<BBQ", body)
                _, target = _strings(body[10:], 2)
                if not refused:
                    self.mounted.append((chr(body[0]), target, bool(writable)))
                self._say("d", error if refused else bytes(4))
            case "T":
                self._say("t", error if refused else bytes(4))
            case "N":
                await self._quiesce()
                self._say("n")
            case "Q":
                self._say("q")
            case "L" | "Z":
                pass
            case "S":
                self._start(body, fault if refused else None)
                await asyncio.sleep(0)  # it has begun: from here on its end is told
            case "K":
                await self._kill()
                self._say("k")
            case "C":
                if self._runtime is not None and self._runtime.done():
                    self._runtime.result()[1].close()
                    self._runtime = None
                self._say("c")
            case "G":
                if body[0] in self._tasks:
                    self.processes[body[0]].signals.append(body[1])
                    if body[1] in (9, 15):
                        self._tasks[body[0]].cancel(str(body[1]))
            case _:
                return False
        return True

    async def _quiesce(self) -> None:
        """Close all other connections."""
        if self._runtime is not None and self._runtime.done():
            self._runtime.result()[1].close()
            self._runtime = None
        if self._log is not None:
            self._log.close()
            self._log = None

    # --- processes

    def _start(self, body: bytes, fault: Fault | None) -> None:
        role, rest = body[0], body[1:]
        if fault is not None:
            return self._say("F", struct.pack("<BII", role, 2, 4) + b"exec")
        (cwd,) = _strings(rest, 1)
        rest = rest[4 + len(cwd.encode()) :]
        argv, rest = _string_list(rest)
        environment, _ = _string_list(rest)
        process = FakeGuestProcess(self, role, argv, dict(each.split("=", 1) for each in environment), cwd)
        self.processes[role] = process
        self._say("P", struct.pack("<BI", role, 100 + role))
        self._begin(process)

    def _begin(self, process: FakeGuestProcess) -> None:
        self._tasks[process.role] = asyncio.ensure_future(self._run(process))

    async def _run(self, process: FakeGuestProcess) -> None:
        killed, how = 0, 1
        try:
            how = await self.bootstrap(process) or 0
        except asyncio.CancelledError as cancelled:
            killed, how = 1, int(cancelled.args[0]) if cancelled.args else 9
        except Exception as error:
            self.print(repr(error))
        del self._tasks[process.role], self.processes[process.role]
        self._say("X", bytes((process.role, killed, how)))

    async def _kill(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel("9")
        await asyncio.gather(*tasks, return_exceptions=True)


def _settle(done: "asyncio.Future[None]", _: object) -> None:
    if not done.done():
        done.set_result(None)


def _strings(data: bytes, count: int) -> list[str]:
    found = []
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data)
        found.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    return found


def _string_list(data: bytes) -> tuple[list[str], bytes]:
    (count,) = struct.unpack_from("<H", data)
    strings = _strings(data[2:], count)
    return strings, data[2 + sum(4 + len(each.encode()) for each in strings) :]
