"""Mutated bytes for the HTTP server: in any pieces they are the same requests, and nothing is raised whatever they are."""

import asyncio
import random
from collections.abc import Iterable
from unittest.mock import Mock

from hanabi.base.clock import SystemClock
from hanabi.contracts.http import Answer, HttpRequest, HttpResponse
from hanabi.http.connection import Connection
from hanabi.http.context import ServerContext
from hanabi.http.limits import BodyRule, Limits
from tests.fuzz.mutate import SEED, mutations, pieces

CORPUS = [
    b"GET /a?b=c HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: a:1\r\nX-Amz-Date: x\r\ncontent-length: 5\r\n\r\nhello",
    b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nt: u\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
    b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\nPOST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nxGET /c HTTP/1.1\r\nhost: a\r\n\r\n",
]
HEADERS = 20
Seen = tuple[str, str, tuple[tuple[str, str], ...], bytes]


SIGNED = (
    b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: a:1\r\nX-Amz-Date: 20261128T101010Z\r\nAuthorization: AWS4-HMAC-SHA256 "
    b"Credential=K/20261128/r/lambda/aws4_request, SignedHeaders=host, Signature=%b\r\ncontent-length: 5\r\n\r\nhello"
)


def requests_in(data: Iterable[bytes], *, verified: bool = False) -> list[Seen]:
    """What reaches the handler."""
    seen: list[Seen] = []

    def handle(request: HttpRequest, answer: Answer) -> None:
        assert isinstance(request.body, bytes)
        request.verified = verified
        seen.append((request.method, request.target, tuple(request.headers), request.body))
        answer(HttpResponse(200, [], b"ok"))

    limits = Limits(head_bytes=4096, headers=HEADERS, body=lambda request: BodyRule(1000))
    connection = Connection(ServerContext(handle, clock=SystemClock(), limits=limits))
    transport: Mock = Mock(get_extra_info=lambda name: None)
    transport.is_closing = lambda: transport.close.called or transport.abort.called
    connection.connection_made(transport)
    for piece in data:
        if transport.is_closing():
            break
        connection.data_received(piece)
    connection.connection_lost(None)
    return seen


async def test_mutated_requests() -> None:
    dice = random.Random(SEED)
    for data in mutations(CORPUS, dice):
        whole = requests_in([data])
        assert requests_in(pieces(data, dice)) == whole, data
        for method, target, headers, body in whole:
            assert method and target and len(headers) <= HEADERS and len(body) <= 1000, data
            assert not any("\n" in name + value or "\r" in name + value or "\0" in name + value for name, value in headers), data
        await asyncio.sleep(0)


async def test_mutations_of_a_repeated_head() -> None:
    """A client that has signed sends the same head again, nearly: whether it is known or parsed, the requests are the same."""
    dice = random.Random(SEED)
    known = [SIGNED % (b"%04x" % number) for number in range(4)]
    for data in mutations(known, dice):
        sent = [*known, data, known[0]]
        assert requests_in(sent, verified=True) == requests_in(sent), data
        await asyncio.sleep(0)
