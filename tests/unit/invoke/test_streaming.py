"""Answers in pieces: passed on as they are made, whatever ends them, recorded once, at Lambda's bandwidth."""

import asyncio
import json

import pytest

from hanabi.contracts.functions import JsonLogs
from hanabi.contracts.invocation import Result, StreamedResult
from hanabi.errors import ShuttingDown, TooManyRequests
from hanabi.invoke.streaming import Pace
from hanabi.quotas import STREAMED_BURST_BYTES, STREAMED_BYTES_PER_S
from hanabi.testing import ManualClock
from hanabi.testing.body import whole
from hanabi.testing.sandbox import READY, FakeProcess
from tests.unit.fleet.rig import Rig
from tests.waiting import until

KIB = 1024
HTTP = "application/vnd.awslambda.http-integration-response"


class Streaming:
    """A bootstrap that streams what the test says: `go` lets it write its next piece."""

    def __init__(self) -> None:
        self.go = asyncio.Semaphore(0)
        self.written = 0

    async def __call__(self, process: FakeProcess) -> int | None:
        await process.write("r")
        while True:
            kind, body = await process.read()
            if kind != "n":
                continue
            order, _, count = process.payload(body).decode().partition(" ")
            if order == "whole":
                await process.answer(b"all of it")
                continue
            if order == "fail-early":
                await process.write("f", b'{"errorType":"Early"}', READY)
                continue
            await process.write("s", HTTP.encode() if order == "http" else b"")
            for number in range(int(count or 2)):
                if order != "flood":
                    await self.go.acquire()
                await process.write("c", bytes(64 * KIB) if order == "flood" else b"piece %d" % number)
                self.written += 1
            match order:
                case "fail":
                    await process.write("f", b'{"errorType":"Late"}', READY)
                case "exit":
                    return 3
                case "violate":
                    await process.write("s")
                case "hang":
                    await asyncio.Event().wait()
                case _:
                    await process.write("d", more=READY)


async def open_stream(rig: Rig, payload: bytes, *, timeout_s: int = 3) -> StreamedResult:
    async with asyncio.timeout(20):
        return await rig.invoker.stream(rig.invocation(rig.version(timeout_s=timeout_s), payload, tail=True))


async def rest(streamed: StreamedResult) -> bytes:
    async with asyncio.timeout(20):
        return b"".join([piece async for piece in streamed])


async def end(streamed: StreamedResult) -> Result:
    async with asyncio.timeout(20):
        return await streamed.end()


async def test_pieces_arrive_while_the_function_works() -> None:
    bootstrap = Streaming()
    async with Rig(bootstrap) as rig:
        streamed = await open_stream(rig, b"http 2")
        assert streamed.content_type == HTTP
        bootstrap.go.release()
        assert await anext(streamed) == b"piece 0" and rig.states() == ["busy"] and not rig.journal.records
        bootstrap.go.release()
        assert await rest(streamed) == b"piece 1"
        result = await end(streamed)
        assert (result.payload, result.function_error, result.record.status) == (b"", None, "success")
        assert b"REPORT" in result.log_tail and rig.journal.records == [result.record]
        await until(lambda: rig.states() == ["idle"])
        assert rig.invoker.in_flight == 0


async def test_its_size_is_in_the_log() -> None:
    async with Rig(Streaming()) as rig:
        invocation = rig.invocation(rig.version(json_logs=JsonLogs(system="DEBUG")), b"flood 3")
        assert len(await rest(await rig.invoker.stream(invocation))) == invocation.streamed_bytes == 3 * 64 * KIB
        await until(lambda: rig.journal.records)
        (done,) = [json.loads(line) for line in rig.journal.lines if "platform.runtimeDone" in line]
        assert done["record"]["metrics"]["producedBytes"] == 3 * 64 * KIB


async def test_one_that_names_no_content_type() -> None:
    bootstrap = Streaming()
    async with Rig(bootstrap) as rig:
        streamed = await open_stream(rig, b"stream 0")
        assert streamed.content_type == "application/octet-stream" and await rest(streamed) == b""
        assert (await end(streamed)).function_error is None


async def test_a_whole_answer_comes_as_pieces_too() -> None:
    async with Rig(Streaming()) as rig:
        streamed = await open_stream(rig, b"whole")
        assert streamed.content_type == "application/json" and await rest(streamed) == b"all of it"
        assert (await end(streamed)).function_error is None


async def test_a_streamed_answer_to_who_takes_it_whole() -> None:
    bootstrap = Streaming()
    async with Rig(bootstrap) as rig:
        bootstrap.go.release()
        bootstrap.go.release()
        assert (await rig.invoke(rig.version(), b"stream 2")).payload == b"piece 0piece 1"
        bootstrap.go.release()
        failed = await rig.invoke(rig.version(), b"fail 1")
        assert (failed.payload, failed.function_error) == (b'{"errorType":"Late"}', "Unhandled")


