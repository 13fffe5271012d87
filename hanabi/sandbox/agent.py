"""The link to a sandbox's agent: the control channel's codec and host end.

What comes from the agent is hostile: sizes are bounded, every answer has a timeout, and anything unexpected ends the link.
The protocol is in docs/architecture.md, "Agent and sandbox".
"""

import asyncio
import errno as errnos
import os
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hanabi.base import linux
from hanabi.base.clock import Clock
from hanabi.base.tasks import settle
from hanabi.contracts.sandbox import Exit
from hanabi.errors import EntrypointError, IsolationUnavailable, SandboxError

PROTOCOL = 4  # of the agent and of the runtime channel: snapshots of another one are done without
RUNTIME = "runtime"  # role id 0; extensions get 1..10 as they start
ROLE_COUNT = 11
MESSAGE_MAX_BYTES = 256 * 1024
ANSWER_MAX_BYTES = 1024  # nothing the agent says is longer
QUEUED_MAX_BYTES = 4 * MESSAGE_MAX_BYTES

Answer = TypeVar("Answer")

_HEAD = struct.Struct("<IB")


# --- the binary -------------------------------------------------------------------------------------------------------


def find_agent() -> Path:
    """Find the agent's executable, in a checkout or an installed wheel, and run it once as a check. Blocks."""
    checkout, installed = Path(__file__).resolve().parents[2], Path(sys.prefix) / "share" / "hanabi"
    for path in (root / "guest" / "build" / "hanabi-init" for root in (checkout, installed)):
        if os.path.isfile(path):  # one that this user may not see is not there, too
            break
    else:
        raise IsolationUnavailable("the agent is not built: run `make -C guest/agent`")
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise IsolationUnavailable(f"the agent {path} does not run: {error}") from error
    if said.split() != ["hanabi-init", str(PROTOCOL)]:
        raise IsolationUnavailable(f"the agent {path} is of another version: run `make -C guest/agent`")
    return path


# --- the codec --------------------------------------------------------------------------------------------------------


def encode_start(role: int, argv: Sequence[str], environment: Mapping[str, str], cwd: str) -> bytes:
    """Encode an `S` message. Raises `EntrypointError` for arguments that no exec accepts."""
    parts = [struct.pack("<B", role), encode_string(cwd)]
    for strings in (argv, [f"{key}={value}" for key, value in environment.items()]):
        if len(strings) > 0xFFFF:
            raise EntrypointError(os.strerror(errnos.E2BIG), errnos.E2BIG)
        parts.append(struct.pack("<H", len(strings)))
        parts += map(encode_string, strings)
    return encode_message(b"S", b"".join(parts))


def encode_string(text: str) -> bytes:
    raw = os.fsencode(text)
    if b"\0" in raw:
        raise EntrypointError("a null byte in an argument, a variable or the working directory", errnos.EINVAL)
    return struct.pack("<I", len(raw)) + raw


def encode_message(type: bytes, body: bytes = b"") -> bytes:
    if len(body) >= MESSAGE_MAX_BYTES:
        raise EntrypointError(os.strerror(errnos.E2BIG), errnos.E2BIG)
    return _HEAD.pack(len(body) + 1, type[0]) + body


class Listeners(NamedTuple):
    """Listening sockets inside the sandbox, held by the host."""

    runtime_api: socket.socket
    edge: socket.socket


def adopt_listeners(descriptors: Sequence[int], ports: tuple[int, int]) -> Listeners:
    """Take ownership of the descriptors received with HELLO if they are valid; else close all and raise."""
    sockets: list[socket.socket] = []
    for fd in descriptors:
        try:
            sockets.append(socket.socket(fileno=fd))
        except OSError:
            os.close(fd)
    if len(descriptors) == len(sockets) == 2 and all(map(_listens, sockets, ports)):
        for listener in sockets:
            listener.setblocking(False)
        return Listeners(*sockets)
    for sock in sockets:
        sock.close()
    raise SandboxError("the agent's hello did not carry two listening sockets")


def _listens(sock: socket.socket, port: int) -> bool:
    return (
        sock.family == socket.AF_INET
        and sock.type == socket.SOCK_STREAM
        and sock.proto == socket.IPPROTO_TCP
        and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        and sock.getsockname() == ("127.0.0.1", port)
    )


