"""The HTTP servers of a node: its port, and the endpoint of each environment, each with its own limits."""

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.http import HttpHandler
from hanabi.edge.edge import Edge
from hanabi.environment.shared import Closable
from hanabi.http.access_log import AccessLog
from hanabi.http.limits import Limits
from hanabi.http.server import HttpServer
from hanabi.sandbox.host.host import raise_descriptor_limit

MIB = 1 << 20
CONNECTIONS = 4096  # of clients; fewer where the process may not have twice as many descriptors
# Limits of the port. Heads as AWS's load balancers allow; smaller ones before a signature was verified.
EDGE_LIMITS = Limits(head_bytes=MIB // 16, unauthenticated_head_bytes=MIB // 64)
# What one environment may ask of the API: it shares the loop and the memory of the server with all others.
ENVIRONMENT_LIMITS = Limits(
    head_bytes=MIB // 16, connections=64, buffered_bytes=16 * MIB, spooled_bytes=128 * MIB, rate=500.0, refusal_s=0.05
)


class EdgeServers:
    """The servers of the edge. `edge` returns it, as it is made later. Requests are logged to `access`, if given."""

    def __init__(self, edge: Callable[[], Edge], clock: Clock, spool: Path, access: AccessLog | None) -> None:
        self._edge = edge
        self._clock = clock
        self._spool = spool
        self._access = access

    async def serve(self, listener: socket.socket, health: Health) -> HttpServer:
        """Serve the whole edge on the node's port."""
        edge, access = self._edge(), self._access
        connections = min(CONNECTIONS, raise_descriptor_limit() // 2)
        return await HttpServer(
            self._logged(edge.handle),
            clock=self._clock,
            limits=replace(EDGE_LIMITS, body=edge.body_rule, connections=connections),
            spool=self._spool,
            refuse=access.wrap_refusal(edge.refuse) if access else edge.refuse,
            health=health,
        ).listen(listener)

    async def attach(self, listener: socket.socket, access_key: str) -> Closable:
        """Serve the API inside an environment, for requests signed with its key only."""
        edge = self._edge()
        return await HttpServer(
            self._logged(edge.handler_for(access_key)),
            clock=self._clock,
            limits=replace(ENVIRONMENT_LIMITS, body=edge.body_rule_for(access_key)),
            spool=self._spool,
            refuse=edge.api.refuse,
            name_peers=False,
        ).listen(listener)

    def _logged(self, handler: HttpHandler) -> HttpHandler:
        return self._access.wrap(handler) if self._access else handler


def listen(host: str, port: int) -> socket.socket:
    """Bind the port's socket. Raises `OSError` when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
