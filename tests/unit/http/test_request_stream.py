"""Requests whose handler reads the body while it arrives: back-pressure, bounds, clients that go, rests that nobody reads."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hanabi.base.stream_buffer import StreamBuffer
from hanabi.contracts.body import ByteStream, read_whole
from hanabi.contracts.http import AsyncHttpHandler, HttpRequest, HttpResponse
from hanabi.errors import BodyIncomplete, BodyTooLarge
from hanabi.http.connection import FLOOD_SLICE_BYTES
from hanabi.http.limits import ALWAYS_BYTES, BodyRule, Limits, Timeouts
from hanabi.testing import ManualClock
from tests.unit.http.live import Client, live
from tests.waiting import until

MB = 1 << 20
CHUNKED = b"POST /%b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
SIZED = b"POST /%b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"
GET = b"GET /after HTTP/1.1\r\nhost: a\r\n\r\n"


def streaming(limit_bytes: int = 100 * MB) -> Limits:
    return Limits(body=lambda request: BodyRule(limit_bytes, stream=True))


def reading(read: Callable[[HttpRequest, ByteStream], Awaitable[bytes]]) -> AsyncHttpHandler:
    async def handler(request: HttpRequest) -> HttpResponse:
        if request.path == "/after":
            return HttpResponse(200, [], b"after")
        assert isinstance(request.body, StreamBuffer)
        return HttpResponse(200, [], await read(request, request.body))

    return handler


async def count(request: HttpRequest, body: ByteStream) -> bytes:
    return b"%d %r" % (sum([len(piece) async for piece in body]), list(request.trailers))


class Reader:
    """Reads a piece when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Semaphore(0)
        self.pieces: list[bytes] = []
        self.error: Exception | None = None

    async def __call__(self, request: HttpRequest, body: ByteStream) -> bytes:
        while True:
            await self.go.acquire()
            try:
                self.pieces.append(await anext(body))
            except StopAsyncIteration:
                return b"".join(self.pieces)
            except BodyIncomplete as error:
                self.error = error
                raise


