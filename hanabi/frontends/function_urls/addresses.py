"""An IP address for each function URL: `127.x.y.z` on the node's port, which every program on this machine can reach.

Browsers and curl resolve names below `.localhost`; the resolvers of Python, Node.js and Go do not. An address is a browser origin
of its own, as a name is, so a function's content never shares the origin of the API. Unlike ports, addresses do not share
cookies. A request to an address is for its URL, whatever the Host header says.
"""

import asyncio
import hashlib
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.http import AsyncHttpHandler
from hanabi.frontends.function_urls.handler import BODY_BYTES, LABEL, refuse_large
from hanabi.http.handlers import in_task
from hanabi.http.limits import BodyRule, Limits
from hanabi.http.server import HttpServer

LIMITS = Limits(head_bytes=64 * 1024, connections=512, body=lambda request: BodyRule(BODY_BYTES))
BACKLOG = 512


def address_of(url_id: str) -> str:
    """Derive the address of a URL, in 127.128.0.0/9: always the same for the same URL."""
    first, second, third = hashlib.sha256(url_id.encode()).digest()[:3]
    return f"127.{128 | first & 127}.{second}.{1 + third % 254}"


def named_url(port: int, url_id: str) -> str:
    """Return the URL with a host name, which browsers and curl resolve."""
    return f"http://{url_id}{LABEL}localhost:{port}/"


def url_of(port: int, own_addresses: bool, url_id: str) -> str:
    """Return the URL to show: with its address, or with its host name where addresses are off."""
    return f"http://{address_of(url_id)}:{port}/" if own_addresses else named_url(port, url_id)


class UrlAddresses:
    """One listening socket for each URL. `handler_of` returns a URL's handler."""

    def __init__(self, port: int, handler_of: Callable[[str], AsyncHttpHandler], clock: Clock, health: Health) -> None:
        self._port = port
        self._handler_of = handler_of
        self._clock = clock
        self._health = health
        self._servers: dict[str, HttpServer] = {}
        self._tasks: set[asyncio.Task[object]] = set()

    def add(self, url_id: str) -> None:
        """Listen on the address of a URL."""
        address = address_of(url_id)
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, self._port))
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            self._health.report(f"url {url_id}", f"no function URL can be had at {address}:{self._port} ({error.strerror}): use its name")
            return
        server = HttpServer(in_task(self._handler_of(url_id)), clock=self._clock, limits=LIMITS, refuse=refuse_large)
        self._servers[url_id] = server
        self._own(server.listen(sock))

    def remove(self, url_id: str) -> None:
        self._health.clear(f"url {url_id}")
        server = self._servers.pop(url_id, None)
        if server is not None:
            self._own(server.close())

    @property
    def busy(self) -> int:
        return sum(server.busy for server in self._servers.values())

    def drain(self) -> None:
        for server in self._servers.values():
            server.drain()

    async def close(self, grace_s: float = 0.0) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(server.close(grace_s) for server in self._servers.values()))
        self._servers.clear()

    def _own(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="function URL address")
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._health.report("url addresses", f"a function URL's address does not work ({error}): use its name, or restart Hanabi")
