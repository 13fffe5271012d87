"""The package of a function from a folder: its files, and their zip file."""

import errno
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.cli.failure import Failure
from hanabi.quotas import UNZIPPED_CODE_BYTES

SKIPPED_DIRECTORIES = {".git", ".hg", ".svn", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".aws-sam"}
SKIPPED_FILES = {".DS_Store", ".git", ".gitignore", ".hanabiignore"}  # .git: of a submodule, or of a work tree
IGNORE_FILES = (".hanabiignore", ".gitignore")  # the first that is there counts, with its like in the folders below
_CHANGED = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ESTALE)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file, so that the same folder gives the same CodeSha256


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One file of a package. `link`: a link that is broken here and is packed as a link."""

    path: Path
    link: bool = False


def collect(folder: Path, built: Path | None = None, ignore_files: Sequence[str] = IGNORE_FILES) -> dict[str, PackageFile]:
    """Collect the files of a package by name. `built` has dependencies; the folder's own files override them."""
    files: dict[str, PackageFile] = {}
    if built is not None:
        files.update(_files(built, None))
    with _reading(folder):
        chosen = next((name for name in ignore_files if (folder / name).is_file()), None)
        own = dict(_files(folder, chosen))
    if built is not None:  # what was installed for the runtime's platform goes before what lies there for this one's
        replaced = {name.partition("/")[0] for name in files if name.startswith("node_modules/")}
        own = {name: found for name, found in own.items() if name.partition("/")[0] not in replaced}
    files.update(own)
    for name in files:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise Failure(f"{folder}: the file name {os.fsencode(name)!r} is not UTF-8, so no zip file can hold it", 2) from None
    return files


def pack(files: dict[str, PackageFile], target: Path) -> None:
    """Make a zip file: the same bytes for the same files."""
    size = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            with _reading(files[name].path):
                mode, content = _read(files[name], UNZIPPED_CODE_BYTES - size)
            info.external_attr = mode << 16
            size += len(content)
            if size >= UNZIPPED_CODE_BYTES:
                raise Failure(
                    f"Unzipped size must be smaller than {UNZIPPED_CODE_BYTES} bytes, which is Lambda's limit: use a container image"
                )
            archive.writestr(info, content)


def _read(found: PackageFile, most: int) -> tuple[int, bytes]:
    """Read a file: (mode, content), at most `most` bytes."""
    if found.link:
        return stat.S_IFLNK | 0o777, os.fsencode(os.readlink(found.path))
    if not stat.S_ISREG(found.path.stat().st_mode):  # to open a FIFO would wait for its other end
        raise Failure(f"{found.path} is neither a file nor a directory", 2)
    with found.path.open("rb") as file:
        return stat.S_IFREG | (0o755 if os.fstat(file.fileno()).st_mode & 0o111 else 0o644), file.read(most)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn vanished and unreadable files into failures with a message."""
    try:
        yield
    except OSError as error:
        place = error.filename if error.filename else path
        if error.errno in _CHANGED:
            raise Failure(f"{place} changed while the folder was packed; deploy again") from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise Failure(f"{place} cannot be read: {error.strerror}; chmod it, or name it in .hanabiignore", 2) from None
        raise


def refuse_template(given: Path) -> None:
    """Refuse a SAM template, or a folder with one."""
    for path in (given, *(given / name for name in ("template.yaml", "template.yml", "template.json"))):
        if path.suffix in (".yaml", ".yml", ".json") and path.is_file() and "AWS::Serverless" in path.read_text(errors="replace"):
            raise Failure(f"{path} is a SAM template, and deploying those is not yet possible; deploy the folder of one function", 2)


def _files(folder: Path, ignore: str | None) -> Iterator[tuple[str, PackageFile]]:
    """Iterate over (name in the zip, file). Links are followed, as `zip -r` does; `above` stops link loops."""

    def walk(directory: Path, prefix: str, above: frozenset[Path], specs: list[tuple[str, Any]]) -> Iterator[tuple[str, PackageFile]]:
        above = above | {directory.resolve()}
        if ignore is not None and (directory / ignore).is_file():
            specs = [*specs, (prefix, _read_ignore(directory / ignore))]
        for path in sorted(directory.iterdir()):
            name = prefix + path.name
            if path.is_dir():
                if path.name in SKIPPED_DIRECTORIES or path.resolve() in above or _is_ignored(f"{name}/", specs):
                    continue
                yield from walk(path, f"{name}/", above, specs)
            elif path.name not in SKIPPED_FILES and not _is_ignored(name, specs):
                yield name, PackageFile(path, link=path.is_symlink() and not path.exists())

    return walk(folder, "", frozenset(), [])


def _read_ignore(path: Path) -> Any:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(path.read_text(errors="replace").splitlines())


def _is_ignored(name: str, specs: list[tuple[str, Any]]) -> bool:
    """Whether a file is ignored, as in git: the innermost ignore file with a matching rule decides."""
    for prefix, spec in reversed(specs):
        result = spec.check_file(name.removeprefix(prefix))
        if result.include is not None:
            return bool(result.include)
    return False
