"""Unpacking a hostile zip: all entries are checked and bounded before the first byte is written, and none leaves the target.

Also a command (`python -I -S unzip.py ZIP DIRECTORY`, hence the standard library only), so that a large zip costs the server neither its
loop nor its interpreter lock.
"""

import calendar
import errno
import os
import resource
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UNZIPPED_CODE_BYTES = 262_144_000  # as in hanabi/quotas.py, which this program, run by itself, cannot import
NODE_LIMIT = 100_000  # files, links and directories, those that are only implied by names included
DEPTH_LIMIT = 100  # directories below each other
NAME_LIMIT = 2048  # bytes of one path
LINK_LIMIT = 4095  # bytes of a symbolic link's target
FSYNC_LIMIT = 16  # files; more are cheaper to bring to disk together
BLOCK_BYTES = 256 * 1024

CANNOT = "Could not unzip uploaded file. Please check your file, then try to upload again."
EMPTY = "Uploaded file must be a non-empty zip"
TOO_LARGE = f"Unzipped size must be smaller than {UNZIPPED_CODE_BYTES} bytes"
TOO_MANY = f"Uploaded file must hold at most {NODE_LIMIT} files and directories"

_UNIX, _MACOS = 3, 19  # systems whose external attributes carry a mode
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800
_LOCAL_HEADER = 30  # bytes, before the name
_FAULTS_OF_THE_ZIP = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EFBIG)

# What reading a damaged zip raises, by experience with the standard library.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, LookupError, MemoryError)


class BadZip(Exception):
    """A zip that cannot be a function's code; the message is Lambda's where Lambda has one."""

    EXIT = 3  # status of the command


@dataclass(slots=True)
class UnzipPlan:
    """The plan of unpacking a zip. Every path leads only through directories of the plan."""

    directories: list[bytes]  # parents first
    files: dict[bytes, zipfile.ZipInfo]
    links: dict[bytes, zipfile.ZipInfo]


def unpack(archive: Path, target: Path) -> None:
    """Unpack into a new directory and sync it; world-readable, execute bits as in the zip. Raises `BadZip`."""
    try:
        with zipfile.ZipFile(archive) as source:
            plan = make_plan(source)
            target.mkdir()
            target.chmod(0o755)
            _extract(source, plan, os.fsencode(target))
    except OSError as error:
        if error.errno in _FAULTS_OF_THE_ZIP:
            raise BadZip(CANNOT) from error
        raise
    except _DAMAGE as error:
        raise BadZip(CANNOT) from error


def make_plan(source: zipfile.ZipFile) -> UnzipPlan:
    """Check every entry before any is unpacked. Raises `BadZip`."""
    entries = source.infolist()
    if len(entries) > NODE_LIMIT:
        raise BadZip(TOO_MANY)
    _refuse_overlap(entries, source.start_dir)
    if sum(entry.file_size for entry in entries) >= UNZIPPED_CODE_BYTES:  # zipfile reads no more of an entry than it declares
        raise BadZip(TOO_LARGE)
    kinds: dict[bytes, tuple[str, zipfile.ZipInfo]] = {}
    for entry in entries:
        kind = _kind(entry)
        if path := _path(entry):
            kinds[path] = (kind, entry)  # the last one of a name counts, as with `unzip -o`
    directories = {path for path, (kind, _) in kinds.items() if kind == "directory"}
    for path in kinds:
        for parent in _parents(path):
            if parent in kinds and kinds[parent][0] != "directory":
                raise BadZip(CANNOT)  # below a file, or through a symbolic link
            directories.add(parent)
        if len(directories) + len(kinds) > 2 * NODE_LIMIT:
            break
    files = {path: entry for path, (kind, entry) in kinds.items() if kind == "file"}
    links = {path: entry for path, (kind, entry) in kinds.items() if kind == "link"}
    if len(directories) + len(files) + len(links) > NODE_LIMIT:
        raise BadZip(TOO_MANY)
    if not files and not links:
        raise BadZip(EMPTY)
    return UnzipPlan(sorted(directories), files, links)


def _refuse_overlap(entries: list[zipfile.ZipInfo], end: int) -> None:
    """Refuse entries that share bytes, as in an overlapping zip bomb."""
    for entry in sorted(entries, key=lambda each: each.header_offset, reverse=True):
        if entry.header_offset < 0 or entry.header_offset + _LOCAL_HEADER + entry.compress_size > end:
            raise BadZip(CANNOT)
        end = entry.header_offset


