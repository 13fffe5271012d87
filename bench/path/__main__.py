"""`python -m bench.path [--count | --profile]`: see `bench.path`."""

import argparse
import json
import pstats
import re
import sys
import tempfile
from pathlib import Path

import uvloop

from bench.load import cpu_s
from bench.path import callgrind
from bench.path.far import Echo, Node
from tests.server import free_port

SPECIFICATION = Path(__file__).parents[2] / "SPECIFICATION.md"
SLACK = 1.05  # of the budget: an interpreter may be another
BLOCK = 200  # invocations counted at a time, and twice as many
WARM_UP = 200
RARELY = 0.05  # calls an invocation: fewer are not shown
Figures = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.path", description="The path of one invocation, without a sandbox.")
    parser.add_argument("--count", action="store_true", help="count instructions")
    parser.add_argument("--check", action="store_true", help="count, and fail beyond the budget of SPECIFICATION.md")
    parser.add_argument("--profile", action="store_true", help="calls and time for each function of Python")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of invocations that are timed")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the server and the echo")
    options = parser.parse_args()
    options.count = options.count or options.check
    if options.count and not callgrind.is_there():
        print("bench.path: instructions are not counted: valgrind or setarch is not installed", file=sys.stderr)
        return 0
    measure = count if options.count else profile if options.profile else time
    with tempfile.TemporaryDirectory() as directory:
        figures = uvloop.run(measure(Path(directory), options.python, options.scale))
    width = max(map(len, figures), default=0)
    for name, figure in figures.items():
        print(f"{name:<{width}}  {figure:>12,.3f}")
    print(json.dumps(figures))
    return check(figures) if options.check else 0


def read_budget() -> float:
    """Instructions of an invocation, in those of an echo: the row of the specification that `make check` holds."""
    row = re.search(r"^\|[^|]*\| ([\d.]+) \| `bench/path/__main__\.py` \(`make check`", SPECIFICATION.read_text(), re.MULTILINE)
    assert row is not None, f"{SPECIFICATION} has no budget"
    return float(row[1])


def check(figures: Figures) -> int:
    """Whether an invocation is within its budget: its exit status."""
    budget, ratio = read_budget(), figures["invocation instructions"] / figures["echo instructions"]
    print(f"an invocation takes the instructions of {ratio:.1f} echoes; the budget in {SPECIFICATION.name} is {budget}")
    return int(ratio > budget * SLACK)


async def time(directory: Path, python: str, scale: float) -> Figures:
    """Beside the echo, in turn, so that both have the same machine."""
    figures: Figures = {}
    async with Node(directory, free_port(), [], python) as node, Echo(directory, free_port(), [], python) as echo:
        for clients in (1, 8):
            total = int(8000 * scale)
            for name, server in (("echo", echo), ("invocation", node)):
                await server.ask(clients, WARM_UP)
                began_s = cpu_s(server.pid)
                times = await server.ask(clients, total // clients)
                figures[f"{name} p50 ms at {clients}"] = times.quantile_ms(0.5)
                figures[f"{name} p99 ms at {clients}"] = times.quantile_ms(0.99)
                figures[f"{name} a second at {clients}"] = times.rate
                figures[f"{name} server CPU us at {clients}"] = (cpu_s(server.pid) - began_s) / total * 1e6
            figures[f"p50 / echo p50 at {clients}"] = figures[f"invocation p50 ms at {clients}"] / figures[f"echo p50 ms at {clients}"]
    return figures


async def count(directory: Path, python: str, scale: float) -> Figures:
    figures: Figures = {}
    for name, make in (("echo", Echo), ("invocation", Node)):
        place = directory / name
        place.mkdir()
        async with make(place, free_port(), callgrind.wrapper(place), python) as server:
            await server.ask(1, WARM_UP)
            await server.step()
            await server.ask(1, WARM_UP)
            figures[f"{name} instructions"] = await callgrind.count(server.pid, place, lambda units: server.ask(1, units), BLOCK)
    return figures


async def profile(directory: Path, python: str, scale: float) -> Figures:
    """Print the calls of each function and its microseconds, own and with all that it calls. A profiler costs too: compare, do not add."""
    total = int(2000 * scale)
    async with Node(directory, free_port(), [], python) as node:
        await node.ask(1, WARM_UP)
        await node.profile()
        await node.ask(1, total)
        await node.profile()
        stats = pstats.Stats(str(directory / "data" / "profile")).get_stats_profile().func_profiles
    rows = []
    for name, row in stats.items():
        calls = int(row.ncalls.partition("/")[0]) / total
        if calls >= RARELY:
            where = name if row.file_name == "~" else f"{row.file_name.partition('/hanabi/')[2] or row.file_name}:{row.line_number} {name}"
            rows.append((row.tottime / total * 1e6, row.cumtime / total * 1e6, calls, where))
    print("     own us    with us      calls")
    for own, whole, calls, where in sorted(rows, reverse=True):
        print(f"{own:>11.2f} {whole:>10.2f} {calls:>10.2f}  {where}")
    return {"functions": len(rows), "calls": sum(row[2] for row in rows)}


if __name__ == "__main__":
    raise SystemExit(main())
