"""The distribution's packages, fetched and unpacked without installation. Checksums come from apt's signed lists."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from hanabi.base.files import make_open_directory
from hanabi.errors import ImageError
from hanabi.images.builders.download import digest_file, fetch
from hanabi.images.builders.programs import ask, require_program, run
from hanabi.images.builders.progress import ProgressReporter

# 'http://host/pool/name_version_arch.deb' name_version_arch.deb 1504 SHA256:00be...
_OFFER = re.compile(r"'([^']+)' (\S+) (\d+) SHA256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a package; other fields are empty when it is installed already."""

    name: str
    version: str
    url: str = ""
    file: str = ""
    sha256: str = ""


def installed_version(name: str) -> str | None:
    """The installed version, or None."""
    status, _, version = (ask(["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", name]) or "").partition(" ")
    return version if status == "installed" else None


def offered(name: str) -> Package:
    """The version that apt would install. Raises `ImageError`."""
    require_program("apt-get", "apt")
    match = _OFFER.search(ask(["apt-get", "--print-uris", "download", name]) or "")
    if not match:
        raise ImageError(f"apt offers no package {name}: sudo apt-get update, or add a release that has it to its sources")
    url, file, _, sha256 = match.groups()
    return Package(name, unquote(file.split("_")[1]), url, file, sha256)


def depends(name: str, pattern: str) -> str:
    """Find a package's first dependency whose name matches. Raises `ImageError`."""
    for line in (ask(["apt-cache", "depends", "--important", name]) or "").splitlines():
        found = line.strip().removeprefix("Depends: ")
        if re.fullmatch(pattern, found):
            return found
    raise ImageError(f"apt offers no package {name}: sudo apt-get update, or add a release that has it to its sources")


def unpack_package(package: Package, downloads: Path, into: Path, lock: int, reporter: ProgressReporter) -> None:
    """Fetch a package, resuming a download, and unpack it into `into`. Raises `ImageError`."""
    make_open_directory(downloads)
    require_program("dpkg-deb", "dpkg")
    archive = downloads / package.file
    if package.url.startswith(("http:", "https:")):
        fetch(package.url, archive, package.sha256, reporter.counter(f"fetching {package.name}"))
    else:  # apt has ways of its own
        run(["apt-get", "-o", "APT::Sandbox::User=", "download", f"{package.name}={package.version}"], cwd=downloads, lock=lock)
        if not archive.is_file() or digest_file(archive) != package.sha256:
            raise ImageError(f"apt fetched no {package.file}, or not the one that it had offered")
    run(["dpkg-deb", "--extract", archive, into], lock=lock)
    archive.unlink()
