"""An HTTP/1.1 server: the edge's one port, and the Runtime API's small sockets."""

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.http import NO_ANSWER, Answer, HttpHandler, HttpRequest, HttpResponse
from hanabi.http.connection import Connection
from hanabi.http.connection_slots import ConnectionSlots
from hanabi.http.limits import Limits, Timeouts
from hanabi.http.response import DateHeader, plain

RATE_BURST_S = 1.0  # of requests that `Limits.rate` lets through at once
RATED_BYTES = 16 * 1024  # of a body count as one more request: to read them takes the loop's time
STOP_S = 60.0  # for a handler to stop that was told to
GONE_S = 1.0  # for the transports to say that they are gone
log = logging.getLogger(__name__)


def refuse_plainly(request: HttpRequest, size: int | None, limit: int) -> HttpResponse:
    return plain(413, f"the request body is larger than {limit} bytes")


class HttpServer:
    """Listens and owns its connections and their tasks.

    `refuse` makes the 413 for a body over its limit, so that an API can say it in its own words (`size` is what the
    client declared, None when it did not). `cancel_abandoned` cancels a handler whose client has gone; without it the
    handler runs to its end, as an invocation must.
    """

    def __init__(
        self,
        handler: HttpHandler,
        *,
        clock: Clock,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        spool: Path | None = None,
        refuse: Callable[[HttpRequest, int | None, int], HttpResponse] = refuse_plainly,
        cancel_abandoned: bool = False,
        name_peers: bool = True,
        health: Health | None = None,
    ) -> None:
        self.handler = handler
        self.clock = clock
        self.limits = limits or Limits()
        self.timeouts = timeouts or Timeouts()
        self.spool = spool
        self.refuse = refuse
        self.cancel_abandoned = cancel_abandoned
        self.name_peers = name_peers
        self.date = DateHeader(clock)
        self.slots = ConnectionSlots(self.limits.connections, self.limits.heads_bytes, clock, health)
        self.buffered = 0  # bytes of bodies in memory
        self.spooled = 0  # and in files
        self.closing = False
        self.draining = False
        self._due = 0.0  # when the next request would be handled at the greatest rate
        self._server: asyncio.Server | None = None
        self._quiet: asyncio.Future[None] | None = None

    @property
    def connections(self) -> set[Connection]:
        """Those that are open, and those whose handler still runs."""
        return self.slots.all

    async def listen(self, sock: socket.socket) -> None:
        """Serve on a bound or listening socket, which becomes the server's."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:  # of a microVM: its guest's connections arrive there
            self._server = await loop.create_unix_server(lambda: Connection(self), sock=sock, backlog=512)
        else:
            self._server = await loop.create_server(lambda: Connection(self), sock=sock, backlog=512)

    def answer(self, request: HttpRequest, answer: Answer) -> None:
        """Have a request handled, in the handler's time or in that of whoever asks too often or in vain."""
        limits = self.limits
        if limits.refusal_s:
            answer = partial(self._answer_late, request, answer)
        if limits.rate:
            now = self.clock.monotonic()
            size = len(request.body) if isinstance(request.body, bytes) else 0
            self._due = max(self._due, now - RATE_BURST_S) + (1 + size // RATED_BYTES) / limits.rate
            if self._due > now:
                self._wait_for(self._due - now, request, answer, partial(self.handler, request, answer))
                return
        self.handler(request, answer)

    def _answer_late(self, request: HttpRequest, answer: Answer, response: HttpResponse) -> None:
        if response.status >= 400:
            self._wait_for(self.limits.refusal_s, request, answer, partial(answer, response))
        else:
            answer(response)

    def _wait_for(self, seconds: float, request: HttpRequest, answer: Answer, then: Callable[[], None]) -> None:
        def end() -> None:
            request.cancel = None
            try:
                then()
            except Exception:
                log.exception("unhandled error for %s %s", request.method, request.path)
                answer(plain(500, "internal error"))

        def cancel() -> None:
            timer.cancel()
            request.cancel = None
            answer(NO_ANSWER)

        timer = self.clock.call_later(seconds, end)
        request.cancel = cancel

    def settled(self) -> None:
        """A connection has gone, and its task with it."""
        if self._quiet is not None and not self._quiet.done() and not self.connections:
            self._quiet.set_result(None)

    @property
    def busy(self) -> int:
        """How many requests are being handled, or answered."""
        return sum(connection.busy for connection in self.connections)

    def drain(self) -> None:
        """From now on each connection ends with its answer. New ones are taken still: it is the handler that refuses."""
        self.draining = True
        for connection in list(self.connections):
            connection.wind_down()

    async def close(self, grace_s: float = 0.0) -> None:
        """Accept nothing more, let what is in flight finish for `grace_s`, then drop the rest."""
        self.closing = True
        self.slots.close()
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.wind_down()
        if grace_s > 0:
            await self._wait(grace_s)
        stopping = [connection for connection in list(self.connections) if connection.abort()]
        await self._wait(STOP_S if stopping else GONE_S)

    async def _wait(self, seconds: float) -> None:
        self._quiet = asyncio.get_running_loop().create_future()
        quiet = self._quiet
        timer = self.clock.call_later(seconds, _settle, quiet)
        self.settled()
        try:
            await quiet
        finally:
            timer.cancel()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def serve(
    sock: socket.socket,
    handler: HttpHandler,
    *,
    clock: Clock,
    limits: Limits | None = None,
    timeouts: Timeouts | None = None,
    spool: Path | None = None,
    refuse: Callable[[HttpRequest, int | None, int], HttpResponse] = refuse_plainly,
    cancel_abandoned: bool = False,
    name_peers: bool = True,
    health: Health | None = None,
) -> HttpServer:
    """Serve `handler` on a bound or listening socket."""
    server = HttpServer(
        handler,
        clock=clock,
        limits=limits,
        timeouts=timeouts,
        spool=spool,
        refuse=refuse,
        cancel_abandoned=cancel_abandoned,
        name_peers=name_peers,
        health=health,
    )
    await server.listen(sock)
    return server
