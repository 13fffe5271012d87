"""Cold starts of a function whose init takes long: with SnapStart, which is a copy of its process in containers, and without."""

import asyncio
import contextlib
from typing import Any

from bench.load import run
from bench.warm import signed_invoke
from tests.server import Server, create_function
from tests.waiting import wait_for

INIT_S = 1.5
CODE = f"""
import asyncio, decimal, email.mime.multipart, http.client, json, logging, os, ssl, time, urllib.request, xml.etree.ElementTree
BUSY_UNTIL = time.monotonic() + {INIT_S}
TABLE = {{}}
while time.monotonic() < BUSY_UNTIL:  # as imports do, it makes objects
    if len(TABLE) < 200_000:
        TABLE[len(TABLE)] = str(len(TABLE))
def lambda_handler(event, context):
    if event.get("end"):
        os._exit(0)
    return TABLE[777]
"""


async def measure(server: Server, scale: float) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, snap_start, count in (("copy of its process", "PublishedVersions", max(5, int(30 * scale))), ("plain", "None", 5)):
        times = await cold_starts(server, f"bench-snapstart-{snap_start.lower()}", snap_start, count)
        figures[f"cold start, init of {INIT_S:.1f} s, {name} p50 ms"] = times[len(times) // 2]
        figures[f"cold start, init of {INIT_S:.1f} s, {name} p99 ms"] = times[-1]
    return figures


async def cold_starts(server: Server, name: str, snap_start: str, count: int) -> list[float]:
    """Milliseconds of the first invocation in each of `count` environments, sorted. Between them the function ends its own process."""
    client = server.client("lambda")
    options = {"Runtime": "python3.13", "MemorySize": 1769, "Timeout": 20, "SnapStart": {"ApplyOn": snap_start}}
    create_function(client, name, CODE, **options)
    client.publish_version(FunctionName=name)
    await asyncio.to_thread(wait_for, lambda: client.get_function_configuration(FunctionName=name, Qualifier="1")["State"] == "Active")
    times = []
    for _ in range(count):
        await asyncio.to_thread(wait_for, lambda: pooled(server) >= 1)
        answer = await run(server.port, signed_invoke(server, f"{name}:1"), clients=1, count=1)
        assert not answer.failures
        times.append(answer.times[0] * 1000)
        with contextlib.suppress(client.exceptions.ClientError):
            await asyncio.to_thread(client.invoke, FunctionName=f"{name}:1", Payload=b'{"end": true}')
    return sorted(times)


def pooled(server: Server) -> int:
    return server.hanabi("ps", "--json").count('"pooled"')
