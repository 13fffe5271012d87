"""hanabi images: list, build and remove the runtime roots that functions run on"""

import argparse
import json
import sys
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from hanabi.cli.directory import hold
from hanabi.cli.failure import Failure
from hanabi.cli.table import render
from hanabi.config import guest_dir, load_settings

if TYPE_CHECKING:
    from hanabi.images.roots import Images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "build", "rm"), default="list", help="default: list")
    parser.add_argument("runtimes", nargs="*", metavar="RUNTIME", help="such as python3.13")
    parser.add_argument("--images-dir", metavar="DIR", help="where they live (default: images/ in the data directory)")
    parser.add_argument("--json", action="store_true", help="list as a JSON array")


def run(options: argparse.Namespace) -> int:
    from hanabi.images.roots import Images

    settings = load_settings({name: getattr(options, name, None) for name in ("data_dir", "images_dir")})
    images = Images(settings.images_dir, guest_dir())
    if options.action == "list":
        _list(images, options)
        return 0
    if not options.runtimes:
        raise Failure(f"which runtimes? One or more of {', '.join(row.runtime for row in images.list())}", 2)
    if options.action == "build":
        _build(images, options.runtimes)
    else:
        with hold(settings.data_dir):  # no running node may use what is removed
            _remove(images, options.runtimes)
    return 0


def _list(images: "Images", options: argparse.Namespace) -> None:
    rows = [row for row in images.list() if not options.runtimes or row.runtime in options.runtimes]
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    cells = [(row.runtime, row.digest, "built" if row.built else "-", f"{row.size / 2**20:.0f} MB" if row.size else "-") for row in rows]
    print(render(("RUNTIME", "DIGEST", "STATE", "SIZE"), cells, right=(3,)))


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


def _remove(images: "Images", runtimes: list[str]) -> None:
    for runtime in runtimes:
        if not images.known(runtime):
            raise Failure(f"there is no runtime {runtime}", 2)
    for runtime in runtimes:
        print(f"{runtime} is removed" if images.remove(runtime) else f"{runtime} was not built")
