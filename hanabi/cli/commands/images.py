"""hanabi images: list, build, add and remove what functions run on: runtime roots, container images, guest kernels, Firecracker"""

import argparse
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanabi.cli.data_directory import lock_directory
from hanabi.cli.failure import Failure
from hanabi.cli.table import render
from hanabi.images.runtimes.names import NAMES
from hanabi.images.runtimes.sources import AWS, CHOICES, DISTRIBUTION
from hanabi.node.config import guest_dir, load_settings

if TYPE_CHECKING:
    from hanabi.images.microvm_parts import MicroVmParts
    from hanabi.images.runtimes.listing import RuntimeListing
    from hanabi.images.runtimes.roots import RuntimeImages

ACTIONS = ("list", "build", "pull", "add", "rm", "remove")
PARTS = ("kernel", "firecracker", "snapshots")
_SETTINGS = ("data_dir", "images_dir", "insecure_registry", "runtimes", "registry_mirror", "runtime_images", "runtime_substitute")
CONCURRENT_BUILDS = 2  # builds: most of each is waiting for the network, or for one core


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", help="default: list; `remove` is `rm`")
    about = "a runtime such as python3.13; kernel; firecracker; to remove snapshots; for `add` a name and docker://... or oci:PATH[:TAG]"
    parser.add_argument("names", nargs="*", metavar="NAME", help=about)
    parser.add_argument("--images-dir", metavar="DIR", help="where they live (default: images/ in the data directory)")
    parser.add_argument("--insecure-registry", action="append", metavar="HOST", help="to add and pull: no TLS there; may be repeated")
    parser.add_argument("--runtimes", choices=CHOICES, help="where runtimes come from, to list them (default: auto)")
    parser.add_argument("--registry-mirror", metavar="HOST[/PREFIX]", help="to list and pull: in place of AWS's registry")
    parser.add_argument("--runtime-images", metavar="DIR", help="to list and pull: AWS's base images as OCI layouts on disk")
    parser.add_argument("--runtime-substitute", action="append", metavar="R=R", help="to list: as given to `hanabi up`")
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
    from hanabi.images.microvm_parts import MicroVmParts
    from hanabi.images.runtimes.roots import RuntimeImages

    _refuse_what_would_have_no_effect(options)
    settings = load_settings({name: getattr(options, name, None) for name in _SETTINGS})
    images = RuntimeImages(settings.images_dir, guest_dir(), settings.runtime_sources)
    parts = MicroVmParts(settings.images_dir)
    if options.action == "list":
        _list(images, parts, settings.images_dir, options)
        return 0
    if options.action == "add":
        _add(images, settings.images_dir, options.names, settings.insecure_registry)
        return 0
    if not options.names:
        raise Failure(f"what? One or more of {', '.join([*NAMES, *PARTS])}", 2)
    if options.action in ("build", "pull"):
        _build(images, parts, options)
    else:
        _remove(images, parts, settings.images_dir, settings.data_dir, options.names)
    return 0


def _refuse_what_would_have_no_effect(options: argparse.Namespace) -> None:
    given = {"kernel": ("way", "from_file"), "firecracker": ("version", "sha256", "mirror")}
    for name, flags in given.items():
        if any(getattr(options, flag) for flag in flags) and not (options.action == "build" and name in options.names):
            flag = next(flag for flag in flags if getattr(options, flag)).replace("way", "from").replace("_", "-")
            raise Failure(f"--{flag} is for `hanabi images build {name}`", 2)
    if options.insecure_registry and options.action not in ("add", "pull"):
        raise Failure("--insecure-registry is for `hanabi images add`, `hanabi images pull` and `hanabi up`", 2)
    if options.runtimes and options.action != "list":
        raise Failure(
            "--runtimes is for `hanabi images list` and `hanabi up`: `build` builds of packages, `pull` pulls AWS's base images", 2
        )


def _list(images: "RuntimeImages", parts: "MicroVmParts", directory: Path, options: argparse.Namespace) -> None:
    def wanted(*names: str) -> bool:
        return not options.names or any(name in options.names for name in names)

    from hanabi.images.runtimes.listing import list_runtimes

    listed = [row for row in list_runtimes(images, directory) if row.runtime in options.names or row.runtime in NAMES]
    roots = [row for row in listed if wanted(row.runtime)]  # those that AWS no longer creates functions of: by name only
    there = [row for row in parts.list() if wanted(row.part)]
    containers = [row for row in _containers(directory) if wanted(*row["names"])]
    if options.json:
        print(json.dumps([*map(asdict, roots), *map(asdict, there), *containers]))
        return
    cells = [(row.runtime, row.digest, _state(row), row.source, _megabytes(row.size), row.how) for row in roots]
    cells += [(f"{row.part} {row.name}", row.digest, "used" if row.used else "built", "", _megabytes(row.size), "") for row in there]
    cells += [
        (", ".join(row["names"]) or row["image"], row["digest"][:16], "pulled", "", _megabytes(row["size"]), "") for row in containers
    ]
    how = "HOW TO GET IT, OR WHAT TO DO INSTEAD" if any(cell[-1] for cell in cells) else ""
    print(render(("NAME", "DIGEST", "STATE", "SOURCE", "SIZE", how), cells, right=(4,)))


