"""hanabi deploy: create or update a function from a folder that holds its handler"""

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from hanabi.cli import dependencies
from hanabi.cli.failure import Failure
from hanabi.cli.functions import default_role, find, make_url, require_ready, settle, update_code
from hanabi.cli.handlers import Entry, detect, missing
from hanabi.cli.server import find_server
from hanabi.cli.source import collect, pack, refuse_template
from hanabi.cli.terminal import Terminal

UPLOAD_TIMEOUT_S = 300.0
ROLE = "hanabi-default"
SHOWN = {"Runtime": "runtime", "Handler": "handler", "MemorySize": "memory", "Timeout": "timeout", "Role": "role"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="a folder with a handler")
    parser.add_argument("--name", help="function name (default: the folder's)")
    parser.add_argument("--runtime", help="such as python3.13 (default: as deployed before, else by the folder's files)")
    parser.add_argument("--handler", help="such as app.handler (default: as deployed before, else by the folder's files)")
    parser.add_argument("--memory", type=int, metavar="MB", help="memory, and CPU with it (default: 128)")
    parser.add_argument("--timeout", type=int, metavar="S", help="seconds an invocation may take (default: 3)")
    parser.add_argument("--env", action="append", metavar="KEY=VALUE", help="a variable; may be repeated; replaces all that were set")
    parser.add_argument("--role", metavar="ARN", help=f"role whose credentials the function gets (default: {ROLE}, made when missing)")
    parser.add_argument("--no-build", action="store_true", help="install no dependencies; take the folder as it is")
    parser.add_argument("--publish", action="store_true", help="publish a version of what was deployed")
    parser.add_argument("--alias", metavar="NAME", help="publish a version, and let this alias name it")
    parser.add_argument("--url", action="store_true", help="give the function a URL that anybody may call")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    if not folder.is_dir():
        refuse_template(folder)
        raise Failure(f"{folder} is no directory", 2)
    refuse_template(folder)
    name = options.name or _name_of(folder)
    terminal = Terminal(sys.stderr)
    wanted = _wanted(options)
    server = find_server(options)
    client = server.client("lambda", read_timeout=UPLOAD_TIMEOUT_S)
    old = find(client, name)
    if old is not None:
        if old.get("PackageType") == "Image":
            raise Failure(f"{name} is made of a container image; a folder is another function: give it another --name", 2)
    entry = _entry(options, old)
    with tempfile.TemporaryDirectory(prefix="hanabi-deploy-") as scratch, terminal:
        archive = Path(scratch) / "function.zip"
        _package(folder, entry, archive, terminal, build=not options.no_build)
        if old is None:
            role = options.role or default_role(server, ROLE)
            wanted = {"Role": role, "Runtime": entry.runtime, "Handler": entry.handler} | wanted
            terminal.doing(f"uploading {archive.stat().st_size / 1e6:.1f} MB")
            client.create_function(FunctionName=name, Code={"ZipFile": archive.read_bytes()}, **wanted)
            function = settle(client, name, terminal)
            changes: list[str] | None = None
        else:
            wanted = {"Runtime": entry.runtime, "Handler": entry.handler} | wanted
            function, changes = _update(client, old, archive, wanted, terminal)
        require_ready(function)
        version = _publish(client, name, options.alias) if options.publish or options.alias else None
        url = make_url(client, name)["FunctionUrl"] if options.url else None
    _report(options, function, changes, version, url)
    return 0


def _entry(options: argparse.Namespace, old: dict[str, Any] | None) -> Entry:
    """As it was asked for; else as it is deployed, if the folder still has that; else as the folder's files say."""
    if options.runtime and options.handler:
        return Entry(options.runtime, options.handler)
    if old is not None:
        known = Entry(options.runtime or old["Runtime"], options.handler or old["Handler"])
        if options.handler or missing(known, options.folder, collect(options.folder)) is None:
            return known
    found = detect(options.folder)
    return Entry(options.runtime or found.runtime, options.handler or found.handler)


