"""hanabi rollback: bring an earlier published version back"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from hanabi.cli.failure import Failure
from hanabi.cli.functions import aliases, published, require, require_ready, update_code, wait_until_settled
from hanabi.cli.server import Server, find_server
from hanabi.cli.terminal import Terminal
from hanabi.cli.upload import source_of

DOWNLOAD_S = 300.0
KEPT = ("Runtime", "Handler", "Role", "MemorySize", "Timeout", "Description", "EphemeralStorage")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="function name")
    parser.add_argument("--to", metavar="VERSION", help="the version (default: the newest that differs from what is there)")
    parser.add_argument("--alias", metavar="NAME", help="move this alias only (default: code and settings of what is deployed)")


def run(options: argparse.Namespace) -> int:
    server = find_server(options)
    client = server.client("lambda", read_timeout=DOWNLOAD_S)
    latest = require(client, options.name)
    versions = {version["Version"]: version for version in published(client, options.name)}
    if not versions:
        raise Failure(f"no version of {options.name} is published, so there is nothing to go back to; deploy with --publish")
    if options.to and options.to not in versions:
        raise Failure(f"{options.name} has no version {options.to}; it has {', '.join(versions)}", 2)
    if options.alias:
        return _move(client, options, versions)
    number = options.to or next((number for number in reversed(versions) if versions[number]["CodeSha256"] != latest["CodeSha256"]), None)
    if number is None:
        raise Failure(f"every published version of {options.name} has the code that is deployed; name one with --to")
    with Terminal(sys.stderr) as terminal:
        _bring_back(server, client, options.name, number, terminal)
    print(f"{options.name} is as version {number} was")
    return 0


def _move(client: Any, options: argparse.Namespace, versions: dict[str, dict[str, Any]]) -> int:
    alias = next((each for each in aliases(client, options.name) if each["Name"] == options.alias), None)
    if alias is None:
        raise Failure(f"{options.name} has no alias {options.alias}", 2)
    now = alias["FunctionVersion"]
    earlier = [number for number in versions if number.isdecimal() and int(number) < int(now)] if now.isdecimal() else []
    number = options.to or (earlier[-1] if earlier else None)
    if number is None:
        raise Failure(f"alias {options.alias} names version {now}, and there is no earlier one; name one with --to")
    client.update_alias(
        FunctionName=options.name, Name=options.alias, FunctionVersion=number, RoutingConfig={"AdditionalVersionWeights": {}}
    )
    print(f"alias {options.alias} of {options.name} names version {number} (it was {now})")
    return 0


def _bring_back(server: Server, client: Any, name: str, number: str, terminal: Terminal) -> None:
    found = client.get_function(FunctionName=name, Qualifier=number)
    settings, code = found["Configuration"], found["Code"]
    terminal.doing(f"bringing back version {number}")
    if settings.get("PackageType") == "Image":
        client.update_function_code(FunctionName=name, ImageUri=code.get("ResolvedImageUri") or code["ImageUri"])
        function = wait_until_settled(client, name, terminal)
    else:
        with tempfile.TemporaryDirectory(prefix="hanabi-rollback-") as scratch:
            archive = Path(scratch) / "function.zip"
            with build_opener(ProxyHandler({})).open(code["Location"], timeout=DOWNLOAD_S) as answer, archive.open("wb") as file:
                shutil.copyfileobj(answer, file)
            function = update_code(client, name, source_of(server, archive, terminal), terminal)
    require_ready(function)
    wanted = {key: settings[key] for key in KEPT if key in settings}
    wanted["Environment"] = {"Variables": settings.get("Environment", {}).get("Variables", {})}
    if settings.get("Layers", []) != function.get("Layers", []):
        wanted["Layers"] = [layer["Arn"] for layer in settings.get("Layers", ())]
    client.update_function_configuration(FunctionName=name, **wanted)
    require_ready(wait_until_settled(client, name, terminal))
