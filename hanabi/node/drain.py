"""The shutdown of a node: refuse new work, wait for or end what has begun, then close what it depends on."""

import asyncio
import logging
import signal
from collections.abc import Sequence

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.edge.edge import Edge
from hanabi.fleet.fleet import Fleet
from hanabi.frontends.function_urls.addresses import UrlAddresses
from hanabi.http.server import HttpServer
from hanabi.invoke.invoker import LocalInvoker
from hanabi.triggers.event_queue import DurableQueue

POLL_S = 0.05
GRACE_S = 5.0  # for records and answers, after what runs has been ended
log = logging.getLogger(__name__)


class StopSignals:
    """Stop signals: the first one begins the shutdown, a second one hurries it."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.stop_now = asyncio.Event()

    def listen(self) -> None:
        """Listen for SIGTERM, SIGINT, and SIGHUP unless that was ignored at the start (`nohup`)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.on_signal, number)

    def on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if self.requested.is_set():
            log.warning("%s again: what still runs is ended now", name)
            self.stop_now.set()
        else:
            log.info("%s: no more is taken; another signal ends at once what still runs", name)
            self.requested.set()


class Drain:
    """The drain. Everything below the edge stays open while it runs."""

    def __init__(
        self,
        servers: Sequence[HttpServer | UrlAddresses],
        edge: Edge,
        events: DurableQueue,
        invoker: LocalInvoker,
        fleet: Fleet,
        clock: Clock,
        health: Health,
        limit_s: float,
    ) -> None:
        self._servers = servers
        self._edge = edge
        self._events = events
        self._invoker = invoker
        self._fleet = fleet
        self._clock = clock
        self._health = health
        self._limit_s = limit_s
        health.gauge("hanabi_invocations_in_flight", "Invocations that were admitted and have not ended", lambda: invoker.in_flight)

    async def run(self, stop_now: asyncio.Event) -> None:
        """Refuse new work, wait up to the limit for what has begun, then end the rest."""
        self._edge.drain()
        text = f"Hanabi is shutting down, within {self._limit_s:.0f} s; {self._invoker.in_flight} invocations run"
        self._health.report("draining", text, level=logging.INFO)
        for server in self._servers:
            server.drain()
        await self._events.pause()
        await self._wait(self._limit_s, stop_now)
        if self._invoker.in_flight:
            log.warning("%d invocations are ended before their time", self._invoker.in_flight)
        self._fleet.abort()
        await self._wait(GRACE_S, None)
        await asyncio.gather(*(server.close(GRACE_S) for server in self._servers), self._events.close())

    async def _wait(self, limit_s: float, stop_now: asyncio.Event | None) -> None:
        """Wait for everything that has begun."""
        deadline = self._clock.monotonic() + limit_s
        while self._invoker.in_flight or self._events.running or any(server.busy for server in self._servers):
            if self._clock.monotonic() >= deadline or (stop_now is not None and stop_now.is_set()):
                return
            await self._clock.sleep(POLL_S)
