"""Answers that a runtime gives piece by piece: on the channel and by the Runtime API, handed on or collected."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hanabi.base.stream_buffer import HIGH_BYTES
from hanabi.errors import BodyIncomplete
from hanabi.quotas import RESPONSE_PAYLOAD_BYTES, STREAMED_RESPONSE_BYTES
from hanabi.runtime.api import BAD_MODE, TRUNCATED
from hanabi.runtime.channel import FRAMES_AT_ONCE, RuntimeChannel
from hanabi.runtime.frames import CHUNK_LIMIT_BYTES
from hanabi.runtime.session import TOO_LARGE, InvalidTransition
from tests.unit.runtime.host import Story, invocation
from tests.unit.runtime.served import serving
from tests.unit.runtime.test_api import ERROR, RESPONSE, take
from tests.unit.runtime.test_channel import Fake
from tests.waiting import until

MB = 1 << 20
HTTP_RESPONSE = "application/vnd.awslambda.http-integration-response"
HEAD = (
    "POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: {}\r\n"
    "Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n"
)


def invoking(*, streams: bool) -> Story:
    story = Story(streams=streams)
    story.session.deliver = lambda _: None
    story.session.next()
    story.session.invoke(invocation(on_stream=story.on_stream))
    story.so_far()
    return story


# --- the session ------------------------------------------------------------------------------------------------------


async def test_pieces_are_handed_on_and_the_answer_ends_as_any_other() -> None:
    story = invoking(streams=True)
    session = story.session
    session.begin_stream(HTTP_RESPONSE)
    assert story.so_far() == [("stream", HTTP_RESPONSE)]
    (stream,) = story.streams
    session.add_chunk(b"one")
    assert await anext(stream) == b"one"
    session.add_chunk(b"two")
    session.end_stream()
    assert [piece async for piece in stream] == [b"two"] and session.held_answer() == (b"", None)
    session.next()
    assert story.so_far() == [("result", b""), ("ready",)]


def test_where_nobody_takes_streams_the_answer_is_collected() -> None:
    story = invoking(streams=False)
    story.session.begin_stream("text/plain")
    for piece in (b"one", b"", b"two"):
        story.session.add_chunk(piece)
    story.session.end_stream()
    story.session.next()
    assert story.so_far() == [("result", b"onetwo"), ("ready",)]


async def test_an_error_in_the_middle_ends_the_stream_and_the_invocation() -> None:
    story = invoking(streams=True)
    story.session.begin_stream("")
    story.session.add_chunk(b"one")
    story.session.fail(b'{"errorType":"E"}')
    (stream,) = story.streams
    assert await anext(stream) == b"one"
    with pytest.raises(BodyIncomplete):
        await anext(stream)
    story.session.next()
    assert story.so_far() == [("stream", ""), ("error", b'{"errorType":"E"}', "E"), ("ready",)]


@pytest.mark.parametrize("end", ["close", "violate"])
async def test_a_runtime_that_ends_in_the_middle_breaks_the_stream_off(end: str) -> None:
    story = invoking(streams=True)
    story.session.begin_stream("")
    story.session.close() if end == "close" else story.session.violate("no")
    with pytest.raises(BodyIncomplete):
        await anext(story.streams[0])
    with pytest.raises(InvalidTransition):
        story.session.add_chunk(b"late")


@pytest.mark.parametrize(("streams", "limit"), [(True, STREAMED_RESPONSE_BYTES), (False, RESPONSE_PAYLOAD_BYTES)])
async def test_an_answer_over_its_limit_becomes_lambdas_error(streams: bool, limit: int) -> None:
    story, piece = invoking(streams=streams), bytes(MB)
    story.session.begin_stream("")
    if streams:
        await story.streams[0].aclose()  # so that it takes no memory here
    for _ in range(limit // MB):
        story.session.add_chunk(piece)
    story.session.add_chunk(bytes(limit % MB))
    for _ in range(2):
        story.session.add_chunk(b"x")
    story.session.end_stream()
    story.session.next()
    (*_, (word, payload, kind), _) = story.so_far()
    assert (word, kind) == ("error", TOO_LARGE) and str(limit) in json.loads(payload)["errorMessage"]  # type: ignore[arg-type]


def test_what_may_not_follow_what() -> None:
    session = invoking(streams=True).session
    for say in (lambda: session.add_chunk(b""), session.end_stream):
        with pytest.raises(InvalidTransition):
            say()
    session.begin_stream("")
    for say in (lambda: session.begin_stream(""), lambda: session.answer(b""), session.next, session.start):
        with pytest.raises(InvalidTransition):
            say()
    session.end_stream()
    with pytest.raises(InvalidTransition):
        session.add_chunk(b"")


# --- the channel ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def channel(*, streams: bool) -> AsyncIterator[tuple[Story, Fake]]:
    """With an invocation under way."""
    host, guest = socket.socketpair()
    story, fake = Story(streams=streams), Fake(guest)
    opened = await RuntimeChannel.open(host, story.session)
    try:
        await fake.say(b"r")
        assert await story.happens() == ("ready",)
        story.session.invoke(invocation(on_stream=story.on_stream))
        await fake.hear()
        yield story, fake
    finally:
        story.session.close()
        opened.close()
        guest.close()


@pytest.mark.both_loops
async def test_frames_become_a_stream() -> None:
    async with channel(streams=True) as (story, fake):
        await fake.say(b"s", HTTP_RESPONSE.encode())
        assert await story.happens() == ("stream", HTTP_RESPONSE)
        await fake.say(b"c", b"one")
        assert await anext(story.streams[0]) == b"one"
        await fake.say(b"c", b"two")
        await fake.say(b"d")
        await fake.say(b"r")
        assert [piece async for piece in story.streams[0]] == [b"two"]
        assert [await story.happens(), await story.happens()] == [("result", b""), ("ready",)]


@pytest.mark.both_loops
async def test_an_error_frame_in_the_middle() -> None:
    async with channel(streams=True) as (story, fake):
        await fake.say(b"s")
        await fake.say(b"f", b'{"errorType":"E"}')
        assert [await story.happens(), await story.happens()] == [("stream", ""), ("error", b'{"errorType":"E"}', "E")]
        with pytest.raises(BodyIncomplete):
            await anext(story.streams[0])


@pytest.mark.both_loops
async def test_a_chunk_without_a_stream_is_a_violation() -> None:
    async with channel(streams=True) as (story, fake):
        await fake.say(b"c", b"x")
        assert (await story.happens())[0] == "violation"


@pytest.mark.both_loops
async def test_no_more_is_read_of_a_runtime_than_is_taken_of_its_answer() -> None:
    async with channel(streams=True) as (story, fake):
        sent = 0

        async def say() -> None:
            nonlocal sent
            await fake.say(b"s")
            for _ in range(1000):
                await fake.say(b"c", bytes(64 * 1024))
                sent += 1
            await fake.say(b"d")

        saying = asyncio.create_task(say())
        assert await story.happens() == ("stream", "")
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 100 and story.session.is_full
        assert sum([len(piece) async for piece in story.streams[0]]) == 1000 * 64 * 1024
        await saying
        assert await story.happens() == ("result", b"")


@pytest.mark.both_loops
async def test_a_flood_of_tiny_pieces_leaves_others_their_turn() -> None:
    async with channel(streams=True) as (story, fake):
        turns, pieces = 0, 20_000

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        flood = asyncio.create_task(fake.say_raw(frame(b"s") + frame(b"c", b"x") * pieces + frame(b"d") + frame(b"r")))
        assert await story.happens() == ("stream", "")
        others = asyncio.create_task(take_turns())
        assert sum([len(piece) async for piece in story.streams[0]]) == pieces
        assert turns > pieces / FRAMES_AT_ONCE / 2
        assert [await story.happens(), await story.happens()] == [("result", b""), ("ready",)]
        others.cancel()
        await flood


async def test_a_piece_over_the_limit_is_a_violation() -> None:
    async with channel(streams=True) as (story, fake):
        await fake.say(b"s")
        assert await story.happens() == ("stream", "")
        await story.streams[0].aclose()  # so that none waits
        await fake.say(b"c", bytes(CHUNK_LIMIT_BYTES))
        await fake.say_raw(struct.pack("<I", CHUNK_LIMIT_BYTES + 2) + b"c")
        assert (await story.happens())[0] == "violation"


def frame(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<I", len(body) + 1) + kind + body


# --- the Runtime API --------------------------------------------------------------------------------------------------


async def test_a_chunked_answer_is_handed_on_as_it_comes() -> None:
    async with serving(streams=True) as (story, runtime):
        await take(story, runtime)
        reader, writer = await asyncio.open_connection("127.0.0.1", runtime.connection.port)
        writer.write(HEAD.format(RESPONSE, HTTP_RESPONSE).encode() + b"3\r\none\r\n")
        assert await story.happens() == ("stream", HTTP_RESPONSE)
        assert await anext(story.streams[0]) == b"one"
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        assert [piece async for piece in story.streams[0]] == [b"two"]
        assert (await reader.readline()).startswith(b"HTTP/1.1 202")
        assert story.session.held_answer() == (b"", None)
        writer.close()


async def test_a_chunked_answer_streams_though_it_names_no_mode() -> None:
    """As Go's client sends all of them."""
    async with serving(streams=True) as (story, runtime):
        await take(story, runtime)
        reader, writer = await asyncio.open_connection("127.0.0.1", runtime.connection.port)
        head = HEAD.replace("Lambda-Runtime-Function-Response-Mode: streaming\r\n", "")
        writer.write(head.format(RESPONSE, "text/plain").encode() + b"3\r\none\r\n")
        assert await story.happens() == ("stream", "text/plain")
        assert await anext(story.streams[0]) == b"one"
        writer.write(b"0\r\n\r\n")
        assert [piece async for piece in story.streams[0]] == []
        assert (await reader.readline()).startswith(b"HTTP/1.1 202") and story.session.held_answer() == (b"", None)
        writer.close()


