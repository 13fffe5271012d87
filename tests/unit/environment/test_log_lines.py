"""From a pipe to log events: whole, in order, bounded."""

import asyncio
import fcntl
import os
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from hanabi.base.clock import SystemClock
from hanabi.contracts.journal import LogEvent
from hanabi.environment.log_lines import BURST_READS, READ_BYTES, OutputReader, OutputThrottle
from hanabi.quotas import FUNCTION_LOG_LINE_BYTES
from tests.waiting import until

Story = Callable[[int, OutputReader, list[LogEvent]], Awaitable[None]]


@asynccontextmanager
async def tell() -> AsyncIterator[tuple[int, OutputReader, list[LogEvent]]]:
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    events: list[LogEvent] = []
    output = OutputReader(reading, SystemClock(), OutputThrottle(), events.extend)
    try:
        yield writing, output, events
    finally:
        output.close()
        os.close(reading)
        os.close(writing)


def texts(events: list[LogEvent]) -> list[str]:
    return [text for _, text in events]


async def test_lines_become_events() -> None:
    async with tell() as (pipe, output, events):
        os.write(pipe, "one\n\ntwø\r\nthree\rfour\nunfin".encode() + b"\xff")
        await until(lambda: len(events) == 3)
        assert texts(events) == ["one", "twø\r", "three\rfour"]  # as it is written; an empty line is no event
        output.flush_partial()
        assert texts(events)[3:] == ["unfin\ufffd"]
        os.write(pipe, b"the rest")
        output.close()
        output.close()
        assert texts(events)[4:] == ["the rest"]


def frame(text: bytes, kind: int = 0xA55A0003) -> bytes:
    return struct.pack(">IIQ", kind, len(text), 1_700_000_000_000_000) + text


async def test_a_frame_is_one_event() -> None:
    async with tell() as (pipe, output, events):
        os.write(pipe, b"line\nunfinished" + frame(b"two\nlines\r\n\n") + b"after\n" + frame(b'{"a": 1}', 0xA55A000E))
        await until(lambda: len(events) == 5)
        assert texts(events) == ["line", "unfinished", "two\nlines\r\n", "after", '{"a": 1}']
        os.write(pipe, frame(b"cut off")[:-4])
        await until(lambda: output.drain() == 0)
        output.flush_partial()
        os.write(pipe, b"a line again\n")
        await until(lambda: len(events) == 7)
        assert texts(events)[5:] == ["cut", "a line again"]


async def test_a_line_too_long_for_one_event_goes_on_in_the_next() -> None:
    async with tell() as (pipe, output, events):
        line = b"".join(b"%07d " % number for number in range((2 * FUNCTION_LOG_LINE_BYTES + 800) // 8)) + b"\n"
        os.set_blocking(pipe, True)
        printer = threading.Thread(target=write_all, args=(pipe, line + b"next\n"))
        printer.start()
        await until(lambda: "next" in texts(events))
        printer.join()
        assert "".join(texts(events)[:-1]).encode() + b"\n" == line
        assert max(map(len, texts(events))) <= FUNCTION_LOG_LINE_BYTES


async def test_one_who_never_stops_printing_does_not_hold_the_loop() -> None:
    async with tell() as (pipe, output, events):
        os.set_blocking(pipe, True)
        stop = threading.Event()

        def babble() -> None:
            while not stop.is_set():
                os.write(pipe, b"x" * 1023 + b"\n")

        printer = threading.Thread(target=babble)
        printer.start()
        try:
            await until(lambda: len(events) > 1000)
            for _ in range(20):  # each turn of the loop reads one burst at most
                before = len(events)
                await asyncio.sleep(0)
                assert (len(events) - before) * 1024 <= (BURST_READS + 1) * READ_BYTES
        finally:
            stop.set()
            output.drain()
            output.drain()
            printer.join()


async def test_all_that_was_printed_until_now_is_taken_though_a_pipe_be_large() -> None:
    async with tell() as (pipe, output, events):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
        lines = [f"{number:06d} " + "x" * 93 for number in range(10_000)]
        write_all(pipe, "\n".join([*lines, ""]).encode())
        left = output.drain()
        assert left == 1_010_000 - BURST_READS * READ_BYTES and len(events) < 1000  # a burst, for it is on the loop
        await output.read_more(left)
        assert texts(events) == lines
        assert output.drain() == 0


async def test_its_end_is_noticed() -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    events: list[LogEvent] = []
    output = OutputReader(reading, SystemClock(), OutputThrottle(), events.extend)
    os.write(writing, b"last")
    os.close(writing)
    looked = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, looked.set_result, None)
    await looked
    output.close()
    assert texts(events) == ["last"]
    assert not asyncio.get_running_loop().remove_reader(reading), "still watched"
    os.close(reading)


def write_all(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]
