"""Batches to a subscriber: what goes over the wire, and what is no delivery."""

import asyncio
import socket
from dataclasses import replace

import pytest

from hanabi.base.clock import SystemClock
from hanabi.errors import NotDelivered
from hanabi.runtime.telemetry.delivery import SEND_S, Delivery
from hanabi.runtime.telemetry.subscription import Subscription
from hanabi.testing import ManualClock
from tests.unit.runtime.telemetry.test_subscription import read
from tests.waiting import until

HTTP = read(destination={"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080/a?b"})
TCP = read(destination={"protocol": "TCP", "port": 4243})


class Subscriber:
    """One end of a connection; the delivery has the other."""

    def __init__(self, subscription: Subscription, clock: ManualClock | None = None) -> None:
        self.theirs: list[socket.socket] = []
        self.frozen = False
        self.delivery = Delivery(subscription, self._connect, clock or SystemClock(), lambda: self.frozen)

    async def _connect(self, port: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        for each in (ours, theirs):
            each.setblocking(False)
        self.theirs.append(theirs)
        return ours

    async def receive(self, size: int = 65536) -> bytes:
        await until(lambda: self.theirs)
        return await asyncio.get_running_loop().sock_recv(self.theirs[-1], size)

    def close(self) -> None:
        self.delivery.close()
        for each in self.theirs:
            each.close()


async def test_a_request_for_each_batch() -> None:
    subscriber = Subscriber(HTTP)
    for answer in (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 204\r\n"):
        sending = asyncio.create_task(subscriber.delivery.send([b'{"a":1}', b"2"]))
        await asyncio.sleep(0)
        head, body = (await subscriber.receive()).split(b"\r\n\r\n")
        assert body == b'[{"a":1},2]'
        assert head.decode().split("\r\n") == [
            "POST /a?b HTTP/1.1", "Host: sandbox.localdomain:8080", "Content-Type: application/json", "Content-Length: 11",
            "Connection: close",
        ]  # fmt: skip
        subscriber.theirs[-1].sendall(answer)
        await sending
    assert len(subscriber.theirs) == 2
    subscriber.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 500 X\r\n\r\n", b"HTTP/1.1 404 X\r\n", b"nonsense\r\n", b"\n", b"x" * 40_000, b""])
async def test_what_is_no_success(answer: bytes) -> None:
    subscriber = Subscriber(HTTP)
    sending = asyncio.create_task(subscriber.delivery.send([b"1"]))
    await subscriber.receive()
    if answer:
        subscriber.theirs[-1].sendall(answer)
    else:
        subscriber.theirs[-1].close()
    with pytest.raises(NotDelivered):
        await sending
    subscriber.close()


async def test_lines_on_one_connection() -> None:
    subscriber = Subscriber(TCP)
    await subscriber.delivery.send([b"1", b"2"])
    await subscriber.delivery.send([b"3"])
    assert await subscriber.receive() == b"1\n2\n3\n"
    assert len(subscriber.theirs) == 1
    subscriber.close()


async def test_a_subscriber_that_does_not_answer_is_given_up_unless_it_is_frozen() -> None:
    clock = ManualClock()
    subscriber = Subscriber(HTTP, clock)
    subscriber.frozen = True
    sending = asyncio.create_task(subscriber.delivery.send([b"1"]))
    await subscriber.receive()
    await clock.advance(3 * SEND_S)
    assert not sending.done()
    subscriber.frozen = False
    await clock.advance(2 * SEND_S)
    with pytest.raises(NotDelivered):
        await sending
    subscriber.close()


async def test_no_connection() -> None:
    async def refuse(port: int) -> socket.socket:
        raise ConnectionRefusedError(port)

    with pytest.raises(NotDelivered, match="no connection"):
        await Delivery(replace(HTTP), refuse, SystemClock(), lambda: False).send([b"1"])
