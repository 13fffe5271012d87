"""Streamed answers: time to the first chunk, throughput, and what a large one costs others."""

import asyncio
import http.client
import time
from contextlib import closing
from typing import Any

from bench.load import Latencies
from bench.warm import HANDLER, invoke
from tests.server import Server, create_function

MIB = 1 << 20
LARGE_PIECES = 1600  # of 64 KiB: 100 MB
SOURCE = """
import time

def handler(event, context):
    kind, _, count = event.get("rawPath", "/").strip("/").partition("-")
    if kind == "first":
        yield "one"
        time.sleep(0.2)
        yield "two"
    for _ in range(int(count or 0)):
        yield bytes(65536)
"""


async def measure(server: Server, scale: float) -> dict[str, Any]:
    """At Lambda's bandwidth, as users have it; and without a limit, on a server of its own."""
    client = server.client("lambda")
    name, host = create(client)
    await asyncio.to_thread(get, host, "/")
    first = sorted([await asyncio.to_thread(first_chunk_s, client, name) for _ in range(int(50 * scale) + 5)])
    figures: dict[str, Any] = {
        "first chunk at boto3, p50 ms": first[len(first) // 2] * 1000,
        "first chunk at boto3, max ms": first[-1] * 1000,
    }
    figures |= await measure_beside(server, host, int(LARGE_PIECES * scale), scale, "")
    with Server("--stream-mb-s", "0") as unlimited:
        _, host = create(unlimited.client("lambda"))
        await asyncio.to_thread(get, host, "/")
        size, seconds = await asyncio.to_thread(get, host, f"/large-{LARGE_PIECES}")
        figures["streamed MiB/s, without a limit"] = size / MIB / seconds
        figures |= await measure_beside(unlimited, host, LARGE_PIECES, scale, ", without a limit")
    return figures


def create(client: Any) -> tuple[str, str]:
    """(name, host of its URL)."""
    name = create_function(client, "bench-stream", {"app.py": SOURCE}, Handler="app.handler", MemorySize=1769, Timeout=300)
    address = client.create_function_url_config(FunctionName=name, AuthType="NONE", InvokeMode="RESPONSE_STREAM")["FunctionUrl"]
    return name, address.removeprefix("http://").rstrip("/")


async def measure_beside(server: Server, host: str, pieces: int, scale: float, how: str) -> dict[str, Any]:
    plain = create_function(server.client("lambda"), "bench-beside", HANDLER, MemorySize=1769)
    await invoke(server, plain, 1, 200)
    alone = await invoke(server, plain, 1, int(3000 * scale), pause_s=0.002)
    beside = await while_streaming(server, plain, host, pieces)
    return {
        f"p50 beside a 100 MB stream / alone{how}": beside.quantile_ms(0.5) / alone.quantile_ms(0.5),
        f"p99 beside a 100 MB stream / alone{how}": beside.quantile_ms(0.99) / alone.quantile_ms(0.99),
        f"p99 ms beside a 100 MB stream{how}": beside.quantile_ms(0.99),
    }


def first_chunk_s(client: Any, name: str) -> float:
    """From the call to the first chunk, of a function that works on for 200 ms after it."""
    began = time.perf_counter()
    events = iter(client.invoke_with_response_stream(FunctionName=name, Payload=b'{"rawPath": "/first"}')["EventStream"])
    assert next(events)["PayloadChunk"]["Payload"] == b"one"
    took = time.perf_counter() - began
    assert len(list(events)) == 2
    return took


def get(host: str, path: str) -> tuple[int, float]:
    """Bytes and seconds of one answer."""
    with closing(http.client.HTTPConnection(host, timeout=300)) as connection:
        began, size = time.perf_counter(), 0
        connection.request("GET", path)
        answer = connection.getresponse()
        while piece := answer.read1(1 << 18):
            size += len(piece)
        return size, time.perf_counter() - began


async def while_streaming(server: Server, name: str, host: str, pieces: int) -> Latencies:
    """Warm invocations while another client takes a large answer."""
    streaming = asyncio.create_task(asyncio.to_thread(get, host, f"/large-{pieces}"))
    times: list[float] = []
    elapsed = 0.0
    while not streaming.done() or not times:
        part = await invoke(server, name, 1, 100, pause_s=0.002)
        times += part.times
        elapsed += part.elapsed
    await streaming
    return Latencies(sorted(times), elapsed, 0)
