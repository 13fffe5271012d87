"""Unpacking a hostile zip: every size is counted as it is written, and no entry lands outside.

Also a command (`python -m hanabi.images.unzip ZIP DIRECTORY`), so that a large zip costs the server neither its loop nor its lock.
"""

import os
import resource
import stat
import sys
import zipfile
import zlib
from pathlib import Path

UNZIPPED_LIMIT = 262_144_000  # bytes; AWS Lambda developer guide, "Lambda quotas": 250 MB
ENTRY_LIMIT = 100_000
NAME_LIMIT = 1024  # bytes of one path
LINK_LIMIT = 1024
BLOCK = 256 * 1024
CANNOT = "Could not unzip uploaded file. Please check your file, then try to upload again."
TOO_LARGE = f"Unzipped size must be smaller than {UNZIPPED_LIMIT} bytes"


class BadZip(Exception):
    """The zip is not one that a function's code can be; the message is Lambda's."""

    EXIT = 3  # status of the command


def unpack(archive: Path, target: Path) -> None:
    """Unpack into a new directory. Owner root, readable by all, no setuid bits; execute bits as in the zip. Raises `BadZip`."""
    target.mkdir(mode=0o755)
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with zipfile.ZipFile(archive) as source:
            entries = source.infolist()
            if len(entries) > ENTRY_LIMIT:
                raise BadZip(TOO_LARGE)
            if sum(entry.file_size for entry in entries) > UNZIPPED_LIMIT:
                raise BadZip(TOO_LARGE)
            if not any(not entry.is_dir() for entry in entries):
                raise BadZip("Uploaded file must be a non-empty zip")
            left = UNZIPPED_LIMIT
            for entry in entries:
                left -= _unpack_entry(source, entry, root, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, UnicodeError, OSError) as error:
        raise BadZip(CANNOT) from error
    finally:
        os.close(root)


def _unpack_entry(source: zipfile.ZipFile, entry: zipfile.ZipInfo, root: int, left: int) -> int:
    """Unpack one entry; returns the bytes it took."""
    parts = _parts(entry.filename)
    mode = entry.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if entry.is_dir():
        os.close(_open_directory(root, parts))
        return 0
    if kind not in (0, stat.S_IFREG, stat.S_IFLNK) or not parts:
        raise BadZip(CANNOT)
    parent = _open_directory(root, parts[:-1])
    try:
        _clear(parent, parts[-1])
        if kind == stat.S_IFLNK:
            return _link(source, entry, parent, parts[-1])
        return _write(source, entry, parent, parts[-1], 0o755 if mode & 0o111 else 0o644, left)
    finally:
        os.close(parent)


def _parts(name: str) -> list[str]:
    """The components of an entry's name. Raises `BadZip` for one that would leave the tree."""
    name = name.replace("\\", "/")
    if len(name.encode("utf-8", "surrogateescape")) > NAME_LIMIT or "\0" in name or name.startswith("/"):
        raise BadZip(CANNOT)
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadZip(CANNOT)
    return parts


def _open_directory(root: int, parts: list[str]) -> int:
    """A descriptor of a directory below root, made where missing; no symbolic link is ever followed."""
    current = os.dup(root)
    for part in parts:
        try:
            try:
                os.mkdir(part, 0o755, dir_fd=current)
            except FileExistsError:
                pass
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
        finally:
            os.close(current)
        current = below
    return current


def _clear(parent: int, name: str) -> None:
    """A later entry of the same name replaces the earlier one."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass


def _link(source: zipfile.ZipFile, entry: zipfile.ZipInfo, parent: int, name: str) -> int:
    if entry.file_size > LINK_LIMIT:
        raise BadZip(CANNOT)
    with source.open(entry) as stream:
        os.symlink(stream.read(LINK_LIMIT), name, dir_fd=parent)
    return entry.file_size


def _write(source: zipfile.ZipFile, entry: zipfile.ZipInfo, parent: int, name: str, mode: int, left: int) -> int:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=parent)
    with os.fdopen(descriptor, "wb") as file, source.open(entry) as stream:
        written = 0
        while block := stream.read(BLOCK):
            written += len(block)
            if written > left:
                raise BadZip(TOO_LARGE)
            file.write(block)
    os.chmod(name, mode, dir_fd=parent, follow_symlinks=True)
    return written


def main() -> int:
    memory = 1 << 30
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (UNZIPPED_LIMIT + BLOCK, UNZIPPED_LIMIT + BLOCK))
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    os.umask(0o022)
    os.nice(5)
    try:
        unpack(Path(sys.argv[1]), Path(sys.argv[2]))
    except BadZip as error:
        print(error, file=sys.stderr)
        return BadZip.EXIT
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
