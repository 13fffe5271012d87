"""Fetching Firecracker's official release, in a process of its own.

`python -m hanabi.images.firecracker.release DIRECTORY VERSION SHA256 MIRROR`, the last three may be empty.
Standard output is progress; standard error is why it failed. A download that was cut is gone on from.
"""

import platform
import re
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from hanabi.base.files import make_open_directory
from hanabi.errors import ImageError
from hanabi.images.builders.download import digest_file, fetch, fetch_text, parse_sha256
from hanabi.images.builders.main import run_as_builder
from hanabi.images.builders.progress import ProgressReporter
from hanabi.images.builders.staging import staged_directory
from hanabi.images.firecracker.binaries import NAMES, ask_version, text
from hanabi.images.paths import describe, is_whole

RELEASES = "https://github.com/firecracker-microvm/firecracker/releases/download"
PINNED = "1.16.1"
# Of firecracker-v<version>-<machine>.tgz. For another version the checksum file beside it decides, or `--sha256`.
SHA256 = {("1.16.1", "x86_64"): "382a02a869e4d6d5cb14c40577f9545e8458021ea8b0b2d3fc10ec14d9c242e6"}
ELSEWHERE = (
    "\nWhere that place cannot be reached: name another one by --mirror URL; or a Firecracker that you have, with its jailer beside it, by "
    "`hanabi up --firecracker PATH`, or put both on PATH"
)
MAX_BYTES = 64 << 20  # bytes, of the archive and of each program in it


def fetch_release(directory: Path, version: str, sha256: str, mirror: str, progress: Callable[[str], None]) -> Path:
    """The directory with `firecracker` and `jailer` of a version; `directory` is the images directory. Raises `ImageError`."""
    if not re.fullmatch(r"\d{1,4}\.\d{1,4}\.\d{1,4}", version):
        raise ImageError(f"{version!r} is no version of Firecracker, such as {PINNED}")
    machine = platform.machine()
    archive = f"firecracker-v{version}-{machine}.tgz"
    url = f"{mirror.rstrip('/') or RELEASES}/v{version}/{archive}"
    wanted = parse_sha256(sha256) if sha256 else SHA256.get((version, machine)) or _published(url)
    place = directory / "firecracker" / f"{version}-{wanted[:16]}"
    if is_whole(place):
        return place
    with staged_directory(directory, place, progress) as (made, _):
        if made is not None:
            downloads = directory / "downloads"
            make_open_directory(downloads)
            fetch(url, downloads / archive, wanted, ProgressReporter(progress).counter(f"fetching {archive}"), largest=MAX_BYTES)
            try:
                _unpack(downloads / archive, made, version, machine)
            finally:
                (downloads / archive).unlink()
            describe(made, version=version, sha256={name: digest_file(made / name) for name in NAMES}, built_ms=int(time.time() * 1000))
    return place


def _published(url: str) -> str:
    """Fetch the checksum published beside the archive: as trustworthy as the connection."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ImageError(f"no checksum is known for {url}, and what came with it in the clear would prove nothing: give --sha256")
    return parse_sha256(fetch_text(f"{url}.sha256.txt"))


def _unpack(archive: Path, made: Path, version: str, machine: str) -> None:
    """Unpack only the two programs of the archive."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for name in NAMES:
                member = tar.getmember(f"release-v{version}-{machine}/{name}-v{version}-{machine}")
                source = tar.extractfile(member) if member.isfile() and member.size <= MAX_BYTES else None
                if source is None:
                    raise ImageError(f"{archive.name} has a strange {name}")
                with source, (made / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                (made / name).chmod(0o755)
    except (KeyError, tarfile.TarError, EOFError, OSError) as error:
        raise ImageError(f"{archive.name} is no release of Firecracker: {error}") from None
    for name in NAMES:
        if text(found := ask_version(made / name)) != version:
            raise ImageError(f"the {name} in {archive.name} says that it is {text(found)}")


def main(arguments: list[str]) -> int:
    directory, version, sha256, mirror = arguments

    def build(progress: Callable[[str], None]) -> None:
        fetch_release(Path(directory), version or PINNED, sha256, mirror, progress)

    return run_as_builder(build, lambda error: f"{error}{ELSEWHERE if 'could not be fetched' in str(error) else ''}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