@pytest.mark.parametrize("path", [ERROR, RESPONSE])
async def test_what_is_not_chunked_or_no_answer_does_not_stream(path: str) -> None:
    async with serving(streams=True) as (story, runtime):
        await take(story, runtime)
        assert (await runtime.ask("POST", path, b'{"errorType":"E"}' + b" " * 100_000))[0] == 202
        assert story.streams == [] and story.session.held_answer() is not None


async def test_an_unknown_mode_fails_the_invocation() -> None:
    async with serving(streams=True) as (story, runtime):
        await take(story, runtime)
        answer = await runtime.ask(
            "POST", RESPONSE, [b"one"], Lambda_Runtime_Function_Response_Mode="sideways", Transfer_Encoding="chunked"
        )
        assert answer[0] == 400 and story.session.held_answer() == (b"", BAD_MODE)


async def test_trailers_fail_a_streamed_answer() -> None:
    async with serving(streams=True) as (story, runtime):
        await take(story, runtime)
        reader, writer = await asyncio.open_connection("127.0.0.1", runtime.connection.port)
        trailers = b"Lambda-Runtime-Function-Error-Type: Runtime.Mine\r\nLambda-Runtime-Function-Error-Body: eyJhIjoxfQ==\r\n"
        writer.write(HEAD.format(RESPONSE, "text/plain").encode() + b"3\r\none\r\n0\r\n" + trailers + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 202")
        assert story.session.held_answer() == (b'{"a":1}', "Runtime.Mine")
        assert await anext(story.streams[0]) == b"one"
        with pytest.raises(BodyIncomplete):
            await anext(story.streams[0])
        writer.close()


@pytest.mark.parametrize("whole", [True, False])
async def test_an_answer_that_breaks_off_fails_the_invocation(whole: bool) -> None:
    """By its end, or by bytes that are no chunk."""
    async with serving(streams=True) as (story, runtime):
        await take(story, runtime)
        _, writer = await asyncio.open_connection("127.0.0.1", runtime.connection.port)
        writer.write(HEAD.format(RESPONSE, "text/plain").encode() + b"3\r\none\r\n" + (b"" if whole else b"zz\r\n"))
        assert await story.happens() == ("stream", "text/plain")
        writer.close()
        await until(lambda: story.session.held_answer() is not None)
        held = story.session.held_answer()
        assert held is not None and held[1] == TRUNCATED


async def test_a_runtime_that_posts_faster_than_its_answer_is_taken_waits() -> None:
    async with serving(streams=True) as (story, runtime):
        await take(story, runtime)
        reader, writer = await asyncio.open_connection("127.0.0.1", runtime.connection.port)
        writer.write(HEAD.format(RESPONSE, "text/plain").encode())
        assert await story.happens() == ("stream", "text/plain")
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64:
                writer.write(b"100000\r\n" + bytes(MB) + b"\r\n")
                async with asyncio.timeout(0.5):
                    await writer.drain()
                sent += 1
        assert sent < 40 and story.session.is_full
        writer.write(b"0\r\n\r\n")
        assert sum([len(piece) async for piece in story.streams[0]]) == (sent + 1) * MB > HIGH_BYTES
        assert (await reader.readline()).startswith(b"HTTP/1.1 202")
        writer.close()


async def test_where_nobody_takes_streams_the_runtime_api_collects_them() -> None:
    async with serving() as (story, runtime):
        await take(story, runtime)
        reader, writer = await asyncio.open_connection("127.0.0.1", runtime.connection.port)
        writer.write(HEAD.format(RESPONSE, "text/plain").encode() + b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 202")
        assert story.session.held_answer() == (b"onetwo", None)
        writer.close()
