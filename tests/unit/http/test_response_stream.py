"""Answers whose bodies are made while they are sent: framing, slow and vanishing clients, errors in the middle, the end of the server."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from hanabi.contracts.http import AsyncHttpHandler, HttpRequest, HttpResponse
from hanabi.testing import ManualClock
from tests.unit.http.live import Client, live
from tests.waiting import until

GET = b"GET /%b HTTP/1.1\r\nhost: a\r\n\r\n"
MB = 1 << 20
Trailers = Callable[[], Sequence[tuple[str, str]]] | None


class Source:
    """A `ByteStream` that tells what became of it."""

    def __init__(self, pieces: Sequence[bytes], *, error: Exception | None = None, gate: asyncio.Event | None = None) -> None:
        self.asked = 0
        self.closed = 0
        self.cancelled = False
        self._pieces = pieces
        self._error = error
        self._gate = gate  # what is waited for after the last piece

    def __aiter__(self) -> "Source":
        return self

    async def __anext__(self) -> bytes:
        self.asked += 1
        if self.asked <= len(self._pieces):
            return self._pieces[self.asked - 1]
        try:
            if self._gate is not None:
                await self._gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


def answering(*sources: Source, headers: Sequence[tuple[str, str]] = (), trailers: Trailers = None) -> AsyncHttpHandler:
    left = list(sources)

    async def handler(request: HttpRequest) -> HttpResponse:
        if request.path == "/whole":
            return HttpResponse(200, [], b"whole")
        return HttpResponse(200, list(headers), left.pop(0), trailers)

    return handler


async def chunks(client: Client) -> AsyncIterator[bytes]:
    async with asyncio.timeout(10):
        while True:
            size = int(await client.reader.readline(), 16)
            piece = (await client.reader.readexactly(size + 2))[:-2]
            if not size:
                return
            yield piece


async def head(client: Client) -> tuple[int, dict[str, str]]:
    status, headers, _ = await client.receive(head_only=True)
    return status, headers


async def test_pieces_arrive_as_they_are_made_and_the_connection_lives_on() -> None:
    gate = asyncio.Event()
    source = Source([b"one", b"", b"two"], gate=gate)
    async with live(answering(source)) as (server, port):
        client = await Client.connect(port)
        client.send(GET % b"s" + GET % b"whole")
        status, headers = await head(client)
        assert (status, headers["transfer-encoding"]) == (200, "chunked") and "content-length" not in headers
        pieces = chunks(client)
        assert [await anext(pieces), await anext(pieces)] == [b"one", b"two"]
        assert server.busy == 1 and source.closed == 0
        gate.set()
        assert [piece async for piece in pieces] == []
        assert (await client.receive())[2] == b"whole" and source.closed == 1


async def test_a_known_length_is_kept_and_a_wrong_one_cuts_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    sources = [Source([b"ab", b"cd"]), Source([b"ab", b"c"]), Source([b"ab", b"cde"])]
    async with live(answering(*sources, headers=[("Content-Length", "4")])) as (_, port):
        client = await Client.connect(port)
        client.send(GET % b"")
        assert (await client.receive())[2] == b"abcd"
        client.send(GET % b"")
        with pytest.raises(asyncio.IncompleteReadError) as short:
            await client.receive()
        assert short.value.partial == b"abc"
        client = await Client.connect(port)
        client.send(GET % b"")
        with pytest.raises(asyncio.IncompleteReadError) as long:
            await client.receive()
        assert long.value.partial == b"ab"
    assert [source.closed for source in sources] == [1, 1, 1] and caplog.text.count("broke off") == 2


async def test_an_error_in_the_middle_can_be_seen_by_every_client(caplog: pytest.LogCaptureFixture) -> None:
    sources = [Source([b"abc"], error=RuntimeError("boom")) for _ in range(2)]
    async with live(answering(*sources)) as (_, port):
        client = await Client.connect(port)
        client.send(GET % b"")
        await head(client)
        assert await client.reader.read() == b"3\r\nabc\r\n"  # and no chunk that ends it
        old = await Client.connect(port)
        old.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await head(old)
            await old.reader.read()
    assert caplog.text.count("RuntimeError: boom") == 2 and [source.closed for source in sources] == [1, 1]


async def test_a_client_of_http_1_0_gets_no_chunks() -> None:
    async with live(answering(Source([b"ab", b"c"]))) as (_, port):
        client = await Client.connect(port)
        client.send(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        _, headers = await head(client)
        assert headers["connection"] == "close" and "transfer-encoding" not in headers
        assert await client.reader.read() == b"abc"
    async with live(answering(Source([b"abc"]), headers=[("content-length", "3")])) as (_, port):
        client = await Client.connect(port)
        client.send(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        _, headers, body = await client.receive()
        assert (headers["connection"], body) == ("keep-alive", b"abc")


async def test_head_and_answers_without_a_body_close_the_stream_unread() -> None:
    sources = [Source([b"abc"]), Source([b"abc"])]
    async with live(answering(*sources, headers=[("content-length", "7")])) as (_, port):
        client = await Client.connect(port)
        for _ in sources:
            client.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await head(client))[1]["content-length"] == "7"
        client.send(GET % b"whole")
        assert (await client.receive())[2] == b"whole"
    assert [(source.asked, source.closed) for source in sources] == [(0, 1), (0, 1)]


async def test_trailers_follow_the_last_chunk() -> None:
    source = Source([b"abc"])
    async with live(answering(source, trailers=lambda: [("x-sum", str(source.asked))])) as (_, port):
        client = await Client.connect(port)
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        await head(client)
        assert await client.reader.read() == b"3\r\nabc\r\n0\r\nx-sum: 2\r\n\r\n"


async def test_what_cannot_be_sent_becomes_500(caplog: pytest.LogCaptureFixture) -> None:
    source = Source([b"abc"])
    async with live(answering(source, headers=[("x", "a\r\nb: c")])) as (_, port):
        client = await Client.connect(port)
        client.send(GET % b"")
        assert (await client.receive())[0] == 500
        await until(lambda: source.closed)
    assert "unsendable" in caplog.text


async def test_no_more_is_made_than_a_slow_client_takes() -> None:
    source = Source([b"x" * 100_000] * 1000)
    async with live(answering(source)) as (_, port):
        client = await Client.connect(port)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(GET % b"")
        before = -1
        while source.asked != before:  # until the kernel's buffers are full
            before = source.asked
            await asyncio.sleep(0.1)
        assert 0 < before < 300
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await head(client)
        assert sum([len(piece) async for piece in chunks(client)]) == 100_000_000
    assert source.closed == 1


async def test_one_large_piece_is_written_in_parts() -> None:
    body = bytes(range(256)) * 40_000
    async with live(answering(Source([body, b"end"]))) as (_, port):
        client = await Client.connect(port)
        client.send(GET % b"")
        await head(client)
        assert [piece async for piece in chunks(client)] == [body, b"end"]


async def test_a_client_that_stops_reading_is_dropped_and_its_producer_cancelled() -> None:
    clock, source = ManualClock(), Source([b"x" * MB] * 50, gate=asyncio.Event())
    async with live(answering(source), clock=clock) as (server, port):
        client = await Client.connect(port)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(GET % b"")
        (connection,) = server.connections
        await until(lambda: not connection._writable)
        await asyncio.sleep(0.05)
        await clock.advance(25)
        await until(lambda: not server.connections)
        assert source.closed == 1 and source.asked < 50
        client.close()


async def test_a_producer_may_take_its_time() -> None:
    clock, gate = ManualClock(), asyncio.Event()
    async with live(answering(Source([b"a"], gate=gate)), clock=clock) as (_, port):
        client = await Client.connect(port)
        client.send(GET % b"")
        await head(client)
        pieces = chunks(client)
        assert await anext(pieces) == b"a"
        await clock.advance(3600)
        gate.set()
        assert [piece async for piece in pieces] == []


async def test_the_producer_ends_with_its_client() -> None:
    source = Source([b"a"], gate=asyncio.Event())
    async with live(answering(source)) as (server, port):
        client = await Client.connect(port)
        client.send(GET % b"")
        await head(client)
        client.reset()
        await until(lambda: not server.connections)
        assert source.cancelled and source.closed == 1


async def test_an_answer_that_comes_when_its_client_has_gone_is_closed() -> None:
    source, gate = Source([b"a"]), asyncio.Event()

    async def handler(request: HttpRequest) -> HttpResponse:
        await gate.wait()
        return HttpResponse(200, [], source)

    async with live(handler) as (server, port):
        client = await Client.connect(port)
        client.send(GET % b"")
        await until(lambda: server.busy)
        client.reset()
        await asyncio.sleep(0.05)
        gate.set()
        await until(lambda: source.closed)
        assert source.asked == 0


async def test_a_draining_server_lets_a_stream_end() -> None:
    gate = asyncio.Event()
    async with live(answering(Source([b"a"], gate=gate))) as (server, port):
        client = await Client.connect(port)
        client.send(GET % b"")
        await head(client)
        server.drain()
        assert server.busy == 1
        gate.set()
        assert await client.reader.read() == b"1\r\na\r\n0\r\n\r\n" and server.busy == 0  # and the connection ends with it


async def test_close_gives_a_stream_its_grace_then_cancels_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    ending, endless = Source([b"a"], gate=asyncio.Event()), Source([b"a"], gate=asyncio.Event())
    async with live(answering(ending, endless)) as (server, port):
        clients = [await Client.connect(port) for _ in range(2)]
        for client in clients:
            client.send(GET % b"")
            await head(client)
        closing = asyncio.create_task(server.close(0.3))
        await asyncio.sleep(0)
        assert ending._gate is not None
        ending._gate.set()
        assert await clients[0].reader.read() == b"1\r\na\r\n0\r\n\r\n"
        await closing
        assert endless.cancelled and endless.closed == 1 and not server.connections
    assert not caplog.records