@pytest.mark.parametrize("stream", [True, False])
async def test_a_flood_of_tiny_chunks_leaves_others_their_turn(stream: bool) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        body = request.body
        assert not isinstance(body, Path)
        return HttpResponse(200, [], b"%d" % len(await read_whole(body, MB)))

    turns, chunks = 0, 20_000

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with live(handler, limits=Limits(body=lambda request: BodyRule(MB, stream=stream))) as (_, port):
        client = await Client.connect(port)
        others = asyncio.create_task(take_turns())
        for _ in range(2):
            client.send(CHUNKED % b"" + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")
            assert (await client.receive())[2] == b"%d" % chunks
        assert turns > 2 * 6 * chunks / FLOOD_SLICE_BYTES / 2
        client.send(GET + b"\r\n")
        assert (await client.receive())[2] == b"0"
        others.cancel()


async def test_pieces_are_read_as_they_arrive_and_the_connection_lives_on() -> None:
    reader = Reader()
    async with live(reading(reader), limits=streaming()) as (_, port):
        client = await Client.connect(port)
        client.send(CHUNKED % b"" + b"3\r\nabc\r\n")
        reader.go.release()
        await until(lambda: reader.pieces == [b"abc"])
        reader.go.release()
        client.send(b"2\r\nde\r\n")
        await until(lambda: reader.pieces == [b"abc", b"de"])
        reader.go.release()
        client.send(b"0\r\n\r\n" + GET)
        assert (await client.receive())[2] == b"abcde"
        assert (await client.receive())[2] == b"after"


async def test_trailers_are_there_at_the_end() -> None:
    async with live(reading(count), limits=streaming()) as (_, port):
        client = await Client.connect(port)
        client.send(CHUNKED % b"" + b"3\r\nabc\r\n0\r\nX-A: 1\r\n\r\n" + SIZED % (b"", 100_000) + b"x" * 100_000 + GET)
        assert (await client.receive())[2] == b"3 [('x-a', '1')]"
        assert (await client.receive())[2] == b"100000 []"
        assert (await client.receive())[2] == b"after"


async def test_a_small_body_comes_whole_in_any_case() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        assert isinstance(request.body, bytes)
        return HttpResponse(200, [], request.body)

    async with live(handler, limits=streaming()) as (_, port):
        client = await Client.connect(port)
        for size in (1, ALWAYS_BYTES):
            client.send(SIZED % (b"", size) + b"x" * size)
            assert (await client.receive())[2] == b"x" * size


async def test_no_more_is_read_than_the_handler_takes() -> None:
    reader = Reader()
    async with live(reading(reader), limits=streaming()) as (server, port):
        client = await Client.connect(port)
        client.send(SIZED % (b"", 50 * MB))
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                client.send(b"x" * MB)
                async with asyncio.timeout(0.5):
                    await client.writer.drain()
                sent += 1
        assert sent < 40 and 0 < server.context.buffered <= 512 * 1024
        for _ in range(10_000):
            reader.go.release()
        for _ in range(50 - sent - 1):
            client.send(b"x" * MB)
            await client.writer.drain()
        assert len((await client.receive())[2]) == 50 * MB and server.context.buffered == 0


async def test_a_slow_client_is_told_and_its_handler_too() -> None:
    clock, reader = ManualClock(), Reader()
    timeouts = Timeouts(body_s=20, progress_bytes=1000)
    async with live(reading(reader), limits=streaming(), clock=clock, timeouts=timeouts) as (_, port):
        client = await Client.connect(port)
        client.send(SIZED % (b"", 200_000) + b"a" * 10)
        for _ in range(9):
            reader.go.release()
        await until(lambda: reader.pieces)
        client.send(b"a" * 2000)  # enough to go on
        await until(lambda: len(reader.pieces) > 1)
        await clock.advance(21)
        client.send(b"a" * 20)
        await until(lambda: len(reader.pieces) > 2)
        assert reader.error is None
        await clock.advance(21)
        assert (await client.receive())[0] == 408 and await client.closed()
        assert isinstance(reader.error, BodyIncomplete)


async def test_a_handler_that_takes_its_time_is_not_its_clients_fault() -> None:
    clock, reader = ManualClock(), Reader()
    async with live(reading(reader), limits=streaming(), clock=clock) as (server, port):
        client = await Client.connect(port)
        client.send(SIZED % (b"", MB) + b"a" * MB)
        await until(lambda: server.context.buffered)
        await asyncio.sleep(0.05)
        await clock.advance(3600)
        for _ in range(1000):
            reader.go.release()
        assert (await client.receive())[2] == b"a" * MB


@pytest.mark.parametrize("reset", [True, False])
async def test_a_client_that_goes_in_the_middle(reset: bool) -> None:
    reader = Reader()
    async with live(reading(reader), limits=streaming()) as (server, port):
        client = await Client.connect(port)
        client.send(SIZED % (b"", MB) + b"a" * 10)
        for _ in range(9):
            reader.go.release()
        await until(lambda: reader.pieces == [b"a" * 10])
        client.reset() if reset else client.close()
        await until(lambda: reader.error is not None)
        await until(lambda: not server.connections)


@pytest.mark.parametrize(
    ("rest", "status"),
    [(b"zz\r\n", 400), (b"3e9\r\n" + b"x" * 1001, 413)],
)
async def test_a_body_that_goes_wrong_is_refused_whatever_the_handler_says(rest: bytes, status: int) -> None:
    reader = Reader()
    async with live(reading(reader), limits=streaming(1000)) as (_, port):
        client = await Client.connect(port)
        client.send(CHUNKED % b"" + b"1\r\na\r\n" + rest)
        for _ in range(9):
            reader.go.release()
        assert (await client.receive())[0] == status and await client.closed()
        assert isinstance(reader.error, BodyIncomplete)


async def test_what_nobody_reads_is_swallowed_and_the_client_gets_its_answer() -> None:
    async def ignore(request: HttpRequest, body: ByteStream) -> bytes:
        if request.path == "/close":
            await body.aclose()
        return b"no"

    async with live(reading(ignore), limits=streaming()) as (server, port):
        for path in (b"close", b"leave"):
            client = await Client.connect(port)
            client.send(SIZED % (path, 20 * MB))
            for _ in range(20):
                client.send(b"x" * MB)
                await client.writer.drain()
            status, headers, body = await client.receive()
            assert (status, headers["connection"], body) == (200, "close", b"no")
            client.close()
        await until(lambda: not server.connections)
        client = await Client.connect(port)  # where all of it is there already, nothing need end
        client.send(CHUNKED % b"leave" + b"3\r\nabc\r\n0\r\n\r\n" + GET)
        assert [(await client.receive())[2] for _ in range(2)] == [b"no", b"after"]


async def test_both_ways_at_once() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        assert isinstance(request.body, StreamBuffer)
        return HttpResponse(200, [], request.body)

    async with live(handler, limits=streaming()) as (server, port):
        client = await Client.connect(port)
        client.send(CHUNKED % b"")
        await client.receive(head_only=True)
        for piece in (b"one", b"two"):
            client.send(b"3\r\n%b\r\n" % piece)
            assert await client.reader.readexactly(8) == b"3\r\n%b\r\n" % piece
        client.send(b"0\r\n\r\n")
        assert await client.reader.read() == b"0\r\n\r\n"
        await until(lambda: not server.connections)


async def test_pipelined_streams_wait_for_their_turn() -> None:
    reader = Reader()
    async with live(reading(reader), limits=streaming()) as (_, port):
        client = await Client.connect(port)
        client.send(CHUNKED % b"1" + b"1\r\na\r\n0\r\n\r\n" + CHUNKED % b"2" + b"1\r\nb\r\n")
        for _ in range(2):
            reader.go.release()
        assert (await client.receive())[2] == b"a"
        reader.pieces.clear()
        reader.go.release()
        await until(lambda: reader.pieces == [b"b"])
        reader.go.release()
        client.send(b"1\r\nc\r\n0\r\n\r\n")
        reader.go.release()
        assert (await client.receive())[2] == b"bc"


async def test_read_whole_takes_no_more_than_its_limit() -> None:
    async def read(request: HttpRequest, body: ByteStream) -> bytes:
        try:
            return await read_whole(body, 5)
        except BodyTooLarge as error:
            return str(error).encode()

    assert await read_whole(b"12345", 5) == b"12345"
    with pytest.raises(BodyTooLarge):
        await read_whole(b"123456", 5)
    async with live(reading(read), limits=streaming()) as (_, port):
        for data, said in ((b"5\r\nabcde\r\n0\r\n\r\n", b"abcde"), (b"6\r\nabcdef\r\n0\r\n\r\n", b"more than 5 bytes")):
            client = await Client.connect(port)
            client.send(CHUNKED % b"" + data)
            assert (await client.receive())[2] == said
