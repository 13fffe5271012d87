"""hanabi list: list the functions there are"""

import argparse
import json
from typing import Any

from hanabi.cli.server import find_server
from hanabi.cli.table import render

HEADER = ("FUNCTION", "RUNTIME", "HANDLER", "MEMORY", "TIMEOUT", "STATE", "CHANGED")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def run(options: argparse.Namespace) -> int:
    client = find_server(options).client("lambda")
    functions = [function for page in client.get_paginator("list_functions").paginate() for function in page["Functions"]]
    for function in functions:  # lists carry no state
        function.update(_state(client, function["FunctionName"]))
    if options.json:
        print(json.dumps(functions))
    elif functions:
        print(render(HEADER, [_row(function) for function in functions], right=(3, 4)))
    else:
        print("no functions: hanabi init makes one, hanabi deploy brings it here")
    return 0


def _state(client: Any, name: str) -> dict[str, Any]:
    try:
        found = client.get_function_configuration(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:  # deleted meanwhile
        return {}
    return {key: found.get(key) for key in ("State", "StateReason", "LastUpdateStatus")}


def _row(function: dict[str, Any]) -> tuple[object, ...]:
    return (
        function["FunctionName"],
        function.get("Runtime", "image"),
        function.get("Handler", "-"),
        f"{function['MemorySize']} MB",
        f"{function['Timeout']} s",
        function.get("State") or "-",
        function["LastModified"][:16].replace("T", " "),
    )
