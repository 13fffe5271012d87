"""The host end of a guest's vsock, which Firecracker maps to unix sockets: docs/vsock.md of Firecracker.

Host to guest: connect to `uds_path`, say `CONNECT <port>`, read `OK <host port>`. Guest to host: Firecracker connects to
`<uds_path>_<port>`. No component of `uds_path` may be a symbolic link.
"""

import asyncio
import re
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.tasks import settle
from hanabi.errors import SandboxError, VmmUnresponsive
from hanabi.sandbox.firecracker import sockets

FIRST_PAUSE_S = 0.001  # before an attempt that follows a refused one, doubling up to
LAST_PAUSE_S = 0.050
LINE_MAX_BYTES = 32  # bytes

_OK = re.compile(rb"OK [0-9]{1,10}\n")


class _Refused(Exception):
    """A failed attempt that may be retried."""


async def connect(
    uds_path: Path,
    port: int,
    *,
    clock: Clock,
    deadline_s: float,
    first_timeout_s: float = 0.05,
    alive: Callable[[], bool] = lambda: True,
) -> socket.socket:
    """Connect to a guest's port within `deadline_s` seconds; returns a non-blocking stream socket.

    The first CONNECT after a restore is often lost: an attempt without an answer is given up after `first_timeout_s`, the next ones
    after twice as long each. Raises `VmmUnresponsive` at the deadline, and at once when `alive` says that the VMM has ended.
    """
    give_up, timeout, pause = clock.monotonic() + deadline_s, first_timeout_s, FIRST_PAUSE_S
    reason = "no time was given"
    while (left := give_up - clock.monotonic()) > 0:
        wait = pause
        try:
            return await _attempt(uds_path, port, clock, min(timeout, left))
        except TimeoutError:
            reason, timeout, wait = "no answer", 2 * timeout, 0.0
        except (_Refused, FileNotFoundError, ConnectionError, BlockingIOError) as error:
            reason, pause = str(error.strerror if isinstance(error, OSError) else error), min(2 * pause, LAST_PAUSE_S)
        except OSError as error:
            raise VmmUnresponsive("CONNECT", str(port), f"{error.strerror}: {uds_path}") from None
        if not alive():
            raise VmmUnresponsive("CONNECT", str(port), "the VMM has ended")
        await clock.sleep(min(wait, max(give_up - clock.monotonic(), 0)))
    raise VmmUnresponsive("CONNECT", str(port), f"no connection to the guest within {deadline_s:g} s ({reason})")


async def _attempt(uds_path: Path, port: int, clock: Clock, timeout_s: float) -> socket.socket:
    sock = sockets.dial(uds_path)
    try:
        if sock.send(command := b"CONNECT %d\n" % port) != len(command):  # Firecracker wants it whole
            raise _Refused("the connection takes nothing")
        await _greeted(sock, clock, timeout_s)
    except BaseException:
        sock.close()
        raise
    return sock


async def _greeted(sock: socket.socket, clock: Clock, timeout_s: float) -> None:
    """Read the `OK` line, and no byte after it. Raises `TimeoutError`."""
    loop = asyncio.get_running_loop()
    line = bytearray()
    greeted: asyncio.Future[None] = loop.create_future()

    fail = partial(settle, greeted)

    def readable() -> None:
        if greeted.done():
            return
        try:
            while not line.endswith(b"\n"):
                byte = sock.recv(1)
                if not byte or len(line) >= LINE_MAX_BYTES:
                    return fail(_Refused("nobody listens in the guest" if not byte and not line else "a malformed answer"))
                line.extend(byte)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            return fail(error)
        if not _OK.fullmatch(line):
            return fail(_Refused("a malformed answer"))
        greeted.set_result(None)

    timer = clock.call_later(timeout_s, fail, TimeoutError())
    loop.add_reader(sock.fileno(), readable)
    try:
        await greeted
    finally:
        loop.remove_reader(sock.fileno())
        timer.cancel()


def listen(uds_path: Path, port: int, owner: tuple[int, int] | None = None) -> socket.socket:
    """Make a non-blocking listening socket for a guest's connections to `port`; only `owner`, the VMM's (uid, gid), can connect.

    Call it before the VMM starts, while the jail is still ours. Raises `SandboxError`.
    """
    try:
        return sockets.listen(uds_path.with_name(f"{uds_path.name}_{port}"), owner)
    except OSError as error:
        raise SandboxError(f"cannot listen for the guest's port {port} at {uds_path}: {error.strerror}") from None


async def accept(listener: socket.socket, *, clock: Clock, timeout_s: float) -> socket.socket:
    """Accept the next connection of the guest. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(listener.fileno(), settle, readable, None)
    timer = clock.call_later(timeout_s, settle, readable, TimeoutError("the guest does not connect"))
    try:
        await readable
    finally:
        timer.cancel()
        loop.remove_reader(listener.fileno())
    accepted, _ = listener.accept()
    accepted.setblocking(False)
    return accepted
