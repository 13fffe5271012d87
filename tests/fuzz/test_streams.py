"""Runtimes that stream whatever comes to their mind, on their channel and over the Runtime API: every answer and every stream ends once."""

import asyncio
import random
import socket
import struct
from itertools import islice, pairwise

from hanabi.base.clock import SystemClock
from hanabi.contracts.body import ByteStream
from hanabi.errors import BodyIncomplete
from hanabi.runtime.api import RuntimeApi
from hanabi.runtime.channel import RuntimeChannel
from hanabi.runtime.frames import CHUNK_LIMIT_BYTES
from hanabi.runtime.states import RuntimeState
from tests.fuzz.mutate import SEED, mutations
from tests.unit.runtime.host import Story, invocation

ROUNDS = 150
ENDS = ("result", "error", "violation")


def frame(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<I", len(body) + 1) + kind + body


STRAY = [frame(b"s"), frame(b"c", b"x"), frame(b"d"), frame(b"r"), frame(b"o", b"1"), frame(b"l"), frame(b"e", b"{}"), bytes(5)]


def conversation(dice: random.Random) -> bytes:
    """Frames in an order that is right half of the time."""
    said = [frame(b"s", b"text/plain")]
    for _ in range(dice.randrange(6)):
        said.append(frame(b"c", dice.randbytes(dice.choice((0, 1, 1, 300, 70_000)))))
    said.append(dice.choice((frame(b"d") + frame(b"r"), frame(b"f", b'{"errorType":"E"}') + frame(b"r"), frame(b"x", b"{}"), b"")))
    for _ in range(dice.randrange(3) if dice.random() < 0.5 else 0):
        said.insert(dice.randrange(len(said) + 1), dice.choice(STRAY))
    if dice.random() < 0.1:
        said.append(frame(b"c", bytes(CHUNK_LIMIT_BYTES + 1)))
    return b"".join(said)


async def read(stream: ByteStream) -> tuple[bytes, bool]:
    """What it had, and whether it was whole."""
    content = b""
    try:
        async for piece in stream:
            content += piece
    except BodyIncomplete:
        return content, False
    return content, True


def starts(story: Story) -> None:
    story.session.invoke(invocation(on_stream=story.on_stream))
    story.so_far()


def check(told: list[tuple[object, ...]], story: Story) -> None:
    ends = [word for word, *_ in told if word in ENDS]
    assert len(ends) <= 2 and len(story.streams) <= 1, told  # an answer, and perhaps what breaks the rules after it
    assert ends.count("result") + ends.count("error") <= 1, told
    assert all(before[0] != "violation" for before, _ in pairwise(told)), told  # nothing after that


async def test_frames_in_any_order() -> None:
    dice = random.Random(SEED)
    for _ in range(ROUNDS):
        said = conversation(dice)
        host, guest = socket.socketpair()
        guest.setblocking(False)
        story = Story(streams=True)
        channel = await RuntimeChannel.open(host, story.session)
        await asyncio.get_running_loop().sock_sendall(guest, frame(b"r"))
        await story.happens()
        starts(story)

        async def say(said: bytes = said, guest: socket.socket = guest) -> None:
            try:
                await asyncio.get_running_loop().sock_sendall(guest, said)
                guest.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        saying = asyncio.create_task(say())
        hung_up = asyncio.Event()
        channel.on_hangup = hung_up.set
        reading = [asyncio.create_task(read(stream)) for stream in story.streams]
        while not hung_up.is_set() and story.session.state is not RuntimeState.FAILED:
            await asyncio.sleep(0)
            if story.streams and not reading:
                reading = [asyncio.create_task(read(story.streams[0]))]
        channel.close()
        story.session.close()
        reading = reading or [asyncio.create_task(read(stream)) for stream in story.streams]
        async with asyncio.timeout(20):
            await saying
            for content, is_whole in [await each for each in reading]:
                assert len(content) <= len(said)
                assert not is_whole or frame(b"d") in said
        check(story.so_far(), story)
        guest.close()


HEAD = (
    b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n"
    b"Lambda-Runtime-Function-Response-Mode: streaming\r\nTrailer: Lambda-Runtime-Function-Error-Type\r\n\r\n"
)
CORPUS = [
    HEAD + b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
    HEAD + b"3\r\none\r\n0\r\nLambda-Runtime-Function-Error-Type: Runtime.X\r\nLambda-Runtime-Function-Error-Body: e30=\r\n\r\n",
    HEAD + b"1;a=b\r\nx\r\n" * 400 + b"0\r\n\r\n",
    HEAD + b"3\r\none\r\n0\r\n" + b"x-trailer: " + b"y" * 3000 + b"\r\n" + b"z: 1\r\n" * 300 + b"\r\n",
]


async def test_mutated_requests_to_the_runtime_api() -> None:
    dice = random.Random(SEED)
    for data in islice(mutations(CORPUS, dice), ROUNDS):
        story = Story(streams=True)
        sock = socket.create_server(("127.0.0.1", 0))
        server = await RuntimeApi(story.session, bundled=False).serve(sock, clock=SystemClock())
        story.session.next()
        story.session.deliver = lambda _: None
        starts(story)
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(data)
        writer.write_eof()
        reading = asyncio.create_task(reader.read())
        streamed: list[asyncio.Task[tuple[bytes, bool]]] = []

        while not reading.done():
            if story.streams and not streamed:
                streamed.append(asyncio.create_task(read(story.streams[0])))
            await asyncio.sleep(0)
        story.session.close()
        async with asyncio.timeout(20):
            for content, is_whole in [await each for each in streamed]:
                assert len(content) <= len(data) and (not is_whole or story.session.held_answer() is not None)
        writer.close()
        await server.close()
        check(story.so_far(), story)
