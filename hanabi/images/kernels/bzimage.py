"""Extracting the ELF kernel, which Firecracker boots, from a bzImage. Format: the kernel's documentation, arch/x86/boot.rst."""

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.builders.programs import require_program, run

MAX_BYTES = 256 << 20  # bytes of a kernel that is unpacked
ELF = b"\x7fELF"
_SETUP_SECTORS, _MAGIC, _VERSION, _PAYLOAD = 0x1F1, 0x202, 0x206, 0x248  # offsets of the setup header's fields
_PAYLOAD_SINCE = 0x208  # protocol version
_BY_PROGRAM = {b"\x02\x21\x4c\x18": ("lz4", ("lz4", "-d", "-c")), b"\x28\xb5\x2f\xfd": ("zstd", ("zstd", "-d", "-c"))}


def extract_kernel(image: Path, made: Path, work: Path, lock: int) -> None:
    """Write the ELF kernel that `image` carries to `made`. Raises `ImageError`."""
    payload = read_payload(image.read_bytes())
    for magic, (program, command) in _BY_PROGRAM.items():
        if payload.startswith(magic):
            require_program(program, program)
            packed = work / "payload"
            packed.write_bytes(payload)
            run([*command, packed], output=made, lock=lock)
            break
    else:
        made.write_bytes(_unpack(payload))
    check_elf(made)


def read_payload(image: bytes) -> bytes:
    """Read the compressed kernel, without the trailing four bytes of its size (little-endian)."""
    if len(image) < 0x250 or image[_MAGIC : _MAGIC + 4] != b"HdrS":
        raise ImageError("this is no bzImage: the setup header is missing")
    (version,) = struct.unpack_from("<H", image, _VERSION)
    if version < _PAYLOAD_SINCE:
        raise ImageError(f"boot protocol {version:#x} does not say where the kernel is")
    start, length = struct.unpack_from("<II", image, _PAYLOAD)
    begin = ((image[_SETUP_SECTORS] or 4) + 1) * 512 + start
    payload = image[begin : begin + length]
    if len(payload) != length or length < 8:
        raise ImageError("the bzImage is cut short")
    return payload[:-4]


def _unpack(payload: bytes) -> bytes:
    """Decompress formats that Python supports."""
    known: dict[bytes, Callable[[], bytes]] = {
        b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31).decompress(payload, MAX_BYTES),
        b"\xfd7zXZ": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload, MAX_BYTES),
        b"\x5d\x00\x00": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(payload, MAX_BYTES),
        b"BZh": lambda: bz2.BZ2Decompressor().decompress(payload, MAX_BYTES),
        ELF: lambda: payload,
    }
    for magic, unpack in known.items():
        if payload.startswith(magic):
            try:
                return unpack()
            except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
                raise ImageError(f"the kernel in the bzImage does not unpack: {error}") from None
    raise ImageError(f"the kernel in the bzImage is packed in an unknown way: {payload[:4].hex()}")


def check_elf(kernel: Path) -> None:
    """Check that a file can be a kernel that Firecracker loads on x86_64: a 64-bit ELF executable. Raises `ImageError`."""
    with kernel.open("rb") as file:
        header = file.read(20)
    if len(header) < 20 or not header.startswith(ELF + b"\x02\x01"):
        raise ImageError(f"{kernel} is no 64-bit ELF file: Firecracker wants the vmlinux, not a bzImage")
    kind, machine = struct.unpack_from("<HH", header, 16)
    if (kind, machine) not in ((2, 62), (3, 62)):  # EXEC or DYN, for x86_64
        raise ImageError(f"{kernel} is no executable for x86_64")
