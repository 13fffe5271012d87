"""One keep-alive connection to a VMM's API socket: requests go out one at a time, in order, each with a timeout.

The VMM is no more trusted than its guest. Answers are bounded; a timeout, an end or malformed bytes end the connection for good, for
after any of these an answer cannot be matched to its request. `send_nowait` on an idle connection is one write.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hanabi.base.clock import Clock, Timer
from hanabi.base.tasks import settle
from hanabi.errors import VmmError, VmmUnresponsive
from hanabi.sandbox.firecracker.sockets import dial
from hanabi.sandbox.firecracker.vmm_http import BODY_MAX_BYTES, HEAD_MAX_BYTES, Answer, MalformedAnswer, encode, take_answer

TIMEOUT_S = 5.0
FIRST_PAUSE_S = 0.001  # between two attempts to connect, doubling up to
LAST_PAUSE_S = 0.010
WAITING_MAX = 64  # requests


@dataclass(slots=True, eq=False)
class _Request:
    method: str
    path: str
    data: bytes
    timeout_s: float
    done: Callable[["Answer | VmmError"], None]


class ApiConnection:
    """A connection, used on one event loop. Call `open` first and `close` last."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.on_disconnected: Callable[[VmmUnresponsive], None] = lambda error: None  # the connection has ended; not after `close`
        self.closed = True
        self._path = path
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop
        self._socket: socket.socket
        self._waiting: deque[_Request] = deque()
        self._asked: _Request | None = None  # the one whose answer is awaited
        self._unsent = b""
        self._in = bytearray()
        self._timer: Timer | None = None

    async def open(self, deadline_s: float, alive: Callable[[], bool] = lambda: True) -> None:
        """Connect within `deadline_s` seconds: the VMM may not have made its socket yet, and makes it before it listens.

        Raises `VmmUnresponsive` at the deadline; at once when `alive` says that the process has ended, or when the path is no socket.
        """
        give_up, pause = self._clock.monotonic() + deadline_s, FIRST_PAUSE_S
        while True:
            try:
                return self._adopt(dial(self._path))
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError) as error:
                reason = error.strerror
            except OSError as error:
                raise VmmUnresponsive("CONNECT", self._path.name, f"{error.strerror}: {self._path}") from None
            if not alive():
                raise VmmUnresponsive("CONNECT", self._path.name, "the VMM ended before it served its API")
            if (left := give_up - self._clock.monotonic()) <= 0:
                raise VmmUnresponsive("CONNECT", self._path.name, f"no API socket within {deadline_s:g} s ({reason})")
            await self._clock.sleep(min(pause, left))
            pause = min(2 * pause, LAST_PAUSE_S)

    def _adopt(self, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._loop.add_reader(sock.fileno(), self._readable)
        self.closed = False

    def close(self) -> None:
        """Close the connection; pending requests fail with `VmmUnresponsive`. Idempotent."""
        self._end("the connection was closed")

    # --- out

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None, *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Send a request and return the answer's JSON object (`{}` without content). Raises `VmmError` or `VmmUnresponsive`.

        The timeout starts when the request is sent, after all earlier ones have been answered. Cancelling the caller removes
        a request that has not been sent; one that was is carried out, and its answer dropped.
        """
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        request = self._request(method, path, body, timeout_s, partial(settle, answered))
        self._put(request)
        try:
            answer = await answered
        except asyncio.CancelledError:
            if request in self._waiting:
                self._waiting.remove(request)
            raise
        try:
            return answer.json()
        except MalformedAnswer as error:
            raise VmmError(method, path, answer.status, str(error)) from None

    def send_nowait(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        on_done: Callable[[VmmError | None], None],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Send a request without waiting: one write when idle, else in turn. `on_done` is called later, on the loop."""
        self._put(self._request(method, path, body, timeout_s, lambda outcome: on_done(outcome if isinstance(outcome, VmmError) else None)))

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float, done: Callable[[Answer | VmmError], None]
    ) -> _Request:
        try:
            return _Request(method, path, encode(method, path, body), timeout_s, done)
        except ValueError as error:
            raise VmmError(method, path, 0, str(error)) from None

    def _put(self, request: _Request) -> None:
        if self.closed or len(self._waiting) >= WAITING_MAX:
            reason = "there is no connection" if self.closed else "too many requests are waiting"
            asyncio.get_running_loop().call_soon(request.done, VmmUnresponsive(request.method, request.path, reason))
            return
        self._waiting.append(request)
        if self._asked is None:
            self._ask_next()

    def _ask_next(self) -> None:
        if not self._waiting:
            return
        self._asked = self._waiting.popleft()
        self._unsent = self._asked.data
        self._timer = self._clock.call_later(self._asked.timeout_s, self._broken, f"no answer within {self._asked.timeout_s:g} s")
        self._write()
        if self._unsent and not self.closed:
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._broken(f"the connection broke: {error.strerror}")

    def _writable(self) -> None:
        self._write()
        if not self._unsent and not self.closed:
            self._loop.remove_writer(self._socket.fileno())

    # --- in

    def _readable(self) -> None:
        try:
            data = self._socket.recv(HEAD_MAX_BYTES + BODY_MAX_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            return self._broken(f"the connection broke: {error.strerror}")
        if not data:
            return self._broken("the VMM hung up")
        self._in += data
        try:
            if self._asked is None or self._unsent:
                raise MalformedAnswer("an answer to nothing")
            answer = take_answer(self._in)
            if answer is None:
                return
            if self._in:
                raise MalformedAnswer("more than one answer")
        except MalformedAnswer as error:
            return self._broken(str(error))
        request, self._asked = self._asked, None
        self._stop_timer()
        self._ask_next()
        request.done(answer if answer.ok else VmmError(request.method, request.path, answer.status, answer.fault()))

    # --- the end

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _broken(self, reason: str) -> None:
        if not self.closed:
            asked = self._asked
            self._end(reason)
            error = VmmUnresponsive(asked.method if asked else "-", asked.path if asked else self._path.name, reason)
            self._loop.call_soon(self.on_disconnected, error)

    def _end(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self._stop_timer()
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        lost = [self._asked, *self._waiting] if self._asked else list(self._waiting)
        self._asked = None
        self._waiting.clear()
        self._unsent = b""
        for request in lost:
            self._loop.call_soon(request.done, VmmUnresponsive(request.method, request.path, reason))
