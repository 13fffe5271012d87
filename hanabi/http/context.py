"""What the connections of one server share."""

from collections.abc import Callable
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.tasks import Tasks
from hanabi.contracts.http import HttpHandler, HttpRequest, HttpResponse
from hanabi.http.connection_slots import ConnectionSlots
from hanabi.http.limits import Limits, Timeouts
from hanabi.http.response import DateHeader, plain
from hanabi.http.throttle import Throttle

Refuse = Callable[[HttpRequest, int | None, int], HttpResponse]


def refuse_plainly(request: HttpRequest, size: int | None, limit: int) -> HttpResponse:
    return plain(413, f"the request body is larger than {limit} bytes")


class ServerContext:
    """Settings, sums over all connections, and whether the server is stopping. See `HttpServer` for the arguments."""

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
        self.clock = clock
        self.limits = limits or Limits()
        self.timeouts = timeouts or Timeouts()
        self.handle = handler
        if self.limits.rate or self.limits.refusal_s:
            self.handle = Throttle(handler, self.limits, clock).handle
        self.spool = spool
        self.refuse = refuse
        self.cancel_abandoned = cancel_abandoned
        self.name_peers = name_peers
        self.date = DateHeader(clock)
        self.slots = ConnectionSlots(self.limits.connections, self.limits.heads_bytes, clock, health)
        self.tasks = Tasks("http")
        self.buffered = 0  # bytes of bodies in memory
        self.spooled = 0  # and in files
        self.closing = False
        self.draining = False
        self.on_gone: Callable[[], None] = lambda: None  # a connection has gone, and what was handled for it
