"""Code downloads, at many slow clients at once: the whole zips are never in the server's own memory."""

import asyncio
import base64
import hashlib
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from hanabi.base.clock import SystemClock
from hanabi.contracts.http import HttpRequest
from hanabi.edge.auth.keys import KeyRing
from hanabi.services.lambda_.code_download import CodeEndpoint
from tests.unit.http.live import Client, live

MB = 1 << 20
CLIENTS = 8


class OneZip:
    def __init__(self, path: Path) -> None:
        self._path = path

    def zip_path(self, sha256: str) -> Path:
        return self._path


def own_memory_mb() -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) // 1024


def test_clients_that_do_not_read_cost_no_memory(tmp_path: Path) -> None:
    content = os.urandom(MB) * 30
    zip_file = tmp_path / "code.zip"
    zip_file.write_bytes(content)
    digest = hashlib.sha256(content).digest()
    clock = SystemClock()
    keys = KeyRing.open(tmp_path / "keys.json", region="us-east-1", account="0" * 12, clock=clock)
    endpoint = CodeEndpoint(OneZip(zip_file), keys, clock)

    async def main() -> None:
        async with live(endpoint.handle) as (_, port):
            asked = HttpRequest("GET", "/", "/", "", [("host", f"127.0.0.1:{port}")], b"", "127.0.0.1")
            url = endpoint.code_url(asked, base64.b64encode(digest).decode())
            assert url is not None
            path, query = urlsplit(url)[2:4]
            head = f"GET {path}?{query} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode()
            before = own_memory_mb()
            slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(CLIENTS)]
            for each in slow:
                each.sendall(head)
                each.setblocking(False)
                assert (await asyncio.get_running_loop().sock_recv(each, 16)).startswith(b"HTTP/1.1 200")
            assert own_memory_mb() - before < 2 * 30
            client = await Client.connect(port)  # and one that reads gets it whole
            client.send(head)
            status, _, body = await client.receive()
            assert status == 200 and hashlib.sha256(body).digest() == digest
            client.close()
            for each in slow:
                each.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), 60))
