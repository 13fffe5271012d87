"""hanabi images: list, build and remove what functions run on: runtime roots, guest kernels, Firecracker"""

import argparse
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanabi.cli.directory import hold
from hanabi.cli.failure import Failure
from hanabi.cli.table import render
from hanabi.config import guest_dir, load_settings

if TYPE_CHECKING:
    from hanabi.images.parts import Parts
    from hanabi.images.roots import Images

PARTS = ("kernel", "firecracker")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "build", "rm"), default="list", help="default: list")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a runtime such as python3.13; kernel; firecracker")
    parser.add_argument("--images-dir", metavar="DIR", help="where they live (default: images/ in the data directory)")
    parser.add_argument("--json", action="store_true", help="list as a JSON array")
    build = parser.add_argument_group("to build kernel")
    way = build.add_mutually_exclusive_group()
    way.add_argument("--from", dest="way", choices=("own", "cloud"), help="our own configuration (default), or Debian's kernel")
    way.add_argument("--from-file", metavar="PATH", help="a kernel that you have: an ELF vmlinux with all that it needs built in")
    fetch = parser.add_argument_group("to build firecracker")
    fetch.add_argument("--version", default="", metavar="V", help="the release, such as 1.16.1")
    fetch.add_argument("--sha256", default="", metavar="HEX", help="checksum of the release's archive")
    fetch.add_argument("--mirror", default="", metavar="URL", help="where releases are fetched from instead of the official place")


def run(options: argparse.Namespace) -> int:
    from hanabi.images.parts import Parts
    from hanabi.images.roots import Images

    _refuse_what_would_have_no_effect(options)
    settings = load_settings({name: getattr(options, name, None) for name in ("data_dir", "images_dir")})
    images, parts = Images(settings.images_dir, guest_dir()), Parts(settings.images_dir)
    if options.action == "list":
        _list(images, parts, options)
        return 0
    if not options.names:
        raise Failure(f"what? One or more of {', '.join([*(row.runtime for row in images.list()), *PARTS])}", 2)
    if options.action == "build":
        _build(images, parts, options)
    else:
        with hold(settings.data_dir):  # no running node may use what is removed
            _remove(images, parts, options.names)
    return 0


def _refuse_what_would_have_no_effect(options: argparse.Namespace) -> None:
    given = {"kernel": ("way", "from_file"), "firecracker": ("version", "sha256", "mirror")}
    for name, flags in given.items():
        if any(getattr(options, flag) for flag in flags) and not (options.action == "build" and name in options.names):
            flag = next(flag for flag in flags if getattr(options, flag)).replace("way", "from").replace("_", "-")
            raise Failure(f"--{flag} is for `hanabi images build {name}`", 2)


def _list(images: "Images", parts: "Parts", options: argparse.Namespace) -> None:
    def wanted(*names: str) -> bool:
        return not options.names or any(name in options.names for name in names)

    roots = [row for row in images.list() if wanted(row.runtime)]
    there = [row for row in parts.list() if wanted(row.part)]
    if options.json:
        print(json.dumps([*map(asdict, roots), *map(asdict, there)]))
        return
    cells = [(row.runtime, row.digest, "built" if row.built else "-", _megabytes(row.size)) for row in roots]
    cells += [(f"{row.part} {row.name}", row.digest, "used" if row.used else "built", _megabytes(row.size)) for row in there]
    print(render(("NAME", "DIGEST", "STATE", "SIZE"), cells, right=(3,)))


def _megabytes(size: int | None) -> str:
    return f"{size / 2**20:.0f} MB" if size else "-"


def _build(images: "Images", parts: "Parts", options: argparse.Namespace) -> None:
    import asyncio

    from hanabi.cli.progress import Progress

    shown = Progress(sys.stderr)

    def start(name: str) -> Awaitable[Any]:
        show: Callable[[str], None] = partial(shown.show, name)
        if name == "kernel":
            return parts.build_kernel(options.way or "own", Path(options.from_file) if options.from_file else None, show)
        if name == "firecracker":
            return parts.build_firecracker(options.version, options.sha256, options.mirror, show)
        return _root(images, name, show)

    async def build() -> None:
        try:
            for name in options.names:
                made = await start(name)
                shown.end()
                print(f"{name} is ready: {made}", flush=True)
        finally:
            shown.end()
            await images.close()

    asyncio.run(build())


async def _root(images: "Images", runtime: str, show: Callable[[str], None]) -> Path:
    return (await images.ensure(runtime, show)).root


def _remove(images: "Images", parts: "Parts", names: list[str]) -> None:
    for name in names:
        if name not in PARTS and not images.known(name):
            raise Failure(f"there is no runtime {name}", 2)
    for name in names:
        removed = parts.remove(name) if name in PARTS else images.remove(name)
        print(f"{name} is removed" if removed else f"{name} was not built")