# --- the link ---------------------------------------------------------------------------------------------------------


class AgentLink:
    """The host end of one agent's control channel. It owns the socket; used on one event loop."""

    def __init__(self, control: socket.socket, clock: Clock) -> None:
        control.setblocking(False)
        self.on_exit: Callable[[Exit], None] = lambda exit: None
        self.on_close: Callable[[str], None] = lambda reason: None  # the agent has ended, or is no longer trusted; not after `close`
        self.closed = False
        self.lost = False  # closed because the connection broke, whatever was said on it
        self._control = control
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._in = bytearray()
        self._out = bytearray()
        self._hello: asyncio.Future[Listeners] | None = self._loop.create_future()
        self._starting: dict[int, asyncio.Future[int]] = {}
        self._killing: deque[asyncio.Future[None]] = deque()
        self._renewing: deque[asyncio.Future[None]] = deque()
        self._connecting: deque[asyncio.Future[socket.socket]] = deque()
        self._descriptors: list[int] = []  # that came with messages that have not been read
        self._roles: dict[int, str] = {}  # id -> role, from `start` to the exit
        self._loop.add_reader(control.fileno(), self._readable)

    async def hello(self, timeout_s: float) -> Listeners:
        """Wait for the agent's first message; the caller then owns the sockets."""
        if self._hello is None:
            raise SandboxError("hello has been said")
        return await self._answer(self._hello, timeout_s)

    async def start(
        self,
        role: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        cwd: str,
        *,
        output: int | None = None,
        timeout_s: float = 10.0,
    ) -> int:
        """Start a process and return its pid inside the sandbox. `output`: what its stdout and stderr are, instead of the log pipe.

        Raises `EntrypointError` when it cannot be executed.
        """
        id = self._allot(role)
        message = encode_start(id, argv, environment, cwd)
        self._roles[id] = role
        self._starting[id] = started = self._loop.create_future()
        if output is not None and not self._out and not self.closed:
            message = self._send_with(message, output)
        self._send(message)
        try:
            return await self._answer(started, timeout_s)
        except EntrypointError as error:
            what = argv[0] if argv and error.args[0] == "exec" else f"{error.args[0]} for {argv[0] if argv else role}"
            raise EntrypointError(f"{what}: {os.strerror(error.errno)}", error.errno, str(error.args[0])) from None

    async def kill_processes(self, *, timeout_s: float = 10.0) -> None:
        """SIGKILL everything but the agent; returns when all have been reaped."""
        killed: asyncio.Future[None] = self._loop.create_future()
        self._killing.append(killed)
        self._send(encode_message(b"K"))
        await self._answer(killed, timeout_s)

    async def renew_runtime(self, end: socket.socket | None = None, *, timeout_s: float = 10.0) -> None:
        """Give the next runtime a fresh channel. `end` is the guest's end; a microVM's agent makes its own."""
        if self._out:
            raise SandboxError("the agent does not read")
        renewed: asyncio.Future[None] = self._loop.create_future()
        self._renewing.append(renewed)
        if end is None or self.closed:
            self._send(encode_message(b"C"))
        else:
            try:
                socket.send_fds(self._control, [encode_message(b"C")], [end.fileno()])
            except OSError as error:
                self._broken(f"the control channel broke: {error}")
        await self._answer(renewed, timeout_s)

    async def connect(self, port: int, *, timeout_s: float = 5.0) -> socket.socket:
        """Connect to a port of the sandbox's loopback; the socket is the caller's. Raises `OSError`, `SandboxError`."""
        connecting: asyncio.Future[socket.socket] = self._loop.create_future()
        self._connecting.append(connecting)
        if not self.closed:
            linux.accept_rights(self._control)  # for the answer alone
        self._send(encode_message(b"O", struct.pack("<H", port)))
        sock = await self._patient_answer(connecting, timeout_s)
        try:
            await wait_connected(sock, self._clock, timeout_s)
        except BaseException:
            sock.close()
            raise
        return sock

    def signal(self, role: str, signum: int) -> None:
        """Signal a started process; one that has ended is no error."""
        for id, name in self._roles.items():
            if name == role and not self.closed:
                self._send(encode_message(b"G", bytes((id, signum))))

    def adopt(self, role: str) -> None:
        """Register a process that runs already, as in a clone of the machine in which it was started."""
        self._roles[self._allot(role)] = role

    def close(self) -> None:
        """Hang up: the agent kills everything and exits. Idempotent."""
        self._end("the link was closed")

    # --- out

    def _allot(self, role: str) -> int:
        if role in self._roles.values():
            raise SandboxError(f"{role} is running")
        if role == RUNTIME:
            return 0
        for id in range(1, ROLE_COUNT):
            if id not in self._roles:
                return id
        raise SandboxError(f"no more than {ROLE_COUNT - 1} extensions")

    def _send_with(self, message: bytes, descriptor: int) -> bytes:
        """Send a message with a descriptor, as far as the socket takes it; returns the rest."""
        try:
            return message[socket.send_fds(self._control, [message], [descriptor]) :]
        except BlockingIOError:
            return message  # and without it
        except OSError as error:
            self._broken(f"the control channel broke: {error}")
            return b""

    def _send(self, message: bytes) -> None:
        if self.closed or not message:
            return  # the caller has the error already
        if not self._out:
            try:
                message = message[self._control.send(message) :]
            except BlockingIOError:
                pass
            except OSError as error:
                return self._broken(f"the control channel broke: {error}")
            if not message:
                return
            self._loop.add_writer(self._control.fileno(), self._writable)
        self._out += message
        if len(self._out) > QUEUED_MAX_BYTES:
            self._broken("the agent does not read")

    def _writable(self) -> None:
        try:
            del self._out[: self._control.send(self._out)]
        except BlockingIOError:
            return
        except OSError as error:
            return self._broken(f"the control channel broke: {error}")
        if not self._out:
            self._loop.remove_writer(self._control.fileno())

    async def _answer(self, future: "asyncio.Future[Answer]", timeout_s: float) -> Answer:
        if self.closed and not future.done():
            raise SandboxError("the agent has gone")
        timer = self._clock.call_later(timeout_s, self._broken, "the agent did not answer")
        try:
            return await future
        finally:
            timer.cancel()

    async def _patient_answer(self, future: "asyncio.Future[Answer]", timeout_s: float) -> Answer:
        """As `_answer`, but an agent that does not answer may be frozen, and answers later."""
        if self.closed and not future.done():
            raise SandboxError("the agent has gone")
        timer = self._clock.call_later(timeout_s, settle, future, TimeoutError("the agent did not answer"))
        try:
            return await future
        finally:
            timer.cancel()

    # --- in

    def _readable(self) -> None:
        descriptors: list[int] = []
        try:
            if self._hello is None and not self._connecting:  # descriptors sent with this are dropped by the kernel
                data = self._control.recv(4096)
            else:
                data = self._receive_with_descriptors(descriptors)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            return self._broken(f"the control channel broke: {error}")
        if not data:
            _close_all(descriptors)
            self.lost = not self.closed
            return self._broken("the agent has gone")
        self._in += data
        try:
            if self._hello is not None:
                self._take_hello(descriptors)
            else:
                self._descriptors += descriptors
            while not self.closed and self._take_message():
                pass
        except SandboxError as error:
            self._broken(str(error))
        except (struct.error, ValueError):
            self._broken("the agent sent a malformed message")

    def _receive_with_descriptors(self, descriptors: list[int]) -> bytes:
        data, ancillary, flags, _ = self._control.recvmsg(4096, socket.CMSG_SPACE(2 * 4), socket.MSG_CMSG_CLOEXEC)
        for level, type, payload in ancillary:
            if (level, type) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                whole = len(payload) - len(payload) % 4
                descriptors += memoryview(payload[:whole]).cast("i")
        if flags & socket.MSG_CTRUNC:
            _close_all(descriptors)
            raise OSError("the agent sent too many descriptors")
        return data

    def _take_hello(self, descriptors: list[int]) -> None:
        """Receive HELLO, whole in one `recvmsg` with its descriptors."""
        message = self._in[:9]
        del self._in[:9]
        if len(message) != 9 or message[:5] != b"\x05\0\0\0H":
            _close_all(descriptors)
            raise SandboxError("the agent did not say hello")
        listeners = adopt_listeners(descriptors, struct.unpack_from("<HH", message, 5))
        waiting, self._hello = self._hello, None
        if waiting is None or waiting.done():  # the caller was cancelled
            _close_all(listeners)
        else:
            waiting.set_result(listeners)

    def _take_message(self) -> bool:
        """Handle one message; False when none is complete."""
        if len(self._in) < 4:
            return False
        length = int.from_bytes(self._in[:4], "little")
        if not 1 <= length <= ANSWER_MAX_BYTES:
            raise ValueError
        if len(self._in) < 4 + length:
            return False
        type, body = chr(self._in[4]), bytes(self._in[5 : 4 + length])
        del self._in[: 4 + length]
        match type:
            case "P":
                id, pid = struct.unpack("<BI", body)
                settle(self._expect(id), pid)
            case "F":
                id, errno, length = struct.unpack_from("<BII", body)
                if not 0 < errno < 4096 or len(body) != 9 + length:
                    raise ValueError
                started = self._expect(id)
                del self._roles[id]
                settle(started, EntrypointError(body[9:].decode("ascii", "replace"), errno))
            case "X":
                id, killed, how = body[:3]
                read = struct.unpack("<Q", body[3:])[0] if len(body) > 3 else None
                if id in self._starting or id not in self._roles or killed > 1:
                    raise ValueError
                exit = Exit(self._roles.pop(id), None if killed else how, how if killed else None, read)
                self._loop.call_soon(self.on_exit, exit)
            case "k" if not body and self._killing:
                settle(self._killing.popleft(), None)
            case "c" if not body and self._renewing:
                settle(self._renewing.popleft(), None)
            case "o" if self._connecting:
                self._take_connection(*struct.unpack("<I", body))
            case _:
                self._take_other(type, body)
        return True

    def _take_connection(self, error: int) -> None:
        """Take the socket that came with an answer, or none with an error."""
        connecting = self._connecting.popleft()
        if not self._connecting:
            linux.refuse_rights(self._control)
        if error:
            settle(connecting, OSError(error, os.strerror(error)))
            return
        sock = socket.socket(fileno=self._descriptors.pop(0)) if self._descriptors else None
        if sock is None or (sock.family, sock.type, sock.proto) != (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP):
            _close_all([sock] if sock else [])
            settle(connecting, SandboxError("the agent sent no connection"))
            raise ValueError
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))  # else its close might block
        if connecting.done():
            sock.close()
        settle(connecting, sock)

    def _take_other(self, type: str, body: bytes) -> None:
        """Handle a message that only a microVM's agent sends. Raises `ValueError`."""
        raise ValueError

    def _expect(self, id: int) -> "asyncio.Future[int]":
        started = self._starting.pop(id, None)
        if started is None:
            raise ValueError
        return started

    # --- the end

    def _broken(self, reason: str) -> None:
        if not self.closed:
            self._end(reason)
            self._loop.call_soon(self.on_close, reason)

    def _end(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._control.fileno())
        self._loop.remove_writer(self._control.fileno())
        self._control.close()
        waiting: list[asyncio.Future[Any]] = [*self._starting.values(), *self._killing, *self._renewing, *self._connecting]
        _close_all(self._descriptors)
        self._descriptors.clear()
        if self._hello is not None:
            waiting.append(self._hello)
        for future in waiting:
            settle(future, SandboxError(reason))
        self._starting.clear()
        self._killing.clear()
        self._renewing.clear()
        self._connecting.clear()
        self._roles.clear()


async def wait_connected(sock: socket.socket, clock: Clock, timeout_s: float) -> None:
    """Wait until a connection is made. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    writable: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock.fileno(), settle, writable, None)
    timer = clock.call_later(timeout_s, settle, writable, TimeoutError("no connection in time"))
    try:
        await writable
    finally:
        timer.cancel()
        loop.remove_writer(sock.fileno())
    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, os.strerror(error))


def _close_all(owned: Iterable[int | socket.socket]) -> None:
    for each in owned:
        if isinstance(each, int):
            os.close(each)
        else:
            each.close()
