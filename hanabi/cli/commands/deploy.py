"""hanabi deploy: create or update a function from a folder that holds its handler, or from a zip file"""

import argparse
import json
import shlex
import sys
import tempfile
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.cli import dependencies
from hanabi.cli.archive import inspect_archive
from hanabi.cli.failure import Failure
from hanabi.cli.functions import default_role, find, layer_arn, make_url, name_of, require_ready, update_code, wait_until_settled
from hanabi.cli.handlers import EntryPoint, detect, missing
from hanabi.cli.server import Server, find_server
from hanabi.cli.source import collect, pack, refuse_template
from hanabi.cli.terminal import Terminal
from hanabi.cli.upload import source_of

UPLOAD_TIMEOUT_S = 300.0
ROLE = "hanabi-default"
SHOWN = {"Runtime": "runtime", "Handler": "handler", "MemorySize": "memory", "Timeout": "timeout", "Role": "role"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="a folder with a handler, or a zip file of one")
    parser.add_argument("--name", help="function name (default: the folder's)")
    parser.add_argument("--runtime", help="such as python3.13 (default: as deployed before, else by the folder's files)")
    parser.add_argument("--handler", help="such as app.handler (default: as deployed before, else by the folder's files)")
    parser.add_argument("--memory", type=int, metavar="MB", help="memory, and CPU with it (default: 128)")
    parser.add_argument("--timeout", type=int, metavar="S", help="seconds an invocation may take (default: 3)")
    parser.add_argument("--env", action="append", metavar="KEY=VALUE", help="a variable; may be repeated; replaces all that were set")
    parser.add_argument(
        "--layer", action="append", metavar="ARN", help="a layer, by ARN or as NAME[:VERSION]; may be repeated; replaces all"
    )
    parser.add_argument("--no-layers", action="store_true", help="take all layers from the function")
    parser.add_argument("--role", metavar="ARN", help=f"role whose credentials the function gets (default: {ROLE}, made when missing)")
    parser.add_argument("--no-build", action="store_true", help="install no dependencies; take the folder as it is")
    parser.add_argument("--publish", action="store_true", help="publish a version of what was deployed")
    parser.add_argument("--alias", metavar="NAME", help="publish a version, and let this alias name it")
    parser.add_argument("--url", action="store_true", help="give the function a URL that anybody may call")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


@dataclass(frozen=True, slots=True)
class DeploySource:
    """The source to deploy: a folder, or a zip file and a folder with some of its files."""

    path: Path  # as it was named
    folder: Path
    names: Collection[str]
    archive: Path | None = None


def run(options: argparse.Namespace) -> int:
    path: Path = options.folder
    refuse_template(path)
    if not path.is_dir() and not path.is_file():
        raise Failure(f"{path} is no directory, and no zip file", 2)
    if path.is_file() and not zipfile.is_zipfile(path):
        raise Failure(f"{path} is no zip file; to deploy the folder that holds it: hanabi deploy {shlex.quote(str(path.parent))}", 2)
    name = options.name or name_of(path)
    terminal = Terminal(sys.stderr)
    wanted = _wanted(options)
    server = find_server(options)
    client = server.client("lambda", read_timeout=UPLOAD_TIMEOUT_S)
    if options.layer or options.no_layers:
        wanted["Layers"] = [layer_arn(client, each) for each in options.layer or ()]
    old = find(client, name)
    if old is not None and old.get("PackageType") == "Image":
        raise Failure(f"{name} is made of a container image; a folder is another function: give it another --name", 2)
    with tempfile.TemporaryDirectory(prefix="hanabi-deploy-") as scratch, terminal:
        given = _look(options, old, Path(scratch))
        entry = _entry(options, old, given)
        layered = bool(wanted.get("Layers", old and old.get("Layers")))
        archive = _package(given, entry, Path(scratch) / "function.zip", terminal, build=not options.no_build, layered=layered)
        if old is None:
            role = options.role or default_role(server, ROLE)
            wanted = {"Role": role, "Runtime": entry.runtime, "Handler": entry.handler} | wanted
            client.create_function(FunctionName=name, Code=source_of(server, archive, terminal), **wanted)
            function = wait_until_settled(client, name, terminal)
            changes: list[str] | None = None
        else:
            wanted = {"Runtime": entry.runtime, "Handler": entry.handler} | wanted
            function, changes = _update(server, client, old, archive, wanted, terminal)
        require_ready(function)
        version = _publish(client, name, options.alias) if options.publish or options.alias else None
        url = make_url(client, name)["FunctionUrl"] if options.url else None
    _report(options, function, changes, version, url)
    return 0


