"""Runs every measurement against one server and prints a table, then JSON. `python -m bench [--quick] [--json FILE]`."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import uvloop

from bench import cold, extensions, idle, layers, many, snapstart, streaming, warm
from tests.server import Server


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Hanabi's speed as ratios, measured in one run.")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: for a look, not for quoting")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("bench: needs root: it measures real containers", file=sys.stderr)
        return 1
    scale = 0.2 if options.quick else 1.0
    figures: dict[str, Any] = {}
    with Server() as server:
        print(server.ready_line, file=sys.stderr)
        uvloop.run(measure(server, scale, figures))
    print(table(figures))
    print(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


async def measure(server: Server, scale: float, figures: dict[str, Any]) -> None:
    for part in (warm, extensions, cold, layers, snapstart, streaming, idle, many):
        print(f"measuring {part.__name__} ...", file=sys.stderr)
        figures.update(await part.measure(server, scale))


def table(figures: dict[str, Any]) -> str:
    width = max(map(len, figures))
    return "\n".join(f"{name:<{width}}  {value:>12,.3f}" for name, value in figures.items())


if __name__ == "__main__":
    raise SystemExit(main())
