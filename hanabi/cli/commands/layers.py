"""hanabi layers: list layers, publish a version of one from a folder or a zip file, delete versions"""

import argparse
import json
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hanabi.cli.failure import Failure
from hanabi.cli.functions import confirm, name_of
from hanabi.cli.server import find_server
from hanabi.cli.source import IGNORE_FILES, PackageFile, collect, pack
from hanabi.cli.table import render
from hanabi.cli.terminal import Terminal
from hanabi.cli.upload import source_of

ACTIONS = ("list", "publish", "delete")
UPLOAD_TIMEOUT_S = 300.0
HEADER = ("LAYER", "VERSION", "RUNTIMES", "SIZE", "PUBLISHED", "DESCRIPTION")
# What a runtime, a loader or Lambda itself looks for in /opt. AWS Lambda developer guide, "Packaging your layer content".
SEARCHED = ("python", "nodejs", "ruby", "java", "bin", "lib", "extensions", "bootstrap", "dotnetcore")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", help="default: list")
    parser.add_argument(
        "what", nargs="?", metavar="WHAT", help="list: a layer, for its versions; publish: a folder or zip file; delete: a layer"
    )
    parser.add_argument("version", nargs="?", metavar="VERSION", help="to delete: the number of the version, or `all`")
    parser.add_argument("--name", help="to publish: name of the layer (default: the folder's)")
    parser.add_argument("--description", metavar="TEXT", help="to publish: of the version")
    parser.add_argument("--license", metavar="TEXT", help="to publish: such as MIT")
    parser.add_argument(
        "--runtime", action="append", metavar="R", help="to publish: a compatible runtime, may be repeated; to list: only those of it"
    )
    parser.add_argument(
        "--architecture", action="append", metavar="A", help="to publish: x86_64 or arm64, may be repeated; to list: only those of it"
    )
    parser.add_argument("--yes", action="store_true", help="to delete: do not ask, on a terminal")
    parser.add_argument("--json", action="store_true", help="print JSON: an array of what is listed, or what was published")


def run(options: argparse.Namespace) -> int:
    if options.version and options.action != "delete":
        raise Failure(f"{options.version}: there is no such argument of `hanabi layers {options.action}`", 2)
    server = find_server(options)
    client = server.client("lambda", read_timeout=UPLOAD_TIMEOUT_S)
    if options.action == "list":
        _list(client, options)
        return 0
    if not options.what:
        raise Failure("what? A folder or a zip file" if options.action == "publish" else "which? The name of a layer, and a version", 2)
    if options.action == "delete":
        _delete(client, options)
        return 0
    with tempfile.TemporaryDirectory(prefix="hanabi-layer-") as scratch, Terminal(sys.stderr) as terminal:
        path = Path(options.what)
        name = options.name or name_of(path)
        archive = _package(path, Path(scratch) / "layer.zip", terminal)
        content = source_of(server, archive, terminal)
        version = client.publish_layer_version(LayerName=name, Content=content, **_described(options))
    if options.json:
        print(json.dumps(_plain(version)))
    else:
        print(f"{name} version {version['Version']} is published: {version['LayerVersionArn']}")
        print(f"  hanabi deploy DIR --layer {version['LayerVersionArn']}")
    return 0


def _described(options: argparse.Namespace) -> dict[str, Any]:
    given = {
        "Description": options.description,
        "LicenseInfo": options.license,
        "CompatibleRuntimes": options.runtime,
        "CompatibleArchitectures": options.architecture,
    }
    return {member: value for member, value in given.items() if value is not None}


def _package(path: Path, target: Path, terminal: Terminal) -> Path:
    """Return the zip file to publish: the given one as it is, or one of a folder, whose links stay links."""
    if path.is_file():
        if not zipfile.is_zipfile(path):
            raise Failure(f"{path} is no zip file", 2)
        return path
    if not path.is_dir():
        raise Failure(f"{path} is no directory, and no zip file", 2)
    files = collect(path, ignore_files=IGNORE_FILES[:1])  # what a layer is built of is often what git ignores
    if not files:
        raise Failure(f"{path} has no files", 2)
    if not {name.partition("/")[0] for name in files} & set(SEARCHED):
        print(f"note: {path} becomes /opt, where runtimes look into {', '.join(SEARCHED)}; it has none of these", file=sys.stderr)
    terminal.doing(f"packing {len(files)} files")
    pack({name: _keep_link(found, path) for name, found in files.items()}, target)
    return target


def _keep_link(found: PackageFile, folder: Path) -> PackageFile:
    """Pack a link that stays in the folder as a link: it leads to the same file in /opt."""
    if not found.path.is_symlink() or found.path.readlink().is_absolute():
        return found
    return replace(found, link=found.link or found.path.resolve().is_relative_to(folder.resolve()))


def _list(client: Any, options: argparse.Namespace) -> None:
    given = {"CompatibleRuntime": options.runtime, "CompatibleArchitecture": options.architecture}
    filters = {member: values[0] for member, values in given.items() if values}
    if options.what:
        pages = client.get_paginator("list_layer_versions").paginate(LayerName=options.what, **filters)
        versions = [{"LayerName": options.what, **version} for page in pages for version in page["LayerVersions"]]
    else:
        pages = client.get_paginator("list_layers").paginate(**filters)
        versions = [{"LayerName": layer["LayerName"], **layer["LatestMatchingVersion"]} for page in pages for layer in page["Layers"]]
    for version in versions:  # lists carry no size
        version["CodeSize"] = _size(client, version["LayerVersionArn"])
    if options.json:
        print(json.dumps(versions))
    elif versions:
        print(render(HEADER, [_row(version) for version in versions], right=(1, 3)))
    elif options.what:
        print(f"there is no version of a layer {options.what}")
    else:
        print("no layers: hanabi layers publish DIR makes one")


def _size(client: Any, arn: str) -> int | None:
    try:
        return int(client.get_layer_version_by_arn(Arn=arn)["Content"]["CodeSize"])
    except client.exceptions.ResourceNotFoundException:  # deleted meanwhile
        return None


def _row(version: dict[str, Any]) -> tuple[object, ...]:
    size = version["CodeSize"]
    return (
        version["LayerName"],
        version["Version"],
        ", ".join(version.get("CompatibleRuntimes") or ["any"]),
        "-" if size is None else f"{size / 1e6:.1f} MB",
        version["CreatedDate"][:16].replace("T", " "),
        version.get("Description") or "",
    )


def _delete(client: Any, options: argparse.Namespace) -> None:
    if options.version is None or not (options.version == "all" or options.version.isdecimal()):
        raise Failure("which version? Its number, or all", 2)
    pages = client.get_paginator("list_layer_versions").paginate(LayerName=options.what)
    there = [version["Version"] for page in pages for version in page["LayerVersions"]]
    wanted = there if options.version == "all" else [number for number in there if number == int(options.version)]
    if not wanted:
        raise Failure(f"there is no {'version' if options.version == 'all' else f'version {options.version}'} of a layer {options.what}")
    numbers = ", ".join(map(str, sorted(wanted)))
    confirm(options, f"Delete version {numbers} of {options.what}? Functions that have it keep it.")
    for number in wanted:
        client.delete_layer_version(LayerName=options.what, VersionNumber=number)
    print(f"deleted version {numbers} of {options.what}")


def _plain(version: dict[str, Any]) -> dict[str, Any]:
    return {member: value for member, value in version.items() if member != "ResponseMetadata"}
