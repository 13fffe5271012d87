"""hanabi ps: list the execution environments that are alive"""

import argparse
import json
from typing import Any

from hanabi.cli.server import find_server
from hanabi.cli.table import duration, render

HEADER = ("ENVIRONMENT", "FUNCTION", "VERSION", "RUNTIME", "STATE", "MEMORY", "AGE", "INVOCATIONS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def run(options: argparse.Namespace) -> int:
    environments = find_server(options).get("/_hanabi/environments", {})["environments"]
    if options.json:
        print(json.dumps(environments))
    elif environments:
        print(render(HEADER, [_row(each) for each in environments], right=(5, 6, 7)))
    else:
        print("no environments: none is started before a function is invoked")
    return 0


def _row(environment: dict[str, Any]) -> tuple[object, ...]:
    memory = environment["memory_mb"]
    return (
        environment["id"],
        environment["function"] or "-",
        environment["version"] or "-",
        environment["runtime"],
        environment["state"],
        f"{memory} MB" if memory else "-",
        duration(environment["age_s"]),
        environment["invocations"],
    )
