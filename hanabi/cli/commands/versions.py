"""hanabi versions: list a function's published versions, or publish one"""

import argparse
import json
from typing import Any

from hanabi.cli.functions import aliases, published, require
from hanabi.cli.server import find_server
from hanabi.cli.table import render

HEADER = ("VERSION", "ALIASES", "RUNTIME", "MEMORY", "PUBLISHED", "DESCRIPTION")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="function name")
    parser.add_argument("--publish", action="store_true", help="publish a version of what is deployed")
    parser.add_argument("--description", metavar="TEXT", help="of the version that is published")
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def run(options: argparse.Namespace) -> int:
    client = find_server(options).client("lambda")
    require(client, options.name)
    if options.publish:
        described = {"Description": options.description} if options.description else {}
        client.publish_version(FunctionName=options.name, **described)
    versions = published(client, options.name)
    names = aliases(client, options.name)
    if options.json:
        print(json.dumps(versions))
    elif versions:
        print(render(HEADER, [_row(version, names) for version in versions], right=(3,)))
    else:
        print(f"no version of {options.name} is published; --publish makes one")
    return 0


def _row(version: dict[str, Any], names: list[dict[str, Any]]) -> tuple[object, ...]:
    number = version["Version"]
    named = [alias["Name"] for alias in names if alias["FunctionVersion"] == number]
    shares = [(alias["Name"], alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {}).get(number)) for alias in names]
    named += [f"{name} ({share:.0%})" for name, share in shares if share]
    return (
        number,
        ", ".join(named) or "-",
        version.get("Runtime", "image"),
        f"{version['MemorySize']} MB",
        version["LastModified"][:16].replace("T", " "),
        version.get("Description") or "",
    )
