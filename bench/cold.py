"""Cold starts: with a pooled environment (pool hit) and without one (miss), beside the start of a bare Python."""

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

from bench.load import run
from bench.warm import HANDLER, signed_invoke
from tests.server import Server, create_function
from tests.waiting import wait_for


async def measure(server: Server, scale: float) -> dict[str, Any]:
    count = max(5, int(30 * scale))
    bare = bare_python_ms(count)
    figures: dict[str, Any] = {"python3 -I -S -c pass p50 ms": bare[len(bare) // 2]}
    for name, variables in (("hit", {}), ("miss", {"PYTHONUNBUFFERED": "1"})):
        times = await cold_starts(server, f"bench-cold-{name}", variables, count)
        figures[f"cold start, pool {name} p50 ms"] = times[len(times) // 2]
        figures[f"cold start, pool {name} p99 ms"] = times[-1]
    return figures


async def cold_starts(server: Server, name: str, variables: dict[str, str], count: int, **options: Any) -> list[float]:
    """Milliseconds of the first invocation after each of `count` configuration changes, sorted."""
    client = server.client("lambda")
    create_function(client, name, HANDLER, MemorySize=1769, Environment={"Variables": variables}, **options)
    times = []
    for number in range(count):
        change = {"Variables": {**variables, "NUMBER": str(number)}}
        await asyncio.to_thread(client.update_function_configuration, FunctionName=name, Environment=change)
        await asyncio.to_thread(wait_for, lambda: client.get_function_configuration(FunctionName=name)["LastUpdateStatus"] == "Successful")
        await asyncio.to_thread(wait_for, lambda: pooled(server) >= 1)
        began = time.perf_counter()
        answer = await run(server.port, signed_invoke(server, name), clients=1, count=1)
        assert not answer.failures and time.perf_counter() > began
        times.append(answer.times[0] * 1000)
    return sorted(times)


def pooled(server: Server) -> int:
    return sum(row["state"] == "pooled" and row["runtime"] == "python3.11" for row in json.loads(server.hanabi("ps", "--json")))


def bare_python_ms(count: int) -> list[float]:
    """Wall times of `python3 -I -S -c pass`: what starting any Python costs."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True)
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times)
