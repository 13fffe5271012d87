"""The HTTP server against raw sockets: well-behaved, strange and hostile clients."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from hanabi.base.stream_buffer import StreamBuffer
from hanabi.contracts.body import read_whole
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.http.limits import BodyRule, Limits, Timeouts
from hanabi.http.response import render
from hanabi.testing import ManualClock
from tests.unit.http.live import Client, echo, live
from tests.waiting import until


async def test_keep_alive_and_pipelining_answer_in_order() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0.02 if request.path == "/0" else 0)  # the first is the slowest
        return await echo(request)

    async with live(handler) as (_, port):
        client = await Client.connect(port)
        for number in range(20):
            client.send(f"POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n{number:03d}".encode())
        for number in range(20):
            status, headers, body = await client.receive()
            assert (status, headers["x-path"], body) == (200, f"/{number}", f"{number:03d}".encode())
        client.send(b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        status, headers, _ = await client.receive()
        assert headers["connection"] == "close" and await client.closed()


async def test_a_request_in_pieces_and_what_comes_meanwhile() -> None:
    gate = asyncio.Event()

    async def handler(request: HttpRequest) -> HttpResponse:
        await gate.wait()
        return await echo(request)

    async with live(handler) as (_, port):
        client = await Client.connect(port)
        for byte in b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n":
            client.send(bytes([byte]))
            await client.writer.drain()
        client.send(b"GET /b HTTP/1.1\r\nhost: a\r\n\r\n")
        await asyncio.sleep(0)
        gate.set()
        assert (await client.receive())[2] == b"abcde"
        assert (await client.receive())[1]["x-path"] == "/b"
        client.close()


async def test_head_204_http10_and_100_continue() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(204, []) if request.path == "/204" else HttpResponse(200, [], request.body or b"hello")  # type: ignore[arg-type]

    async with live(handler) as (_, port):
        client = await Client.connect(port)
        client.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\nGET /204 HTTP/1.1\r\nhost: a\r\n\r\n")
        status, headers, _ = await client.receive(head_only=True)
        assert (status, headers["content-length"]) == (200, "5") and "date" in headers
        status, headers, _ = await client.receive()
        assert status == 204 and "content-length" not in headers
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"ok")
        assert (await client.receive())[2] == b"ok"
        client.send(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        assert (await client.receive())[1]["connection"] == "keep-alive"
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.receive())[1]["connection"] == "close" and await client.closed()


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
    ],
)
async def test_malformed_requests_get_400_and_a_closed_connection(junk: bytes) -> None:
    async with live() as (_, port):
        client = await Client.connect(port)
        client.send(b"GET /good HTTP/1.1\r\nhost: a\r\n\r\n" + junk)
        assert (await client.receive())[0] == 200
        status, headers, _ = await client.receive()
        assert (status, headers["connection"]) == (400, "close") and await client.closed()
        client.close()


async def test_trailers_are_kept_apart_from_headers_and_counted() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], f"{request.header('x-a')} {list(request.trailers)}".encode())

    async with live(handler, limits=Limits(headers=4)) as (_, port):
        client = await Client.connect(port)
        for head in (b"", b"X-A: 0\r\n"):
            client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n" + head + b"\r\n1\r\nx\r\n0\r\nX-A: 1")
            client.send(b"2\r\n\r\n")
            value = "0" if head else ""
            assert (await client.receive())[2].decode() == f"{value} [('x-a', '12')]"
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n")
        assert (await client.receive())[0] == 431 and await client.closed()


async def test_an_offered_upgrade_is_ignored() -> None:
    async with live() as (_, port):
        client = await Client.connect(port)
        client.send(b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n")
        assert [(await client.receive())[1]["x-path"] for _ in range(2)] == ["/a", "/b"]
        client.close()


async def test_heads_without_end_are_refused() -> None:
    async with live(limits=Limits(head_bytes=20_000, headers=10)) as (_, port):
        for head in (
            b"x-a: " + b"a" * 60_000,
            b"x-a: 1\r\n" * 11 + b"\r\n",
            b"transfer-encoding: chunked\r\n\r\n0\r\nx: " + b"a" * 900_000,
        ):
            client = await Client.connect(port)
            client.send(b"POST / HTTP/1.1\r\n" + head)
            assert (await client.receive())[0] == 431
            client.close()


async def test_a_body_over_its_limit_is_refused_and_the_client_can_read_why() -> None:
    async with live(limits=Limits(body=lambda request: BodyRule(1000))) as (_, port):
        client = await Client.connect(port)
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20000000\r\n\r\n")
        for _ in range(20):  # as many clients do, it sends all of it before it reads
            client.send(b"x" * 1_000_000)
            await client.writer.drain()
        assert (await client.receive())[0] == 413
        client.close()
        client = await Client.connect(port)
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001)
        assert (await client.receive())[0] == 413
        client.close()


async def test_large_bodies_are_spooled_and_deleted(tmp_path: Path) -> None:
    seen: list[Path] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        assert isinstance(request.body, Path)
        seen.append(request.body)
        return HttpResponse(200, [], str(request.body.stat().st_size).encode())

    async with live(handler, limits=Limits(body=lambda request: BodyRule(10 << 20, spool=True)), spool=tmp_path) as (_, port):
        client = await Client.connect(port)
        for head in (b"content-length: 3000000\r\n\r\n%b", b"transfer-encoding: chunked\r\n\r\n2dc6c0\r\n%b\r\n0\r\n\r\n"):
            client.send(b"POST / HTTP/1.1\r\nhost: a\r\n" + head % (b"z" * 3_000_000))
            assert (await client.receive())[2] == b"3000000"
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n\r\n" + b"z" * 2_000_000)
        await client.writer.drain()
        client.close()  # in the middle of a body
    assert len(seen) == 2
    await until(lambda: not list(tmp_path.iterdir()))  # they are deleted off the loop


async def test_memory_for_bodies_is_bounded_over_all_connections() -> None:
    async with live(limits=Limits(body=lambda request: BodyRule(10 << 20), buffered_bytes=3 << 20)) as (server, port):
        clients = [await Client.connect(port) for _ in range(4)]
        for client in clients:
            client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2000000\r\n\r\n" + b"x" * 1_500_000)
        done, _ = await asyncio.wait(
            [asyncio.create_task(client.receive()) for client in clients], return_when="FIRST_COMPLETED", timeout=10
        )
        assert done.pop().result()[0] == 503
        assert server.context.buffered <= 3 << 20
        for client in clients:
            client.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


async def turn() -> None:
    """Let what has reached the kernel reach the server."""
    for _ in range(20):
        await asyncio.sleep(0.001)


async def test_slow_clients_time_out() -> None:
    clock = ManualClock()
    async with live(clock=clock, timeouts=Timeouts(head_s=10, body_s=20, progress_bytes=1000, idle_s=60)) as (server, port):
        idle, head, body, steady = [await Client.connect(port) for _ in range(4)]
        head.send(b"GET / HT")
        body.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\nabc")
        steady.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4000\r\n\r\nabc")
        await turn()
        await clock.advance(9)
        head.send(b"TP/1.1\r\nx: ")  # more bytes do not buy more time
        steady.send(b"x" * 2000)
        await turn()
        await clock.advance(2)
        assert (await head.receive())[0] == 408 and await head.closed()
        await clock.advance(10)
        assert (await body.receive())[0] == 408 and await body.closed()
        steady.send(b"x" * 1997)
        assert (await steady.receive())[0] == 200
        await clock.advance(61)
        assert await idle.closed() and await steady.closed()
        for client in (idle, head, body, steady):
            client.close()
        await turn()
        assert not server.connections


async def test_a_client_that_does_not_read_is_dropped() -> None:
    clock = ManualClock()

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], b"x" * 30_000_000)

    async with live(handler, clock=clock) as (server, port):
        client = await Client.connect(port)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await turn()
        await clock.advance(25)
        await turn()
        assert not server.connections
        client.close()


async def test_large_answers_arrive_whole() -> None:
    body = bytes(range(256)) * 40_000

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], body)

    async with live(handler) as (_, port):
        client = await Client.connect(port)
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        await turn()
        assert (await client.receive())[2] == body
        assert (await client.receive())[2] == body and await client.closed()


async def test_a_handler_outlives_its_client_unless_told_otherwise() -> None:
    async def main(cancel: bool) -> list[str]:
        events: list[str] = []
        gate = asyncio.Event()

        async def handler(request: HttpRequest) -> HttpResponse:
            events.append("begin")
            try:
                await gate.wait()
                events.append("end")
            except asyncio.CancelledError:
                events.append("cancelled")
                raise
            return HttpResponse(200, [])

        async with live(handler, cancel_abandoned=cancel) as (server, port):
            client = await Client.connect(port)
            client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            await turn()
            client.writer.transport.abort()
            await turn()
            gate.set()
            await turn()
            assert not server.connections
        return events

    assert await main(False) == ["begin", "end"]
    assert await main(True) == ["begin", "cancelled"]


async def test_a_half_closed_client_still_gets_its_answer() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0.01)
        return HttpResponse(200, [], b"late")

    async with live(handler) as (_, port):
        client = await Client.connect(port)
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        client.writer.write_eof()
        assert (await client.receive())[2] == b"late" and await client.closed()


async def test_close_lets_what_is_in_flight_finish() -> None:
    gate = asyncio.Event()

    async def handler(request: HttpRequest) -> HttpResponse:
        await gate.wait()
        return HttpResponse(200, [], b"done")

    async with live(handler) as (server, port):
        busy, idle, stuck = [await Client.connect(port) for _ in range(3)]
        busy.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        stuck.send(b"GET / HT")
        await turn()
        closing = asyncio.create_task(server.close(0.5))
        assert await idle.closed()
        gate.set()
        status, headers, body = await busy.receive()
        assert (status, headers["connection"], body) == (200, "close", b"done")
        await closing
        assert await stuck.closed()
        with pytest.raises(OSError):
            await Client.connect(port)


async def test_asking_too_often_or_in_vain_takes_time() -> None:
    """The loop is everybody's: who floods it waits."""

    async def refuse(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200 if request.path == "/" else 403, [])

    async def ask(port: int, path: bytes, times: int) -> float:
        client = await Client.connect(port)
        began = asyncio.get_running_loop().time()
        for _ in range(times):
            client.send(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
            assert (await client.receive())[0] in (200, 403)
        return asyncio.get_running_loop().time() - began

    async with live(refuse, limits=Limits(rate=200)) as (_, port):
        assert sum(await asyncio.gather(*(ask(port, b"/", 100) for _ in range(3)))) / 3 >= 0.4
    async with live(refuse, limits=Limits(refusal_s=0.1)) as (_, port):
        assert await ask(port, b"/no", 4) >= 0.39
    async with live(refuse, limits=Limits(rate=100)) as (_, port):
        client = await Client.connect(port)
        began = asyncio.get_running_loop().time()
        for _ in range(3):  # 51 requests' worth each, and 100 go at once
            client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 819200\r\n\r\n" + b"x" * 819_200)
            assert (await client.receive())[0] == 200
        assert asyncio.get_running_loop().time() - began >= 0.5


async def test_errors_and_unsendable_answers_become_500(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        if request.path == "/raise":
            raise RuntimeError("boom")
        return HttpResponse(200, [("x-evil", "a\r\nset-cookie: b")]) if request.path == "/split" else HttpResponse(99, [])

    async with live(handler) as (_, port):
        client = await Client.connect(port)
        for path in (b"/raise", b"/split", b"/status"):
            client.send(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
            status, headers, _ = await client.receive()
            assert status == 500 and "set-cookie" not in headers
    assert "boom" in caplog.text


def test_the_server_keeps_its_own_headers() -> None:
    response = HttpResponse(200, [("Content-Length", "9"), ("Transfer-Encoding", "chunked"), ("x-é", "ü"), ("x-b", "漢")], b"abc")
    (data,) = render(None, response, "date: now\r\n", keep_alive=False)
    assert data == "HTTP/1.1 200 OK\r\ndate: now\r\nx-é: ü\r\nx-b: 漢\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc".encode()


async def test_no_room_to_spool(caplog: pytest.LogCaptureFixture) -> None:
    rule = BodyRule(10 << 20, spool=True)
    async with live(limits=Limits(body=lambda request: rule), spool=Path("/nonexistent")) as (_, port):
        client = await Client.connect(port)
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n\r\n" + b"z" * 3_000_000)
        assert (await client.receive())[0] == 507
    assert "cannot spool" in caplog.text


@pytest.mark.parametrize("stream", [False, True])
async def test_mutated_requests_never_hurt_the_next_client(stream: bool) -> None:
    """A fuzz with a fixed seed: bytes changed, dropped and doubled, in random pieces."""

    random = Random(5)
    head = b"POST /a?b=c HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    valid = head + b"5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n"

    async def handler(request: HttpRequest) -> HttpResponse:
        if isinstance(request.body, StreamBuffer):
            return HttpResponse(200, [], await read_whole(request.body, 1 << 20))
        return await echo(request)

    async with live(handler, limits=Limits(body=lambda request: BodyRule(1 << 20, stream=stream))) as (server, port):
        for _ in range(200):
            data = bytearray(valid * random.randint(1, 3))
            for _ in range(random.randint(1, 4)):
                at = random.randrange(len(data))
                data[at : at + random.randint(0, 2)] = bytes(random.randrange(256) for _ in range(random.randint(0, 3)))
            client = await Client.connect(port)
            cut = random.randrange(len(data))
            client.send(bytes(data[:cut]))
            await asyncio.sleep(0)
            client.send(bytes(data[cut:]))
            await asyncio.sleep(0)
            client.writer.write_eof()
            async with asyncio.timeout(10):
                await client.reader.read()
            client.close()
        client = await Client.connect(port)
        client.send(valid)
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.receive())[2] == b"hello"


async def test_a_draining_server_answers_what_comes_and_ends_each_connection() -> None:
    gate, begun = asyncio.Event(), asyncio.Event()

    async def handler(request: HttpRequest) -> HttpResponse:
        if request.path == "/slow":
            begun.set()
            await gate.wait()
        return await echo(request)

    async with live(handler) as (server, port):
        idle, slow, half = [await Client.connect(port) for _ in range(3)]
        slow.send(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
        half.send(b"GET /half HTTP/1.1\r\n")
        await begun.wait()
        async with asyncio.timeout(10):
            while len(server.connections) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert server.busy == 1
        server.drain()
        assert await idle.closed()
        new = await Client.connect(port)
        for client, path in ((new, "/new"), (half, "/half")):
            client.send(b"GET /new HTTP/1.1\r\nhost: a\r\n\r\n" if client is new else b"host: a\r\n\r\n")
            status, headers, _ = await client.receive()
            assert (status, headers["x-path"], headers["connection"]) == (200, path, "close")
            assert await client.closed()
        late = await Client.connect(port)
        begun.clear()
        late.send(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
        await begun.wait()
        assert server.busy == 1  # nobody waits for what came later
        gate.set()
        status, headers, _ = await slow.receive()
        assert (status, headers["x-path"], headers["connection"]) == (200, "/slow", "close")
        assert await slow.closed()
