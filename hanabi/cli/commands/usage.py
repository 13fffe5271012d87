"""hanabi usage: print requests, GB-seconds and what they would cost, by function and period"""

import argparse
import json
from typing import Any

from hanabi.cli.server import find_server
from hanabi.cli.table import render
from hanabi.cli.times import parse_time

HEADER = ("PERIOD", "FUNCTION", "REQUESTS", "ERRORS", "BILLED MS", "GB-SECONDS", "COST USD")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--period", choices=("hour", "day", "month"), default="day", help="what one row sums up, UTC (default: day)")
    parser.add_argument("--function", metavar="NAME", help="this function only")
    parser.add_argument("--since", metavar="TIME", help="from a time on: 7d, 12h or 2026-11-01; counted by whole hours")
    parser.add_argument("--json", action="store_true", help="print the server's JSON")


def run(options: argparse.Namespace) -> int:
    query = {"period": options.period}
    if options.function:
        query["function"] = options.function
    if options.since:
        query["since"] = str(int(parse_time(options.since)))
    usage = find_server(options).get("/_hanabi/usage", query)
    if options.json:
        print(json.dumps(usage))
        return 0
    rows = [(row["period"], row["function"], *_figures(row)) for row in usage["rows"]]
    if rows:
        print(render(HEADER, [*rows, ("total", "", *_figures(usage["total"]))], right=(2, 3, 4, 5, 6)))
    else:
        print("nothing was used")
    for note in usage["notes"]:
        print(f"note: {note}")
    return 0


def _figures(row: dict[str, Any]) -> tuple[object, ...]:
    return row["requests"], row["errors"], row["billed_ms"], f"{row['gb_seconds']:.3f}", f"{row['cost_usd']:.8f}"
