"""Paths of guest kernels in the images directory, the chosen kernel, and its initramfs with the agent.

kernels/<name>-<digest>/      vmlinux, modules.cpio for one that needs modules, and about.json
kernels/chosen                a link to the one that is used
initrds/<digest>.cpio         the modules and one version of the agent
downloads/                    what is being fetched
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.base.files import make_open_directory, remove_at_once, write_whole
from hanabi.contracts.images import GuestKernel
from hanabi.errors import ImageError
from hanabi.images.builders.download import digest_file
from hanabi.images.kernels.bzimage import check_elf
from hanabi.images.kernels.initramfs import ArchiveEntry, write_archive
from hanabi.images.paths import is_whole, read_about

VMLINUX, MODULES = "vmlinux", "modules.cpio"
FILES = (VMLINUX, MODULES)
CHOSEN = "chosen"
HOW = "hanabi images build kernel"


@dataclass(frozen=True, slots=True)
class KernelListing:
    """One kernel, as `hanabi images` shows it."""

    name: str
    version: str
    digest: str
    size: int  # bytes
    path: str
    chosen: bool


def kernel_path(directory: Path, name: str, digest: str) -> Path:
    return directory / "kernels" / f"{name}-{digest[:16]}"


def choose(directory: Path, place: Path) -> None:
    """Choose the kernel to use from now on."""
    link = directory / "kernels" / f"{CHOSEN}-{uuid.uuid4().hex}"
    link.symlink_to(place.name)
    link.replace(directory / "kernels" / CHOSEN)


def find_kernel(directory: Path, agent: Path, given: Path | None = None) -> GuestKernel:
    """Find the kernel to boot: a given file, else the chosen one, its checksums verified. Raises `ImageError` with the fix. Blocks."""
    if given is not None:
        return _take(given)
    place, about = verify_chosen(directory)
    initrd, sums = None, [about["sha256"][VMLINUX]]
    if MODULES in about["sha256"]:
        initrd = install_initrd(directory, agent, (place / MODULES).read_bytes())
        sums.append(digest_file(initrd))
    return GuestKernel(about["name"], about["version"], _combine(*sums), place / VMLINUX, initrd, about["boot_args_extra"])


def describe_kernel(directory: Path, given: Path | None = None) -> str:
    """Describe what `find_kernel` would return, for people. Writes nothing. Raises `ImageError`."""
    if given is not None:
        return f"file {_take(given).image}"
    place, about = verify_chosen(directory)
    return f"{about['name']} {about['version']} in {place}"


def _take(given: Path) -> GuestKernel:
    if not given.is_file():
        raise ImageError(f"there is no guest kernel {given}")
    check_elf(given)
    return GuestKernel("file", given.name, _combine(digest_file(given)), given.resolve(), None, "")


def verify_chosen(directory: Path) -> tuple[Path, dict[str, Any]]:
    """Verify the chosen kernel's checksums; returns its place and description. Raises `ImageError`."""
    place = chosen_path(directory)
    if place is None:
        raise ImageError(f"there is no guest kernel: {HOW}")
    about = _read(place)
    for file, wanted in about["sha256"].items():
        if file not in FILES or digest_file(place / file) != wanted:
            raise ImageError(f"{place / file} was changed or is damaged: hanabi images rm kernel, then {HOW}")
    return place, about


def _combine(*sums: str) -> str:
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()


def install_initrd(directory: Path, agent: Path, modules: bytes = b"") -> Path:
    """Make, unless it exists, an initramfs of an archive of modules and the agent as /init. Blocks."""
    content = modules + write_archive([ArchiveEntry("/init", agent.read_bytes(), 0o755)])
    final = directory / "initrds" / f"{hashlib.sha256(content).hexdigest()}.cpio"
    if not final.is_file() or digest_file(final) != final.stem:
        make_open_directory(final.parent)
        write_whole(final, content, mode=0o644)
    return final


def list_kernels(directory: Path) -> list[KernelListing]:
    """List the kernels, the chosen one first."""
    used = chosen_path(directory)
    found = []
    for place in _all(directory):
        about = _read(place)
        digest = place.name.rpartition("-")[2]
        found.append(KernelListing(about["name"], about["version"], digest, int(about["size"]), str(place), place == used))
    return sorted(found, key=lambda row: (not row.chosen, row.name, row.version))


def remove_kernels(directory: Path) -> bool:
    """Remove every kernel and its initramfs files; False when there was none. No running node may use them."""
    found = list(_all(directory))
    (directory / "kernels" / CHOSEN).unlink(missing_ok=True)
    for place in found:
        remove_at_once(place, directory / "building")
    shutil.rmtree(directory / "initrds", ignore_errors=True)
    return bool(found)


def _all(directory: Path) -> Iterator[Path]:
    for place in sorted((directory / "kernels").glob("*-*")):
        if not place.is_symlink() and is_whole(place):
            yield place


def chosen_path(directory: Path) -> Path | None:
    """The place of the chosen kernel."""
    try:
        name = os.readlink(directory / "kernels" / CHOSEN)
    except OSError:
        return None
    place = directory / "kernels" / os.path.basename(name)
    return place if is_whole(place) else None


def _read(place: Path) -> dict[str, Any]:
    try:
        about = read_about(place, name=str, version=str, size=int, sha256=dict, boot_args_extra=str)
    except ImageError as error:
        raise ImageError(f"{place} is damaged ({error}): hanabi images rm kernel, then {HOW}") from None
    if not about["sha256"].keys() >= {VMLINUX}:
        raise ImageError(f"{place} is damaged (no digest of its kernel): hanabi images rm kernel, then {HOW}")
    return about
