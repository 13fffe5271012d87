"""The channel's host end on real sockets, and with the real Python bootstrap behind it."""

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from hanabi.contracts.sandbox import Exit
from hanabi.runtime.channel import RuntimeChannel
from hanabi.runtime.frames import FRAME_LIMIT_BYTES
from hanabi.runtime.session import TOO_LARGE
from tests.unit.runtime.host import Story, invocation
from tests.waiting import until

BOOTSTRAP = Path(__file__).resolve().parents[3] / "guest" / "python" / "bootstrap.py"


class Fake:
    """A runtime that says whatever the test wants."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        sock.setblocking(False)

    async def say(self, kind: bytes, body: bytes = b"") -> None:
        await self.say_raw(struct.pack("<I", len(body) + 1) + kind + body)

    async def say_raw(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def hear(self) -> bytes:
        loop = asyncio.get_running_loop()
        data = b""
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "little"):
            data += await asyncio.wait_for(loop.sock_recv(self.socket, 1 << 20), 20)
        return data[4:]


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.both_loops
async def test_an_opening_that_is_cancelled_closes_its_own_descriptor_and_no_other(turns: int) -> None:
    host, guest = socket.socketpair()
    guest.setblocking(False)
    opening = asyncio.create_task(RuntimeChannel.open(host, Story().session))
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    host.close()  # as a sandbox does that is destroyed meanwhile
    others = [os.pipe() for _ in range(8)]  # take the numbers that are free
    await asyncio.wait([opening])
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
    if turns:
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(guest, 1), 20) == b""
    for ends in others:
        for end in ends:
            os.close(end)  # fails if somebody has
    guest.close()


async def open_pair() -> tuple[Story, RuntimeChannel, Fake]:
    host, guest = socket.socketpair()
    story = Story()
    return story, await RuntimeChannel.open(host, story.session), Fake(guest)


@pytest.mark.both_loops
async def test_init_invoke_answer() -> None:
    story, channel, guest = await open_pair()
    channel.initialize({"K": "ü"}, "app.handler", "/var/task", generic=True)
    frame = await guest.hear()
    assert frame[:1] == b"i"
    assert json.loads(frame[1:]) == {"environment": {"K": "ü"}, "handler": "app.handler", "task_root": "/var/task", "generic": True}
    await guest.say(b"r")
    assert await story.happens() == ("ready",)
    for payload in (b'{"a":1}', b"", bytes(6 * 1024 * 1024)):
        story.session.invoke(invocation(payload, trace="Root=1", client_context='{"k":\n1}'))
        frame = await guest.hear()
        size = int.from_bytes(frame[1:3], "little")
        arn = "arn:aws:lambda:us-east-1:000000000000:function:demo"
        assert frame[3 : 3 + size].decode() == f'id-1\n4000000000000\n{arn}\nRoot=1\n\n{{"k":\n1}}'
        assert frame[3 + size :] == payload
        await guest.say(b"o", payload)
        assert await story.happens() == ("result", payload)
        await guest.say(b"r")
        assert await story.happens() == ("ready",)
    story.session.invoke(invocation())
    await guest.hear()
    await guest.say(b"f", b'{"errorType":"E"}')
    assert await story.happens() == ("error", b'{"errorType":"E"}', "E")
    channel.close()
    guest.socket.close()


@pytest.mark.both_loops
async def test_an_oversize_answer_is_skipped_and_the_environment_survives() -> None:
    story, channel, guest = await open_pair()
    await guest.say(b"r")
    await story.happens()
    story.session.invoke(invocation())
    await guest.hear()
    await guest.say(b"o", bytes(FRAME_LIMIT_BYTES + 5))
    happened = await story.happens()
    assert happened[0] == "error" and happened[2] == TOO_LARGE
    await guest.say(b"r")
    assert await story.happens() == ("ready",)
    story.session.invoke(invocation())
    await guest.hear()
    await guest.say(b"o", b"7")
    assert await story.happens() == ("result", b"7")
    channel.close()
    guest.socket.close()


@pytest.mark.both_loops
@pytest.mark.parametrize(
    "noise",
    [b"\x01\0\0\0r" * 2, b"\x01\0\0\0o", b"\x01\0\0\0f", b"\x01\0\0\0?", b"\xff" * 9, b"GET / HTTP/1.1\r\n\r\n", bytes(8)],
)
async def test_any_other_order_is_a_violation(noise: bytes) -> None:
    story, channel, guest = await open_pair()
    await guest.say_raw(noise)
    happened = await story.happens()
    if happened == ("ready",):
        happened = await story.happens()
    assert happened[0] == "violation"
    await asyncio.sleep(0.01)
    assert story.so_far() == []
    guest.socket.close()


@pytest.mark.both_loops
async def test_a_fatal_error_is_held_until_the_exit() -> None:
    story, channel, guest = await open_pair()
    await guest.say(b"r")
    await story.happens()
    story.session.invoke(invocation())
    await guest.say(b"x", b'{"errorType":"Runtime.UnhandledPromiseRejection"}')
    guest.socket.close()
    await until(lambda: story.session.held_answer() is not None)
    held = (b'{"errorType":"Runtime.UnhandledPromiseRejection"}', "Runtime.UnhandledPromiseRejection")
    assert story.session.held_answer() == held
    assert story.so_far() == []


@pytest.mark.both_loops
async def test_an_invocation_for_a_closed_channel_is_a_violation_at_once() -> None:
    story, channel, guest = await open_pair()
    await guest.say(b"r")
    await story.happens()
    guest.socket.close()
    await until(lambda: channel._transport is None)
    story.session.invoke(invocation())
    assert story.so_far() == [("violation", "the runtime has closed its channel")]


@pytest.mark.both_loops
@pytest.mark.parametrize("payload", [b"{}", bytes(2_000_000)])
async def test_what_a_runtime_has_not_read_when_it_ends_was_not_delivered(payload: bytes) -> None:
    story, channel, guest = await open_pair()
    await guest.say(b"r")
    await story.happens()
    story.session.invoke(invocation(payload))
    exit = Exit("runtime", 0, None)
    assert story.session.lost(exit)
    if len(payload) > 1000:
        await asyncio.get_running_loop().sock_recv(guest.socket, 1000)
        assert story.session.lost(exit)  # it had no more than a part of it
    assert story.session.lost(Exit("runtime", 0, None, bytes_read=6)) and not story.session.lost(
        Exit("runtime", 0, None, bytes_read=1 << 40)
    )
    while story.session.lost(exit):
        assert await asyncio.get_running_loop().sock_recv(guest.socket, 1 << 20)
    assert story.so_far() == []
    channel.close()
    guest.socket.close()


@pytest.mark.both_loops
async def test_a_channel_that_ends_with_the_invocation_unread() -> None:
    story, channel, guest = await open_pair()
    hung_up = asyncio.Event()
    channel.on_hangup = hung_up.set
    await guest.say(b"r")
    await story.happens()
    story.session.invoke(invocation())
    guest.socket.close()
    await asyncio.wait_for(hung_up.wait(), 20)
    assert story.session.lost(None)


@pytest.mark.both_loops
async def test_with_the_real_bootstrap(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def handler(event, context):\n    if event == 'big': return 'x' * 7_000_000\n    return 1 / event\n")

    host, guest = socket.socketpair()
    environment = {"PATH": os.environ["PATH"], "HANABI_RUNTIME_FD": str(guest.fileno())}
    process = subprocess.Popen([sys.executable, str(BOOTSTRAP)], env=environment, pass_fds=[guest.fileno()], stdout=subprocess.DEVNULL)
    guest.close()

    try:
        story = Story()
        channel = await RuntimeChannel.open(host, story.session)
        channel.initialize({}, "app.handler", str(tmp_path), generic=True)
        assert await story.happens() == ("ready",)
        for _ in range(200):
            story.session.invoke(invocation(b"2"))
            assert await story.happens() == ("result", b"0.5") and await story.happens() == ("ready",)
        story.session.invoke(invocation(b"0"))
        assert (await story.happens())[2] == "ZeroDivisionError" and await story.happens() == ("ready",)
        story.session.invoke(invocation(b'"big"'))
        assert (await story.happens())[2] == TOO_LARGE and await story.happens() == ("ready",)
        story.session.invoke(invocation(b"4"))
        assert await story.happens() == ("result", b"0.25")
        channel.close()
    finally:
        process.kill()
        process.wait()