def _state(row: "RuntimeListing") -> str:
    if row.built:
        return "pulled" if row.source == AWS else "built"
    return ("can be pulled" if row.source == AWS else "can be built") if row.available else "not here"


def _containers(directory: Path) -> list[dict[str, Any]]:
    """List unpacked container images with their names."""
    from hanabi.images.containers.paths import RUNTIMES, list_kept, read_names

    names, runtimes = read_names(directory), {each.digest for each in read_names(directory, RUNTIMES)}
    rows = [asdict(kept) | {"names": [each.name for each in names if each.digest == kept.digest]} for kept in list_kept(directory)]
    return [row for row in rows if row["names"] or row["digest"] not in runtimes]  # the others are listed as runtimes


def _add(images: "RuntimeImages", directory: Path, words: list[str], plain: tuple[str, ...]) -> None:
    import asyncio

    from hanabi.cli.progress import Progress
    from hanabi.images.containers.container_images import add

    if len(words) != 2:
        raise Failure("hanabi images add NAME docker://HOST/REPOSITORY:TAG, or oci:PATH[:TAG], or oci-archive:PATH[:TAG]", 2)
    name, image = words
    if name in PARTS or images.known(name):
        raise Failure(f"{name} is the name of something else", 2)
    shown = Progress(sys.stderr)
    try:
        named = asyncio.run(add(directory, name, _absolute(image), plain, partial(shown.show, name)))
    finally:
        shown.end()
    print(f"{name} is {named.image}", flush=True)


def _absolute(image: str) -> str:
    """Make a path in an image reference absolute, from the current directory."""
    transport, colon, path = image.partition(":")
    return f"{transport}:{Path(path).absolute()}" if colon and transport in ("oci", "oci-archive") else image


def _megabytes(size: int | None) -> str:
    return f"{size / 2**20:.0f} MB" if size else "-"


def _build(images: "RuntimeImages", parts: "MicroVmParts", options: argparse.Namespace) -> None:
    import asyncio

    from hanabi.cli.progress import Progress

    if options.action == "pull" and (parts_named := [name for name in options.names if name in PARTS]):
        raise Failure(f"{', '.join(parts_named)}: `hanabi images pull` is for runtimes", 2)
    if "snapshots" in options.names:
        raise Failure("snapshots are made by `hanabi up`, for the runtimes that functions use", 2)
    shown = Progress(sys.stderr)

    def start(name: str) -> Awaitable[Any]:
        show: Callable[[str], None] = partial(shown.show, name)
        if name == "kernel":
            return parts.build_kernel(options.way or "own", Path(options.from_file) if options.from_file else None, show)
        if name == "firecracker":
            return parts.build_firecracker(options.version, options.sha256, options.mirror, show)
        return _root(images, name, show, AWS if options.action == "pull" else DISTRIBUTION)

    room = asyncio.Semaphore(CONCURRENT_BUILDS)

    async def make(name: str) -> None:
        async with room:
            made = await start(name)
        shown.end()
        print(f"{name} is ready: {made}", flush=True)

    async def build() -> None:
        tasks = [asyncio.create_task(make(name), name=f"build {name}") for name in dict.fromkeys(options.names)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            shown.end()
            await images.close()

    asyncio.run(build())


async def _root(images: "RuntimeImages", runtime: str, show: Callable[[str], None], source: str) -> Path:
    return (await images.ensure(runtime, show, source=source)).root


def _remove(images: "RuntimeImages", parts: "MicroVmParts", directory: Path, data_dir: Path, names: list[str]) -> None:
    """Remove an image. Runtimes and parts are deleted at once; a container image goes to the trash when unused."""
    from hanabi.images.containers.paths import RUNTIMES, read_name

    built = [name for name in names if name in PARTS or images.known(name)]
    for name in names:
        if name not in built and read_name(directory, name) is None:
            raise Failure(f"there is no runtime {name}, and no image was added under that name", 2)
    if built:
        with lock_directory(data_dir):  # no running node may use what is removed
            pulled = {named.digest for name in built if (named := read_name(directory, name, RUNTIMES))}
            for name in built:
                removed = parts.remove(name) if name in PARTS else images.remove(name)
                print(f"{name} is removed" if removed else f"{name} was not built")
            if pulled:
                _sweep(directory, pulled)
    if added := [name for name in names if name not in built]:
        _forget(directory, added)


def _forget(directory: Path, names: list[str]) -> None:
    from hanabi.images.containers.paths import read_name, remove_name

    meant = {named.digest for name in names if (named := read_name(directory, name))}
    for name in names:
        remove_name(directory, name)
        print(f"{name} is removed")
    _sweep(directory, meant)


def _sweep(directory: Path, meant: set[str]) -> None:
    """Move these images to the trash, by digest, unless something else needs them."""
    from hanabi.images.containers.paths import prepare, sweep
    from hanabi.images.trash import Trash

    prepare(directory)
    sweep(directory, Trash(directory), time.time(), at_once=meant)