def _package(folder: Path, entry: Entry, target: Path, terminal: Terminal, *, build: bool) -> None:
    built = dependencies.install(folder, entry.runtime, terminal.doing) if build else None
    files = collect(folder, built)
    if reason := missing(entry, folder, files):
        ignored = " (is it left out by .gitignore? A .hanabiignore goes before it)" if (folder / ".gitignore").is_file() else ""
        raise Failure(f"{folder}: {reason}{ignored}", 2)
    terminal.doing(f"packing {len(files)} files")
    pack(files, target)


def _wanted(options: argparse.Namespace) -> dict[str, Any]:
    """Only what was asked for: an update leaves the rest as it is."""
    wanted: dict[str, Any] = {}
    if options.memory is not None:
        wanted["MemorySize"] = options.memory
    if options.timeout is not None:
        wanted["Timeout"] = options.timeout
    if options.env is not None:
        wanted["Environment"] = {"Variables": dict(map(_variable, options.env))}
    if options.role is not None:
        wanted["Role"] = options.role
    return wanted


def _variable(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise Failure(f"--env {text!r} is not KEY=VALUE", 2)
    return key, value


def _name_of(folder: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-")[:64]
    if not name:
        raise Failure(f"{folder} has no name that a function could have: give --name", 2)
    return name


def _update(
    client: Any, old: dict[str, Any], archive: Path, wanted: dict[str, Any], terminal: Terminal
) -> tuple[dict[str, Any], list[str]]:
    """The function as it is then, and what changed, in words."""
    name = old["FunctionName"]
    old = settle(client, name, terminal)
    changes = [f"{word} {old.get(key)} -> {wanted[key]}" for key, word in SHOWN.items() if key in wanted and wanted[key] != old.get(key)]
    if "Environment" in wanted:
        changes += _variables_changed(old.get("Environment", {}).get("Variables", {}), wanted["Environment"]["Variables"])
    terminal.doing(f"uploading {archive.stat().st_size / 1e6:.1f} MB")
    function = update_code(client, name, archive.read_bytes(), terminal)
    if changes:
        client.update_function_configuration(FunctionName=name, **wanted)
        function = settle(client, name, terminal)
    return function, ["code"] * (function["CodeSha256"] != old["CodeSha256"]) + changes


def _variables_changed(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Names only: values may be secrets."""
    changes = [f"variable {key} {'set' if key not in old else 'changed'}" for key in sorted(new) if old.get(key) != new[key]]
    return changes + [f"variable {key} removed" for key in sorted(old.keys() - new.keys())]


def _publish(client: Any, name: str, alias: str | None) -> str:
    version = str(client.publish_version(FunctionName=name)["Version"])
    if alias:
        try:
            client.update_alias(FunctionName=name, Name=alias, FunctionVersion=version, RoutingConfig={"AdditionalVersionWeights": {}})
        except client.exceptions.ResourceNotFoundException:
            client.create_alias(FunctionName=name, Name=alias, FunctionVersion=version)
    return version


def _report(options: argparse.Namespace, function: dict[str, Any], changes: list[str] | None, version: str | None, url: str | None) -> None:
    name = function["FunctionName"]
    if options.json:
        fields = ("FunctionName", "FunctionArn", "Runtime", "Handler", "CodeSha256", "RevisionId")
        said = {"Created": changes is None, "Changes": changes or [], "Version": version, "FunctionUrl": url}
        print(json.dumps({field: function.get(field) for field in fields} | said))
        return
    done = "created" if changes is None else f"updated ({', '.join(changes)})" if changes else "unchanged"
    print(f"{name} is ready: {function['Runtime']}, {function['Handler']}, {function['MemorySize']} MB, {function['Timeout']} s; {done}")
    if version:
        print(f"  version {version}{f', alias {options.alias}' if options.alias else ''}")
    print(f"  hanabi invoke {name} -p '{{}}' --log")
    print(f"  hanabi logs {name} -f")
    if url:
        print(f"  curl {url}")
