"""A server on a real socket, and raw clients to it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from hanabi.base.clock import SystemClock
from hanabi.contracts.http import AsyncHttpHandler, HttpHandler, HttpRequest, HttpResponse
from hanabi.http.handlers import in_task
from hanabi.http.server import HttpServer


async def echo(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.body, bytes)
    return HttpResponse(200, [("content-type", "text/plain"), ("x-path", request.path)], request.body)


def listen() -> tuple[socket.socket, int]:
    sock = socket.create_server(("127.0.0.1", 0))
    return sock, sock.getsockname()[1]


_clients: list["Client"] = []


class Client:
    """Bytes in, responses out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        _clients.append(self)

    @classmethod
    async def connect(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            length = 0 if head_only else int(headers.get("content-length", 0))
            return int(lines[0].split(" ")[1]), headers, await self.reader.readexactly(length)

    async def closed(self) -> bool:
        async with asyncio.timeout(10):
            return await self.reader.read(1) == b""

    def reset(self) -> None:
        """Break the connection off, so that the server learns of it at once."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


@asynccontextmanager
async def live(
    handler: AsyncHttpHandler = echo, *, direct: HttpHandler | None = None, **options: Any
) -> AsyncIterator[tuple[HttpServer, int]]:
    sock, port = listen()
    server = await HttpServer(direct or in_task(handler), **({"clock": SystemClock()} | options)).listen(sock)
    try:
        yield server, port
    finally:
        for client in _clients:
            with suppress(AttributeError):  # asyncio's way to say that it has gone already
                client.writer.transport.abort()
            with suppress(OSError):
                await client.writer.wait_closed()
        _clients.clear()
        await server.close()
        assert not server.connections and server.context.buffered == 0 and server.context.spooled == 0
