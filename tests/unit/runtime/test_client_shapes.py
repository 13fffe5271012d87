"""What clients of the Runtime API send that cannot be built here, byte by byte: PHP's, Swift's, .NET's and Ruby's."""

import asyncio
import re

import pytest

from tests.unit.runtime.host import PATIENCE_S, Story, invocation
from tests.unit.runtime.served import serving

NEXT = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n"
RESPONSE = "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\n"
HEADS = {
    "php": "Host: 127.0.0.1:9001\r\nUser-Agent: bref/1/PHP/8\r\nAccept: */*\r\n",
    "swift": "host: 127.0.0.1:9001\r\nuser-agent: Swift-Lambda/2.0\r\n",
    ".net": "Host: 127.0.0.1:9001\r\nUser-Agent: aws-lambda-dotnet/8.0-1.13\r\n",
    "ruby": "Accept-Encoding: gzip;q=1.0,identity;q=0.3\r\nAccept: */*\r\nUser-Agent: aws-lambda-ruby/3.4\r\nHost: 127.0.0.1:9001\r\n",
}
KEPT_OPEN = {"swift", ".net"}  # PHP's and Ruby's dial for each request
ANSWERS = {  # the head that says how long the body is, and the body
    "php": ("Content-Type: application/json\r\nContent-Length: 7\r\n\r\n", '{"a":1}'),
    "swift": ("transfer-encoding: chunked\r\n\r\n", '4\r\n{"a"\r\n3\r\n:1}\r\n0\r\n\r\n'),
    ".net": ("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", '7\r\n{"a":1}\r\n0\r\n\r\n'),
    "ruby": ("Content-Type: application/json\r\nContent-Length: 7\r\n\r\n", '{"a":1}'),
}


class Client:
    def __init__(self, port: int, *, keep: bool) -> None:
        self.port, self.keep = port, keep
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, text: str) -> tuple[str, bytes]:
        """(head, body) of the answer."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(text.encode())
        return await self.read()

    async def read(self) -> tuple[str, bytes]:
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            size = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
            body = await self.reader.readexactly(int(size[1])) if size else b""
        if not self.keep:
            self.close()
        return head, body

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


async def begin(story: Story, asked: "asyncio.Task[tuple[str, bytes]]", id: str) -> str:
    """The head of the answer to `next`."""
    while (await story.happens())[0] != "ready":
        pass
    story.session.invoke(invocation(b"{}", id, trace="Root=1-a", on_stream=story.on_stream))
    head, body = await asked
    assert body == b"{}" and f"Lambda-Runtime-Aws-Request-Id: {id}\r\n" in head  # as Lambda writes it: some clients compare
    return head


@pytest.mark.parametrize("name", sorted(HEADS))
async def test_invocations_go_round(name: str) -> None:
    async with serving() as (story, runtime):
        client = Client(runtime.connection.port, keep=name in KEPT_OPEN)
        for id in ("id-1", "id-2", "id-3"):
            head = await begin(story, asyncio.create_task(client.ask(NEXT + HEADS[name] + "\r\n")), id)
            assert "Lambda-Runtime-Trace-Id: Root=1-a\r\n" in head and "Lambda-Runtime-Deadline-Ms: " in head
            length, body = ANSWERS[name]
            head, _ = await client.ask(RESPONSE.format(id=id) + HEADS[name] + length + body)
            assert head.startswith("HTTP/1.1 202 ") and story.session.held_answer() == (b'{"a":1}', None)
        client.close()


async def test_curl_asks_before_it_sends_much() -> None:
    """PHP's sends more than 1 MiB only once it is told to, or has waited for a second."""
    async with serving() as (story, runtime):
        client = Client(runtime.connection.port, keep=True)
        await begin(story, asyncio.create_task(client.ask(NEXT + HEADS["php"] + "\r\n")), "id-1")
        size = 2 << 20
        head, _ = await client.ask(f"{RESPONSE.format(id='id-1')}{HEADS['php']}Content-Length: {size}\r\nExpect: 100-continue\r\n\r\n")
        assert head.startswith("HTTP/1.1 100 ")
        head, _ = await client.ask('"' + "x" * (size - 2) + '"')
        assert head.startswith("HTTP/1.1 202 ")
        client.close()


async def test_a_runtime_that_starts_anew_asks_again() -> None:
    """Bref's process ends after an error, or after some invocations, and its bootstrap starts another."""
    async with serving() as (story, runtime):
        port = runtime.connection.port
        await begin(story, asyncio.create_task(Client(port, keep=False).ask(NEXT + HEADS["php"] + "\r\n")), "id-1")
        error = '{"errorType":"Exception","errorMessage":"no","stackTrace":["#0 {main}"]}'
        path = RESPONSE.format(id="id-1").replace("/response", "/error")
        length = f"Content-Type: application/json\r\nContent-Length: {len(error)}\r\n\r\n"
        head, _ = await Client(port, keep=False).ask(path + HEADS["php"] + length + error)
        assert head.startswith("HTTP/1.1 202 ") and story.session.held_answer() == (error.encode(), "Exception")
        await begin(story, asyncio.create_task(Client(port, keep=False).ask(NEXT + HEADS["php"] + "\r\n")), "id-2")
