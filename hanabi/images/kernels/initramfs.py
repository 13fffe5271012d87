"""Writing an initramfs: "newc" cpio, by the kernel's documentation (early-userspace/buffer-format). Archives may be concatenated."""

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """A file, or a directory when `content` is None; `path` is absolute, in the guest."""

    path: str
    content: bytes | None
    mode: int = 0o644


def write_archive(entries: Iterable[ArchiveEntry]) -> bytes:
    """A whole archive. The directories that the files lie in come with them; equal entries give equal bytes (no times, root's)."""
    wanted: dict[str, ArchiveEntry] = {}
    for entry in entries:
        for parent in reversed(PurePosixPath(entry.path).parents):
            if str(parent) != "/":
                wanted.setdefault(str(parent), ArchiveEntry(str(parent), None, 0o755))
        wanted[entry.path] = entry
    parts = [_record(number, entry) for number, entry in enumerate(wanted.values(), 1)]
    return b"".join([*parts, _pack(0, _TRAILER, 0, 1, b"")])


def _record(number: int, entry: ArchiveEntry) -> bytes:
    directory = entry.content is None
    kind = stat.S_IFDIR if directory else stat.S_IFREG
    return _pack(number, entry.path.lstrip("/"), kind | entry.mode, 2 if directory else 1, entry.content or b"")


def _pack(number: int, name: str, mode: int, links: int, content: bytes) -> bytes:
    """Magic, then thirteen numbers of eight hexadecimal digits, the name and the content, each padded to four bytes."""
    named = name.encode() + b"\0"
    numbers = (number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(named), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in numbers) + named
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
