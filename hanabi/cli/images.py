"""hanabi images: list, build and remove the runtime roots that functions run on; add container images under a name"""

import argparse
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanabi.cli.directory import hold
from hanabi.cli.failure import Failure
from hanabi.cli.table import render
from hanabi.config import guest_dir, load_settings

if TYPE_CHECKING:
    from hanabi.images.roots import Images

ACTIONS = ("list", "build", "add", "rm", "remove")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", help="default: list; `remove` is `rm`")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="runtimes, such as python3.13; for `add` a name and docker://... or oci:PATH[:TAG]",
    )
    parser.add_argument("--images-dir", metavar="DIR", help="where they live (default: images/ in the data directory)")
    parser.add_argument("--insecure-registry", action="append", metavar="HOST", help="pull from it without TLS; may be repeated")
    parser.add_argument("--json", action="store_true", help="list as a JSON array")


def run(options: argparse.Namespace) -> int:
    from hanabi.images.roots import Images

    settings = load_settings({name: getattr(options, name, None) for name in ("data_dir", "images_dir", "insecure_registry")})
    images = Images(settings.images_dir, guest_dir())
    if options.action == "list":
        _list(images, settings.images_dir, options)
    elif options.action == "add":
        _add(images, settings.images_dir, options.names, settings.insecure_registry)
    elif not options.names:
        raise Failure(f"which runtimes? One or more of {', '.join(row.runtime for row in images.list())}", 2)
    elif options.action == "build":
        _build(images, options.names)
    else:
        _remove(images, settings.images_dir, settings.data_dir, options.names)
    return 0


def _list(images: "Images", directory: Path, options: argparse.Namespace) -> None:
    rows = [row for row in images.list() if not options.names or row.runtime in options.names]
    containers = [row for row in _containers(directory) if not options.names or set(row["names"]) & set(options.names)]
    if options.json:
        print(json.dumps([*map(asdict, rows), *containers]))
        return
    cells = [(row.runtime, row.digest, "built" if row.built else "-", f"{row.size / 2**20:.0f} MB" if row.size else "-") for row in rows]
    if cells:
        print(render(("RUNTIME", "DIGEST", "STATE", "SIZE"), cells, right=(3,)))
    if containers:
        pulled = [(", ".join(row["names"]) or "-", row["digest"][:16], row["image"], f"{row['size'] / 2**20:.0f} MB") for row in containers]
        print(("\n" if cells else "") + render(("NAME", "DIGEST", "IMAGE", "SIZE"), pulled, right=(3,)))


def _containers(directory: Path) -> list[dict[str, Any]]:
    """The container images that are unpacked, with the names that were given to them."""
    from hanabi.images.oci.places import list_kept, read_names

    names = read_names(directory)
    return [asdict(kept) | {"names": [each.name for each in names if each.digest == kept.digest]} for kept in list_kept(directory)]


def _add(images: "Images", directory: Path, words: list[str], plain: tuple[str, ...]) -> None:
    import asyncio

    from hanabi.images.containers import add

    if len(words) != 2:
        raise Failure("hanabi images add NAME docker://HOST/REPOSITORY:TAG, or oci:PATH[:TAG], or oci-archive:PATH[:TAG]", 2)
    name, image = words
    if images.known(name):
        raise Failure(f"{name} is the name of a runtime", 2)
    named = asyncio.run(add(directory, name, _absolute(image), plain, lambda line: print(line, file=sys.stderr, flush=True)))
    print(f"{name} is {named.image}", flush=True)


def _absolute(image: str) -> str:
    """A path in it is meant from here."""
    transport, colon, path = image.partition(":")
    return f"{transport}:{Path(path).absolute()}" if colon and transport in ("oci", "oci-archive") else image


def _build(images: "Images", runtimes: list[str]) -> None:
    import asyncio

    def show(runtime: str, line: str) -> None:
        print(f"{runtime}: {line}", file=sys.stderr, flush=True)

    async def build() -> None:
        try:
            for runtime in runtimes:
                image = await images.ensure(runtime, partial(show, runtime))
                print(f"{runtime} is ready: {image.root}", flush=True)
        finally:
            await images.close()

    asyncio.run(build())


def _remove(images: "Images", directory: Path, data_dir: Path, names: list[str]) -> None:
    """A runtime's roots go at once, a container image when no function uses it any more."""
    from hanabi.images.oci.places import prepare, read_name, remove_name, sweep

    for name in names:
        if not images.known(name) and read_name(directory, name) is None:
            raise Failure(f"there is no runtime {name}, and no image was added under that name", 2)
    runtimes = [name for name in names if images.known(name)]
    if runtimes:
        with hold(data_dir):  # no running node may use what is removed
            for runtime in runtimes:
                print(f"{runtime} is removed" if images.remove(runtime) else f"{runtime} was not built")
    added = [name for name in names if name not in runtimes]
    for name in added:
        remove_name(directory, name)
        print(f"{name} is removed")
    if added:
        prepare(directory)
        sweep(directory)
