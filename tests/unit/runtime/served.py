"""The Runtime API on a real port, and a custom runtime that asks it what the test wants."""

import asyncio
import http.client
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hanabi.base.clock import SystemClock
from hanabi.runtime.api import RuntimeApi
from tests.unit.runtime.host import PATIENCE_S, Story


class Runtime:
    """A custom runtime: one keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self.headers: dict[str, str] = {}

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        return await asyncio.to_thread(self._ask, method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})

    def _ask(self, method: str, path: str, body: object, headers: dict[str, str]) -> tuple[int, bytes]:
        self.connection.request(method, path, body, headers, encode_chunked=isinstance(body, list))  # type: ignore[arg-type]
        answer = self.connection.getresponse()
        self.headers = {name.lower(): text for name, text in answer.getheaders()}
        return answer.status, answer.read()


@asynccontextmanager
async def serving(*, bundled: bool = False, streams: bool = False) -> AsyncIterator[tuple[Story, Runtime]]:
    sock = socket.create_server(("127.0.0.1", 0))
    story = Story(streams=streams)
    server = await RuntimeApi(story.session, bundled=bundled).serve(sock, clock=SystemClock())
    runtime = Runtime(sock.getsockname()[1])
    try:
        yield story, runtime
    finally:
        story.session.close()
        runtime.connection.close()
        await server.close()
