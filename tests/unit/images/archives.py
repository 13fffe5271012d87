"""Zips made by hand: as packers make them, and as attackers do."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Entry:
    """One entry, each field of which may be a lie."""

    name: bytes
    data: bytes = b""
    mode: int = stat.S_IFREG | 0o644
    method: int = zipfile.ZIP_STORED
    flags: int = 0
    size: int | None = None  # declared, unpacked
    crc: int | None = None
    extra: bytes = b""
    offset: int | None = None  # of another entry's bytes


def make(entries: Iterable[Entry], *, prefix: bytes = b"", comment: bytes = b"") -> bytes:
    """A zip of these, byte by byte."""
    body, index, count = bytearray(prefix), bytearray(), 0
    for entry in entries:
        stored = _deflate(entry.data) if entry.method == zipfile.ZIP_DEFLATED else entry.data
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        size = len(entry.data) if entry.size is None else entry.size
        offset = len(body) - len(prefix) if entry.offset is None else entry.offset
        common = struct.pack("<HHHHIIIHH", entry.flags, entry.method, 0, 0x5C21, crc, len(stored), size, len(entry.name), len(entry.extra))
        if entry.offset is None:
            body += b"PK\x03\x04" + struct.pack("<H", 20) + common + entry.name + entry.extra + stored
        index += b"PK\x01\x02" + struct.pack("<HH", 3 << 8 | 20, 20) + common
        index += struct.pack("<HHHII", 0, 0, 0, entry.mode << 16, offset) + entry.name + entry.extra
        count += 1
    shown = min(count, 0xFFFF)
    end = struct.pack("<HHHHIIH", 0, 0, shown, shown, len(index), len(body) - len(prefix), len(comment))
    return bytes(body + index + b"PK\x05\x06" + end + comment)


def simple(**files: bytes) -> bytes:
    """A zip as Python's own packer makes it; `__` in a name is a dot."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def link(name: bytes, target: bytes) -> Entry:
    return Entry(name=name, data=target, mode=stat.S_IFLNK | 0o777)


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()
