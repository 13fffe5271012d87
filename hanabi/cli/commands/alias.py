"""hanabi alias: list a function's aliases, or let one name a version"""

import argparse
import json
from typing import Any

from hanabi.cli.failure import Failure
from hanabi.cli.functions import aliases, require
from hanabi.cli.server import find_server
from hanabi.cli.table import render

HEADER = ("ALIAS", "VERSION", "ALSO", "DESCRIPTION")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="function name")
    parser.add_argument("alias", metavar="ALIAS", nargs="?", help="the alias to make or move")
    parser.add_argument("number", metavar="VERSION", nargs="?", help="the published version it names")
    parser.add_argument("--also", metavar="VERSION=SHARE", help="send a share of the requests to another version, such as 2=0.1")
    parser.add_argument("--delete", action="store_true", help="delete the alias")
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def run(options: argparse.Namespace) -> int:
    client = find_server(options).client("lambda")
    require(client, options.name)
    if options.delete:
        if not options.alias or options.number:
            raise Failure("--delete takes a function and an alias", 2)
        client.delete_alias(FunctionName=options.name, Name=options.alias)
    elif options.number:
        _move(client, options)
    elif options.alias or options.also:
        raise Failure("say which version: hanabi alias NAME ALIAS VERSION", 2)
    found = aliases(client, options.name)
    if options.json:
        print(json.dumps(found))
    elif found:
        print(render(HEADER, [_row(alias) for alias in found]))
    else:
        print(f"{options.name} has no aliases")
    return 0


def _move(client: Any, options: argparse.Namespace) -> None:
    wanted = {"FunctionName": options.name, "Name": options.alias, "FunctionVersion": options.number}
    routing = {"AdditionalVersionWeights": _share(options.also) if options.also else {}}
    try:
        client.update_alias(**wanted, RoutingConfig=routing)
    except client.exceptions.ResourceNotFoundException:
        client.create_alias(**wanted, **({"RoutingConfig": routing} if options.also else {}))


def _share(text: str) -> dict[str, float]:
    version, _, share = text.partition("=")
    try:
        return {version: float(share)}
    except ValueError:
        raise Failure(f"--also {text!r} is not VERSION=SHARE, such as 2=0.1", 2) from None


def _row(alias: dict[str, Any]) -> tuple[object, ...]:
    weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    also = ", ".join(f"{version} ({share:.0%})" for version, share in weights.items())
    return alias["Name"], alias["FunctionVersion"], also or "-", alias.get("Description") or ""
