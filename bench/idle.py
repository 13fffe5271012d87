"""What 100 idle functions cost: memory of their processes, CPU of everything."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from bench.load import run
from bench.warm import HANDLER, signed_invoke
from tests.server import Server, create_function
from tests.waiting import wait_for

FUNCTIONS = 100
WINDOW_S = 5.0


async def measure(server: Server, scale: float) -> dict[str, Any]:
    client = server.client("lambda")
    count = max(10, int(FUNCTIONS * scale))
    for number in range(count):
        name = f"bench-idle-{number}"
        await asyncio.to_thread(create_function, client, name, HANDLER)
        answer = await run(server.port, signed_invoke(server, name), clients=1, count=1)
        assert not answer.failures
    await asyncio.to_thread(wait_for, lambda: sum(row["state"] == "frozen" for row in json.loads(server.hanabi("ps", "--json"))) >= count)
    assert server.process is not None
    await settle(server.process.pid)
    before = processor_seconds(server.process.pid)
    await asyncio.sleep(WINDOW_S)
    used = processor_seconds(server.process.pid) - before
    return {
        f"idle CPU of {count} functions, % of a core": used / WINDOW_S * 100,
        "memory of an idle function, MiB (PSS)": pss_mb(server.process.pid) / count,
        "memory of the server, MiB (RSS)": float(rss_mb(server.process.pid)),
    }


async def settle(pid: int) -> None:
    """Wait until what the last invocations left to do is done: the record indexed, the pool refilled."""
    for _ in range(30):
        before = processor_seconds(pid)
        await asyncio.sleep(1.0)
        if processor_seconds(pid) - before <= 0.01:
            return


def family(pid: int) -> list[int]:
    """The server and all processes in sandboxes of its: those below it and those its agents started."""
    found = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != pid:
            try:
                if b"hanabi" in (entry / "cgroup").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def processor_seconds(pid: int) -> float:
    ticks = 0
    for each in family(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int) -> float:
    total = 0
    for each in family(pid)[1:]:
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def rss_mb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) // 1024
