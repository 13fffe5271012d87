"""A unix socket behind which a test's own coroutine talks, and the real Firecracker where there is one."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from hanabi.sandbox.firecracker import sockets
from tests.microvm.binaries import SHA256
from tests.microvm.cache import place

RuntimeLink = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
NO_CONTENT = b"HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n"


@asynccontextmanager
async def serving(path: Path, talk: RuntimeLink) -> AsyncIterator[None]:
    """`talk` for every connection to `path`; the connection ends with it."""
    talks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await talk(reader, writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(one(reader, writer))
        talks.add(task)
        task.add_done_callback(talks.discard)
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_unix_server(accept, sock=sockets.listen(path))
    try:
        yield
    finally:
        server.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next turn
        os.unlink(path)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """(request line, body)"""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("Content-Length:")), 0)
    return head.split("\r\n")[0], await reader.readexactly(length)


def find_binary(name: str) -> Path | None:
    """Firecracker's `firecracker` or `jailer`: in HANABI_FIRECRACKER_DIR, on PATH, or what `make test-microvm` has fetched."""
    cached = place("firecracker", SHA256["firecracker"])
    directory = os.environ.get("HANABI_FIRECRACKER_DIR")
    found = shutil.which(name, path=directory) if directory else shutil.which(name) or shutil.which(name, path=str(cached))
    return Path(found) if found else None


FIRECRACKER = find_binary("firecracker")
MISSING = (
    "no firecracker: set HANABI_FIRECRACKER_DIR, or run python -m tests.microvm.binaries"
    if FIRECRACKER is None
    else "/dev/kvm cannot be opened"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK)
    else ""
)
REAL = pytest.param("real", marks=pytest.mark.skipif(bool(MISSING), reason=MISSING))
on_both = pytest.mark.parametrize("which", [REAL, "double"])