def _kind(entry: zipfile.ZipInfo) -> str:
    """The kind of an entry: file, directory or link. Raises `BadZip` for devices, encryption, and methods but stored and deflate."""
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
        raise BadZip(CANNOT)
    kind = stat.S_IFMT(_mode(entry))
    if entry.orig_filename.endswith("/") or kind == stat.S_IFDIR:
        return "directory"
    if kind == stat.S_IFLNK:
        if not 0 < entry.file_size <= LINK_LIMIT:
            raise BadZip(CANNOT)
        return "link"
    if kind not in (0, stat.S_IFREG):
        raise BadZip(CANNOT)
    return "file"


def _mode(entry: zipfile.ZipInfo) -> int:
    return entry.external_attr >> 16 if entry.create_system in (_UNIX, _MACOS) else 0


def _path(entry: zipfile.ZipInfo) -> bytes:
    """The path of an entry below the target; empty for the target itself. Raises `BadZip` for one that would leave it."""
    name = entry.orig_filename.encode()
    if not entry.flag_bits & _UTF8:
        raw = entry.orig_filename.encode("cp437")  # as which `zipfile` read it; yet many a packer writes UTF-8 and does not say so
        name = raw if _is_utf8(raw) else name
    if name.startswith(b"/") or b"\0" in name or len(name) > NAME_LIMIT:
        raise BadZip(CANNOT)
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts or len(parts) > DEPTH_LIMIT:
        raise BadZip(CANNOT)
    return b"/".join(parts)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parents(path: bytes) -> Iterator[bytes]:
    while (path := path.rpartition(b"/")[0]) != b"":
        yield path


def _extract(source: zipfile.ZipFile, plan: UnzipPlan, target: bytes) -> None:
    """Extract by the plan. The target is new and private, so paths in it cannot change meanwhile."""
    for path in plan.directories:
        _make_directory(os.path.join(target, path))
    one_by_one = len(plan.files) + len(plan.directories) <= FSYNC_LIMIT
    for path, entry in plan.files.items():
        _write(source, entry, os.path.join(target, path), fsync=one_by_one)
    for path, entry in plan.links.items():
        with source.open(entry) as stream:
            os.symlink(stream.read(LINK_LIMIT), os.path.join(target, path))
    if not one_by_one:
        sync_filesystem(target)
        return
    for path in (*plan.directories, b""):
        sync_directory(os.path.join(target, path))


def _make_directory(path: bytes) -> None:
    os.mkdir(path)
    os.chmod(path, 0o755)


def _write(source: zipfile.ZipFile, entry: zipfile.ZipInfo, path: bytes, *, fsync: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb", buffering=0) as file, source.open(entry) as stream:
        written = 0
        while block := stream.read(BLOCK_BYTES):
            written += file.write(block)
        if written != entry.file_size:
            raise BadZip(CANNOT)
        # Readable by all: `writestr` gives 0600, and functions run as another user.
        os.fchmod(descriptor, 0o755 if _mode(entry) & 0o111 else 0o644)
        modified = _modified(entry)
        os.utime(descriptor, (modified, modified))  # byte code in the zip is good only for sources as old as it says
        if fsync:
            os.fsync(descriptor)


def _modified(entry: zipfile.ZipInfo) -> int:
    """The modification time in Unix seconds: the extended timestamp if present, else the zip's zoneless time as UTC."""
    extra = entry.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == 0x5455 and size >= 5 and len(extra) >= 9 and extra[4] & 1:
            return int(struct.unpack_from("<i", extra, 5)[0])
        extra = extra[4 + size :]
    year, month, day, hour, minute, second = entry.date_time
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return 0
    return calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))


def sync_directory(path: bytes) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_filesystem(path: bytes) -> None:
    """Sync a whole file system: one wait, where one for each of thousands of files would take minutes."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(descriptor)


def main(arguments: list[str]) -> int:
    limits = (
        (resource.RLIMIT_AS, 1 << 30),
        (resource.RLIMIT_FSIZE, UNZIPPED_CODE_BYTES),
        (resource.RLIMIT_CPU, 60),
        (resource.RLIMIT_CORE, 0),
    )
    for what, most in limits:
        resource.setrlimit(what, (most, most))
    os.nice(5)
    try:
        unpack(Path(arguments[0]), Path(arguments[1]))
    except BadZip as error:
        print(error, file=sys.stderr)
        return BadZip.EXIT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
