"""A fake Firecracker on real sockets: API, vsock, scripted faults, and a guest that is a coroutine."""

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.base.clock import Clock, SystemClock
from hanabi.sandbox.firecracker import sockets
from hanabi.testing.firecracker.faults import Fault, Faults
from hanabi.testing.firecracker.guest import FakeAgent, Guest, GuestContext
from hanabi.testing.firecracker.machine import NOT_STARTED, RUNNING, FakeMachine, Refused, Version

API_SOCKET = "run/firecracker.socket"
HEAD_MAX_BYTES = 8192
BODY_MAX_BYTES = 51200
SHORT = 100  # bytes of a path that bind and connect take as it is
GARBAGE = b"\x00\xffneither HTTP nor anything else\r\n\r\n"
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    method: str
    path: str
    body: Any  # its JSON; None without one
    when: float  # seconds, monotonic

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Crash(Exception):
    """A scripted crash of the VMM."""


class FakeFirecracker:
    """`open`, or `async with`. It behaves as Firecracker's API does; `requests` is what it was asked, `machine` what it has become of it.

    `root` is what it sees as `/`, and `cwd` what relative paths begin at. `guest`, None for one that does nothing, begins when the machine
    is started or restored, stands still while it is paused, and can be reached over vsock.
    `ended` is set when the VMM has ended by itself: `status` then has its exit status.
    """

    def __init__(
        self,
        root: Path,
        *,
        cwd: Path | None = None,
        api_socket: str = API_SOCKET,
        id: str = "fake",
        version: Version = (1, 16, 1),
        faults: Sequence[Fault] | Faults = (),
        guest: Callable[[], Guest] | None = FakeAgent,
        clock: Clock | None = None,
        record: Callable[[RecordedRequest], None] = lambda request: None,
    ) -> None:
        self.machine = FakeMachine(id, version, root, cwd)
        self.machine.bind = self._bind_vsock
        self.machine.on_state = self._turned
        self.api_path = self.machine.path(api_socket)
        self.faults = faults if isinstance(faults, Faults) else Faults(faults, id)
        self.requests: list[RecordedRequest] = []
        self.ended = asyncio.Event()
        self.status: int | None = None
        self.guest: Guest | None = None
        self._make_guest = guest
        self._clock = clock or SystemClock()
        self._record = record
        self._world: GuestContext | None = None
        self._turn = asyncio.Lock()  # the API is one thread
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._held: list[socket.socket] = []
        self._bound: set[Path] = set()
        self._dialled: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "FakeFirecracker":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Make the API socket. Raises `Crash` when the script says so."""
        self.api_path.parent.mkdir(parents=True, exist_ok=True)
        match self.faults.match("start"):
            case Fault(do="delay", seconds=seconds):
                await self._clock.sleep(seconds)
            case Fault(do="hang"):
                return
            case Fault(do="deaf-socket"):
                unresponsive = socket.socket(socket.AF_UNIX)
                unresponsive.bind(str(self.api_path))
                return self._held.append(unresponsive)
            case Fault(message=message):
                raise Crash(message)
        await self._serve(self.api_path, self._serve_api)

    async def close(self) -> None:
        """End it from outside: close all connections. Idempotent."""
        tasks = list(self._tasks)
        self._hang_up()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next turn

    def crash(self, status: int = 1) -> None:
        """End by itself, at once."""
        if not self.ended.is_set():
            self.status = status
            self.ended.set()
            self._hang_up()

    def _hang_up(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for sock in self._held:
            sock.close()
        self._held.clear()
        for writer in self._dialled:
            writer.close()
        for task in self._tasks:
            task.cancel()

    # --- connections

    async def _serve(self, path: Path, talk: Callable[[Line], Coroutine[Any, Any, None]]) -> None:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._spawn(self._talk((reader, writer), talk), writer)

        self._servers.append(await asyncio.start_unix_server(accept, sock=_listen(path), limit=HEAD_MAX_BYTES + BODY_MAX_BYTES))

    def _spawn(self, work: Coroutine[Any, Any, None], writer: asyncio.StreamWriter | None = None) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if writer is not None:
            task.add_done_callback(lambda _: writer.close())

    async def _talk(self, line: Line, talk: Callable[[Line], Coroutine[Any, Any, None]]) -> None:
        try:
            await talk(line)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        except Crash:
            self.crash()

    # --- the API

    async def _serve_api(self, line: Line) -> None:
        while True:
            request = await _read_request(line[0])
            async with self._turn:
                self.requests.append(request)
                self._record(request)
                if not await self._answer(request, line[1]):
                    return

    async def _answer(self, request: RecordedRequest, writer: asyncio.StreamWriter) -> bool:
        """Answer a request; False: hang up."""
        fault = self.faults.match(str(request))
        action = fault.do if fault else ""
        if fault and action == "delay":
            await self._clock.sleep(fault.seconds)
        elif fault and action == "refuse":
            writer.write(_response(400, {"fault_message": fault.message}))
            return True
        elif action == "hang":
            await asyncio.Event().wait()
        elif action == "close":
            return False
        elif action == "garbage":
            writer.write(GARBAGE)
            return True
        elif action == "crash-before":
            raise Crash
        answer = self._handle(request)
        if action in ("half-state", "half-memory"):
            self._halve(request.body, action)
        if action in ("crash-after", "half-state", "half-memory"):
            raise Crash
        if action == "half-answer":
            writer.write(answer[: len(answer) // 2])
            return False
        writer.write(answer)
        with suppress(ConnectionError):
            await writer.drain()
        if action == "crash-answered" or self.machine.fatal:
            raise Crash
        return True

    def _handle(self, request: RecordedRequest) -> bytes:
        if str(request) == "PUT /snapshot/create" and self.guest is not None:
            self.machine.guest = self.guest.save()
        try:
            answer = self.machine.handle(request.method, request.path, b"" if request.body is None else json.dumps(request.body).encode())
        except Refused as refused:
            return _response(400, {"fault_message": str(refused)})
        return _response(204, None) if answer is None else _response(200, answer)

    def _halve(self, body: dict[str, Any], action: str) -> None:
        state, memory = self.machine.path(body["snapshot_path"]), self.machine.path(body["mem_file_path"])
        if action == "half-state":
            os.truncate(state, state.stat().st_size // 2)
        else:
            os.truncate(memory, self.machine.memory_bytes // 2)
            os.truncate(state, 0)

    # --- the guest

    def _turned(self) -> None:
        if self._world is None and self.machine.state != NOT_STARTED:
            self._world = GuestContext(self._dial, self.faults, self.machine.restored, self.crash, self._clock, self._agent_told)
            if self._make_guest is not None:
                self.guest = self._make_guest()
                self.guest.load(self.machine.guest)
                self._spawn(self._run_guest(self.guest, self._world))
        if self._world is not None:
            (self._world.running.set if self.machine.state == RUNNING else self._world.running.clear)()

    def _agent_told(self, type: str, body: bytes) -> None:
        self._record(RecordedRequest("AGENT", type, body.hex(), time.monotonic()))

    async def _run_guest(self, guest: Guest, context: GuestContext) -> None:
        try:
            await guest.run(context)
        except Crash:
            self.crash()

    def _bind_vsock(self, path: Path) -> None:
        if path in self._bound:
            return
        listener = _listen(path)
        self._bound.add(path)
        self._held.append(listener)
        self._spawn(self._serve_vsock(listener))

    async def _serve_vsock(self, listener: socket.socket) -> None:
        if self.ended.is_set():
            return

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._spawn(self._talk((reader, writer), self._forward), writer)

        self._servers.append(await asyncio.start_unix_server(accept, sock=listener))

    async def _forward(self, line: Line) -> None:
        """`CONNECT <port>`: the guest gets the line if it listens there; nothing happens while the machine is paused."""
        reader, writer = line
        said = (await reader.readline()).split()
        if len(said) != 2 or said[0] != b"CONNECT" or not said[1].isdigit():
            return
        port = int(said[1])
        match self.faults.match(f"CONNECT {port}"):
            case Fault(do="delay", seconds=seconds):
                await self._clock.sleep(seconds)
            case Fault(do="hang"):
                await asyncio.Event().wait()
            case Fault(do="garbage"):
                return writer.write(GARBAGE)
            case Fault(do="crash-before"):
                raise Crash
            case Fault():
                return
        if self._world is None:
            return
        await self._world.running.wait()
        if (arrivals := self._world.listening.get(port)) is None:
            return
        writer.write(b"OK %d\n" % (1 << 30 | port))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        arrivals.put_nowait((reader, writer, done))
        await done

    async def _dial(self, port: int) -> Line:
        """Connect as the guest to the host's `<uds_path>_<port>`."""
        if self.machine.config["vsock"] is None:
            raise ConnectionRefusedError(111, "no vsock")
        path = self.machine.path(f"{self.machine.config['vsock']['uds_path']}_{port}")
        sock = _dial(path)
        reader, writer = await asyncio.open_connection(sock=sock)
        self._dialled.append(writer)
        return reader, writer


def _listen(path: Path) -> socket.socket:
    """Listen on a unix socket; short paths directly, because a chroot has no /proc."""
    if len(os.fsencode(path)) > SHORT:
        return sockets.listen(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        sock.bind(str(path))
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock


def _dial(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > SHORT:
        return sockets.dial(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


async def _read_request(reader: asyncio.StreamReader) -> RecordedRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    length = next((int(line.split(":", 1)[1]) for line in head if line.lower().startswith("content-length:")), 0)
    if length > BODY_MAX_BYTES:
        raise ConnectionAbortedError
    body = await reader.readexactly(length)
    return RecordedRequest(method, path, json.loads(body) if body else None, time.monotonic())


def _response(status: int, body: dict[str, Any] | None) -> bytes:
    """Encode a response as Firecracker does."""
    head = f"HTTP/1.1 {status} \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    content = json.dumps(body, separators=(",", ":")).encode()
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