async def test_an_error_before_the_first_piece() -> None:
    async with Rig(Streaming()) as rig:
        streamed = await open_stream(rig, b"fail-early")
        assert await rest(streamed) == b""
        result = await end(streamed)
        assert (result.payload, result.function_error) == (b'{"errorType":"Early"}', "Unhandled")


@pytest.mark.parametrize(("order", "kind"), [("fail", "Late"), ("exit", "Runtime.ExitError"), ("violate", "Runtime.ExitError")])
async def test_an_end_in_the_middle(order: str, kind: str) -> None:
    bootstrap = Streaming()
    async with Rig(bootstrap) as rig:
        streamed = await open_stream(rig, f"{order} 1".encode())
        bootstrap.go.release()
        assert await rest(streamed) == b"piece 0"
        result = await end(streamed)
        assert json.loads(whole(result.payload))["errorType"] == kind and result.function_error == "Unhandled"
        assert [each.status for each in rig.journal.records] == ["error"]
        bootstrap.go.release()
        assert await rest(await open_stream(rig, b"stream 1")) == b"piece 0"


async def test_a_timeout_in_the_middle() -> None:
    bootstrap, clock = Streaming(), ManualClock()
    async with Rig(bootstrap, clock=clock) as rig:
        streamed = await open_stream(rig, b"hang 1")
        bootstrap.go.release()
        assert await anext(streamed) == b"piece 0"
        waiting = asyncio.create_task(rest(streamed))
        await clock.advance(3.1)
        assert await waiting == b""
        result = await end(streamed)
        assert json.loads(whole(result.payload))["errorType"] == "Sandbox.Timedout"
        assert (result.record.status, result.record.billed_ms) == ("timeout", 3000)
        assert not rig.sandbox.processes_alive


@pytest.mark.parametrize("begun", [True, False])
async def test_the_function_goes_on_without_its_reader(begun: bool) -> None:
    bootstrap = Streaming()
    async with Rig(bootstrap) as rig:
        if begun:
            streamed = await open_stream(rig, b"stream 3")
            await streamed.aclose()
            assert await rest(streamed) == b""
        else:
            rig.driver.create_allowed.clear()
            opening = asyncio.create_task(open_stream(rig, b"stream 3"))
            await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait([opening])
            rig.driver.create_allowed.set()
        for _ in range(3):
            bootstrap.go.release()
        await until(lambda: rig.journal.records)
        assert bootstrap.written == 3 and rig.journal.records[0].status == "success"


async def test_no_more_is_made_than_is_read() -> None:
    bootstrap = Streaming()
    async with Rig(bootstrap) as rig:
        streamed = await open_stream(rig, b"flood 60", timeout_s=60)
        before = -1
        while bootstrap.written != before:
            before = bootstrap.written
            await asyncio.sleep(0.1)
        assert before < 40 and rig.states() == ["busy"]
        assert len(await rest(streamed)) == 60 * 64 * KIB
        assert (await end(streamed)).record.status == "success"


async def test_a_refused_invocation_raises() -> None:
    async with Rig(Streaming(), unreserved=0) as rig:
        with pytest.raises(TooManyRequests):
            await open_stream(rig, b"stream 1")


async def test_a_server_that_stops_ends_the_answer() -> None:
    bootstrap = Streaming()
    async with Rig(bootstrap) as rig:
        streamed = await open_stream(rig, b"stream 2")
        await rig.fleet.close()
        assert await rest(streamed) == b""
        with pytest.raises(ShuttingDown):
            await end(streamed)


async def test_the_bandwidth_is_limited_after_the_burst() -> None:
    clock = ManualClock()
    pace = Pace(clock, STREAMED_BYTES_PER_S)
    pace.count(STREAMED_BURST_BYTES)
    await asyncio.wait_for(pace.wait(), 1)
    pace.count(STREAMED_BYTES_PER_S)
    waiting = asyncio.create_task(pace.wait())
    await clock.advance(0.9)
    assert not waiting.done()
    await clock.advance(0.2)
    await waiting
    await clock.advance(100.0)  # is not saved up
    pace.count(2 * STREAMED_BYTES_PER_S)
    waiting = asyncio.create_task(pace.wait())
    await clock.advance(1.9)
    assert not waiting.done()
    await clock.advance(0.2)
    await waiting


async def test_a_bandwidth_without_a_limit() -> None:
    pace = Pace(ManualClock(), 0)
    pace.count(100 * STREAMED_BURST_BYTES)
    await asyncio.wait_for(pace.wait(), 1)
