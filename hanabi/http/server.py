"""An HTTP/1.1 server: the edge's one port, and the Runtime API's small sockets."""

import asyncio
import socket
from pathlib import Path
from typing import Self, cast

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.tasks import settle
from hanabi.contracts.http import HttpHandler
from hanabi.http.connection import Connection
from hanabi.http.connection_slots import ConnectionSlots
from hanabi.http.context import Refuse, ServerContext, refuse_plainly
from hanabi.http.limits import Limits, Timeouts

STOP_S = 60.0  # for a handler to stop that was told to
GONE_S = 1.0  # for the transports to say that they are gone


class HttpServer:
    """The server: listens, and owns its connections and their handlers.

    `refuse` makes the 413 for a body over its limit, so that an API can say it in its own words (`size` is what the
    client declared, None when it did not). `cancel_abandoned` cancels a handler whose client has gone; without it the
    handler runs to its end, as an invocation must. A streamed answer ends with its client in any case.
    """

    def __init__(
        self,
        handler: HttpHandler,
        *,
        clock: Clock,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        spool: Path | None = None,
        refuse: Refuse = refuse_plainly,
        cancel_abandoned: bool = False,
        name_peers: bool = True,
        health: Health | None = None,
    ) -> None:
        self.context = ServerContext(
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
        self.context.on_gone = self._settle
        self._server: asyncio.Server | None = None
        self._quiet: asyncio.Future[None] | None = None

    @property
    def slots(self) -> ConnectionSlots:
        return self.context.slots

    @property
    def connections(self) -> set[Connection]:
        """Return connections that are open, and those whose handler still runs."""
        return cast("set[Connection]", self.context.slots.all)

    async def listen(self, sock: socket.socket) -> Self:
        """Serve on a bound or listening socket, which becomes the server's."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:  # of a microVM: its guest's connections arrive there
            self._server = await loop.create_unix_server(lambda: Connection(self.context), sock=sock, backlog=512)
        else:
            self._server = await loop.create_server(lambda: Connection(self.context), sock=sock, backlog=512)
        return self

    @property
    def busy(self) -> int:
        """How many requests are being handled or answered."""
        return sum(connection.busy for connection in self.connections)

    def drain(self) -> None:
        """End each connection after its answer. New ones are still accepted; the handler refuses them."""
        self.context.draining = True
        for connection in list(self.connections):
            connection.wind_down()

    async def close(self, grace_s: float = 0.0) -> None:
        """Accept nothing more, let what is in flight finish for `grace_s`, then drop the rest."""
        self.context.closing = True
        self.slots.close()
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.wind_down()
        if grace_s > 0:
            await self._wait(grace_s)
        stopping = [connection for connection in list(self.connections) if connection.abort()]
        await self._wait(STOP_S if stopping else GONE_S)
        await self.context.tasks.cancel()

    async def _wait(self, seconds: float) -> None:
        """Wait until all connections are closed."""
        quiet = self._quiet = asyncio.get_running_loop().create_future()
        timer = self.context.clock.call_later(seconds, settle, quiet)
        self._settle()
        try:
            await quiet
        finally:
            timer.cancel()

    def _settle(self) -> None:
        if self._quiet is not None and not self.connections:
            settle(self._quiet)