def _look(options: argparse.Namespace, old: dict[str, Any] | None, scratch: Path) -> DeploySource:
    path: Path = options.folder
    if path.is_dir():
        return DeploySource(path, path, collect(path))
    view = scratch / "view"
    view.mkdir()
    handlers = filter(None, (options.handler, old["Handler"] if old else None))
    return DeploySource(path, view, inspect_archive(path, view, handlers), path)


def _entry(options: argparse.Namespace, old: dict[str, Any] | None, given: DeploySource) -> EntryPoint:
    """Choose the entry point: the requested one; else the deployed one, if the folder still has it; else by the folder's files."""
    if options.runtime and options.handler:
        return EntryPoint(options.runtime, options.handler)
    if old is not None:
        known = EntryPoint(options.runtime or old["Runtime"], options.handler or old["Handler"])
        if options.handler or missing(known, given.folder, given.names) is None:
            return known
    try:
        found = detect(given.folder)
    except Failure as failure:
        raise _named(failure, given) from None
    return EntryPoint(options.runtime or found.runtime, options.handler or found.handler)


def _package(given: DeploySource, entry: EntryPoint, target: Path, terminal: Terminal, *, build: bool, layered: bool) -> Path:
    """Make the zip file to upload. `layered`: the function has layers. Raises `Failure` when the handler is missing."""
    if given.archive is not None:
        if reason := missing(entry, given.folder, given.names, layered=layered):
            raise _named(Failure(f"{given.path}: {reason}", 2), given)
        return given.archive
    built = dependencies.install(given.folder, entry.runtime, terminal.doing) if build else None
    files = collect(given.folder, built)
    if reason := missing(entry, given.folder, files, layered=layered):
        ignored = " (is it left out by .gitignore? A .hanabiignore goes before it)" if (given.folder / ".gitignore").is_file() else ""
        raise Failure(f"{given.path}: {reason}{ignored}", 2)
    terminal.doing(f"packing {len(files)} files")
    pack(files, target)
    return target


def _named(failure: Failure, given: DeploySource) -> Failure:
    """Name the user's source in a message, not the folder with its extracted files."""
    return Failure(str(failure).replace(f"{given.folder}/", "").replace(str(given.folder), str(given.path)), failure.status)


def _wanted(options: argparse.Namespace) -> dict[str, Any]:
    """Collect the requested settings only: an update leaves the rest unchanged."""
    wanted: dict[str, Any] = {}
    if options.memory is not None:
        wanted["MemorySize"] = options.memory
    if options.timeout is not None:
        wanted["Timeout"] = options.timeout
    if options.env is not None:
        wanted["Environment"] = {"Variables": dict(map(_variable, options.env))}
    if options.role is not None:
        wanted["Role"] = options.role
    if options.layer and options.no_layers:
        raise Failure("--layer and --no-layers contradict each other", 2)
    return wanted


def _variable(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise Failure(f"--env {text!r} is not KEY=VALUE", 2)
    return key, value


def _update(
    server: Server, client: Any, old: dict[str, Any], archive: Path, wanted: dict[str, Any], terminal: Terminal
) -> tuple[dict[str, Any], list[str]]:
    """Update the function; returns it, and what changed as text."""
    name = old["FunctionName"]
    old = wait_until_settled(client, name, terminal)
    changes = [f"{word} {old.get(key)} -> {wanted[key]}" for key, word in SHOWN.items() if key in wanted and wanted[key] != old.get(key)]
    if "Environment" in wanted:
        changes += _variables_changed(old.get("Environment", {}).get("Variables", {}), wanted["Environment"]["Variables"])
    if "Layers" in wanted:
        changes += _layers_changed([layer["Arn"] for layer in old.get("Layers", ())], wanted["Layers"])
    function = update_code(client, name, source_of(server, archive, terminal), terminal)
    if changes:
        client.update_function_configuration(FunctionName=name, **wanted)
        function = wait_until_settled(client, name, terminal)
    return function, ["code"] * (function["CodeSha256"] != old["CodeSha256"]) + changes


def _layers_changed(old: list[str], new: list[str]) -> list[str]:
    names = [", ".join(":".join(arn.split(":")[6:]) for arn in arns) or "none" for arns in (old, new)]
    return [] if old == new else [f"layers {names[0]} -> {names[1]}"]


def _variables_changed(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """List changed variables by name only: values may be secrets."""
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
