"""Read-only drives of microVMs, each packed once from a directory tree and shared by all clones.

    <images>/drives/<runtime>-<digest>.erofs   a runtime root with its bootstrap, the agent and its few own files
    <images>/drives/empty.erofs                stands in for a drive that is not known yet
    <images>/containers/<hex>-r1/root-<digest>.erofs   beside an unpacked container image, with which it is removed
    <data>/code/<sha256>/task.erofs            beside the unpacked code, with which it is collected

A drive appears complete under its name, mode 0444, and never changes.
"""

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from hanabi.base.files import make_open_directory
from hanabi.base.processes import run_group
from hanabi.base.tasks import SingleFlight
from hanabi.contracts.images import RuntimeImage
from hanabi.errors import ImageError
from hanabi.images.builders.programs import SEARCHED, require_program
from hanabi.images.drives import packing

REVISION = 1  # raise it when `packing` makes something else of the same tree
FILE_SYSTEM = "erofs"
SUFFIX = ".erofs"
PACK_S = 600.0  # another process's packing that is waited for included
CONCURRENT_PACKS = 2  # packers

Extras = Mapping[str, "Path | str"]  # place on the drive -> a file or a directory of the host, or a text


class Drives:
    """`of_image`, `of_directory` and `empty` give the path of a drive, packed now if need be. Its packers are processes; `close` ends them.

    `agent` is the first process of a machine; `resolv_conf` and `hosts` are the contents of those files in /etc of every root.
    """

    file_system = FILE_SYSTEM

    def __init__(
        self, images: Path, agent: Path, *, resolv_conf: str = "", hosts: str = "127.0.0.1 localhost sandbox.localdomain sandbox\n"
    ) -> None:
        self._directory = images / "drives"
        self._agent = agent
        self._agent_digest = ""
        self._resolv_conf = resolv_conf
        self._hosts = hosts
        self._packing: SingleFlight[Path, None] = SingleFlight()
        self._semaphore = asyncio.Semaphore(CONCURRENT_PACKS)

    async def of_image(self, image: RuntimeImage) -> Path:
        """A runtime root with its bootstrap at /var/runtime, the agent at /.hanabi/init and the two files of the resolver.

        Its name says what of all these is on it. Raises `ImageError`.
        """
        make_open_directory(self._directory)
        if not self._agent_digest:
            self._agent_digest = await asyncio.to_thread(_digest, self._agent)
        known = (REVISION, image.digest, self._agent_digest, self._resolv_conf, self._hosts)
        identity = hashlib.sha256(repr(known).encode()).hexdigest()[:16]
        extras: dict[str, Path | str] = {} if image.runtime_dir is None else {"/var/runtime": image.runtime_dir}
        extras |= {
            "/.hanabi/init": self._agent,
            "/etc/resolv.conf": self._resolv_conf,
            "/etc/hosts": self._hosts,
        }
        if image.runtime_dir is None:  # a container image's drive is private, and removed with it
            return await self.ensure(image.root.with_name(f"{image.root.name}-{identity}{SUFFIX}"), image.root, extras)
        return await self.ensure(self._directory / f"{image.runtime}-{identity}{SUFFIX}", image.root, extras)

    async def of_directory(self, directory: Path) -> Path:
        """The drive of an unchanged tree (a function's code or a layer), beside it. Raises `ImageError`."""
        return await self.ensure(beside(directory), directory)

    async def empty(self) -> Path:
        """A drive with nothing on it, of one block. Raises `ImageError`."""
        make_open_directory(self._directory)
        nothing = self._directory / "nothing"
        make_open_directory(nothing)
        return await self.ensure(self._directory / f"empty{SUFFIX}", nothing)

    async def ensure(self, drive: Path, tree: Path, extras: Extras | None = None) -> Path:
        """Pack `drive` from a tree and extras, if it is absent. Concurrent callers share one packer.

        Each of `extras` takes its place whole, instead of what the tree has there; on the way to it there may be no symbolic link.
        """
        if os.access(drive, os.F_OK):
            return drive
        await self._packing.run(drive, lambda: self._pack(drive, tree, extras or {}), f"drive {drive.name}")
        return drive

    async def close(self) -> None:
        """Stop running packers."""
        await self._packing.close()

    async def _pack(self, drive: Path, tree: Path, extras: Extras) -> None:
        require_program("mkfs.erofs", "erofs-utils")
        order = {"tree": str(tree), "drive": str(drive), "extras": [_extra(at, what) for at, what in sorted(extras.items())]}
        async with self._semaphore:
            status, said = await _run_packer(json.dumps(order).encode(), drive.name)
        if status:
            raise ImageError(f"The drive {drive.name} could not be made: {said or f'its packer ended with {status}'}")


def beside(tree: Path) -> Path:
    """The path of a tree's drive, packed or not."""
    return tree.with_name(tree.name + SUFFIX)


def remove_drives(images: Path, runtime: str) -> None:
    """Remove the drives of a runtime's roots. No running node may use them."""
    for drive in (images / "drives").glob(f"{runtime}-*{SUFFIX}*"):
        if drive.is_file():
            drive.unlink()


def _extra(at: str, what: Path | str) -> dict[str, str]:
    if isinstance(what, str):
        return {"at": at, "text": what}
    return {"at": at, "directory" if what.is_dir() else "file": str(what)}


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


async def _run_packer(order: bytes, name: str) -> tuple[int, str]:
    """Run a packer; returns (status, why it failed)."""
    command = (sys.executable, "-I", "-S", packing.__file__)
    try:
        ended = await run_group(command, limit_s=PACK_S, environment={"PATH": SEARCHED, "LC_ALL": "C.UTF-8"}, given=order)
    except TimeoutError:
        raise ImageError(f"the drive {name} was not packed within {PACK_S:.0f} s") from None
    return ended.status, ended.said
