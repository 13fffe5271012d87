"""What a handler may do with its `answer`: call it at once, later, twice, too late; and how one is told to stop."""

import asyncio

import pytest

from hanabi.contracts.http import NO_ANSWER, Answer, HttpRequest, HttpResponse
from hanabi.http.limits import Limits
from tests.unit.http.live import Client, live
from tests.waiting import until

GET = b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n"


class Kept:
    """A handler that answers when the test says so."""

    def __init__(self) -> None:
        self.requests: list[tuple[HttpRequest, Answer]] = []

    def __call__(self, request: HttpRequest, answer: Answer) -> None:
        self.requests.append((request, answer))


def ok(body: bytes = b"") -> HttpResponse:
    return HttpResponse(200, [], body)


async def test_pipelined_requests_answered_at_once_come_in_order_and_need_no_depth() -> None:
    def handle(request: HttpRequest, answer: Answer) -> None:
        answer(ok(request.path.encode()))

    async with live(direct=handle, limits=Limits(pipelined=4000)) as (_, port):
        client = await Client.connect(port)
        client.send(b"".join(GET % number for number in range(4000)))
        for number in range(4000):
            assert (await client.receive())[2] == b"/%d" % number


async def test_an_answer_counts_once() -> None:
    kept = Kept()
    async with live(direct=kept) as (_, port):
        client = await Client.connect(port)
        client.send(GET % 1 + GET % 2)
        await until(lambda: kept.requests)
        _, first = kept.requests.pop()
        first(ok(b"one"))
        first(ok(b"again"))
        assert (await client.receive())[2] == b"one"
        _, second = kept.requests.pop()
        first(ok(b"much too late"))
        second(ok(b"two"))
        assert (await client.receive())[2] == b"two"


async def test_a_connection_lost_while_its_handler_works_is_there_until_the_answer() -> None:
    kept = Kept()
    async with live(direct=kept) as (server, port):
        client = await Client.connect(port)
        client.send(GET % 1)
        await until(lambda: kept.requests)
        client.reset()
        (connection,) = server.connections
        await until(lambda: connection.lost)
        assert server.busy == 1
        kept.requests[0][1](ok())
        assert not server.connections


async def test_a_handler_that_raises_is_answered_for(caplog: pytest.LogCaptureFixture) -> None:
    def handle(request: HttpRequest, answer: Answer) -> None:
        if request.path == "/2":
            answer(ok())
        raise RuntimeError("boom")

    async with live(direct=handle) as (_, port):
        client = await Client.connect(port)
        client.send(GET % 1 + GET % 2 + GET % 3)
        assert [(await client.receive())[0] for _ in range(3)] == [500, 200, 500]
    assert caplog.text.count("RuntimeError: boom") == 3


async def test_no_answer_cuts_the_connection_and_forgets_what_was_pipelined() -> None:
    kept = Kept()
    async with live(direct=kept) as (_, port):
        client = await Client.connect(port)
        client.send(GET % 1 + GET % 2)
        await until(lambda: kept.requests)
        kept.requests[0][1](NO_ANSWER)
        assert await client.closed()
        assert len(kept.requests) == 1


async def test_nothing_is_handled_after_the_last_answer() -> None:
    kept = Kept()
    async with live(direct=kept) as (_, port):
        client = await Client.connect(port)
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        client.send(GET % 2)
        await until(lambda: kept.requests)
        kept.requests[0][1](ok(b"x" * 5_000_000))
        assert len((await client.receive())[2]) == 5_000_000 and await client.closed()
        assert len(kept.requests) == 1


async def test_close_ends_a_task_and_waits_for_it() -> None:
    ends: list[str] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        ends.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            ends.append("over")
        return ok()

    async with live(handler) as (server, port):
        client = await Client.connect(port)
        client.send(GET % 1)
        await until(lambda: ends)
        await server.close()
        assert ends == ["begun", "over"] and not server.connections
