"""Unpacking the layers of an image into a root: `python -m hanabi.images.containers.unpack ROOT < LAYERS`.

Standard input is a JSON list of {"path", "compression", "diff_id"}; standard output is progress; standard error is why it failed, status 3
when that is the image's own fault. It is a process of its own, with limits, because its input is hostile: names, links, whiteouts, sizes.

Files belong to whoever unpacks, and all users may read them: containers run under ids of their own, which own nothing of a root, so what
the image's users were allowed is of no use there. Devices, fifos and sockets are left out, and so are set-id bits and file capabilities.
"""

import gzip
import hashlib
import json
import os
import resource
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hanabi.errors import ImageError
from hanabi.images.containers.root_tree import RootTree
from hanabi.quotas import IMAGE_BYTES

EXIT = 3
BLOCK_BYTES = 1 << 20
WHITEOUT, OPAQUE, OTHER = b".wh.", b".wh..wh..opq", b".wh..wh."
OVERHEAD_BYTES = 1 << 30  # bytes that tar's own headers may take beside the files
# What a sandbox mounts on or into a root, restated from hanabi/sandbox/oci/bundle_config.py: a read-only root cannot be given these later.
MOUNT_POINTS = ("proc", "dev", "tmp", "opt", "var/task", "var/runtime", "etc", ".hanabi")
MOUNT_FILES = (".hanabi/init", "etc/resolv.conf", "etc/hosts")
_MOUNTED = ("proc", "dev", "tmp", "etc", ".hanabi")  # for these, what the image has there must be a directory of its own

_DAMAGE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, MemoryError, RecursionError, OverflowError, LookupError)


class MeasuredStream:
    """A layer's decompressed stream, counted and hashed while it is read."""

    def __init__(self, stream: BinaryIO, budget: "UnpackBudget") -> None:
        self._stream = stream
        self._budget = budget
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        block = self._stream.read(min(size, BLOCK_BYTES))
        self._budget.spend(len(block))
        self._hash.update(block)
        return block

    def finish(self) -> str:
        """Return the digest of the whole stream, including bytes after the tar's end."""
        while self.read(BLOCK_BYTES):
            pass
        return f"sha256:{self._hash.hexdigest()}"


class UnpackBudget:
    """The bytes that all layers together may still unpack."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise ImageError(f"the image is larger than {IMAGE_BYTES >> 30} GiB when it is unpacked", "invalid")


def unpack(root: Path, layers: list[dict[str, Any]], limit: int = IMAGE_BYTES) -> None:
    """Unpack layers into an empty directory. Raises `ImageError`, and `OSError` when the host is at fault."""
    packed, unpacked = UnpackBudget(limit + OVERHEAD_BYTES), UnpackBudget(limit)
    with closing(RootTree(root)) as tree:
        for number, layer in enumerate(layers, 1):
            print(f"unpacking layer {number} of {len(layers)}", flush=True)
            tree.begin_layer()
            try:
                with _decompressed(Path(layer["path"]), layer["compression"]) as stream:
                    measured = MeasuredStream(stream, packed)
                    _apply(tree, measured, unpacked)
                    digest = measured.finish()
            except _DAMAGE as error:
                raise ImageError(f"layer {number} cannot be read: {type(error).__name__}: {error}", "invalid") from None
            if digest != layer["diff_id"]:
                raise ImageError(f"layer {number} is {digest} when unpacked, and the image says {layer['diff_id']}", "invalid")
        tree.begin_layer()
        _make_mount_points(tree)


@contextmanager
def _decompressed(path: Path, compression: str) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        if compression == "gzip":
            with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                yield stream  # type: ignore[misc]  # a BinaryIO in all but name
        elif compression == "zstd":
            with _zstd(file) as stream:
                yield stream
        else:
            yield file


@contextmanager
def _zstd(file: BinaryIO) -> Iterator[BinaryIO]:
    try:
        process = subprocess.Popen(["zstd", "-dcq"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        raise ImageError("a layer is compressed with zstd, and there is no zstd program: sudo apt-get install zstd") from None
    assert process.stdout is not None
    try:
        yield process.stdout  # type: ignore[misc]
        if process.wait():
            raise ImageError(f"zstd cannot read a layer (status {process.returncode})", "invalid")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _apply(tree: RootTree, stream: MeasuredStream, unpacked: UnpackBudget) -> None:
    reader: Any = stream
    with tarfile.open(fileobj=reader, mode="r|", bufsize=BLOCK_BYTES, encoding="utf-8", errors="surrogateescape") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # else every one is remembered
            _apply_member(tree, archive, member, unpacked)


def _apply_member(tree: RootTree, archive: tarfile.TarFile, member: tarfile.TarInfo, unpacked: UnpackBudget) -> None:
    path = os.fsencode(member.name)
    directory, name = os.path.split(path.rstrip(b"/"))
    if name in (b"", b"."):
        return  # the root itself
    if name == OPAQUE:
        tree.hide_all(directory)
    elif any(part.startswith(OTHER) for part in path.split(b"/")):
        return  # aufs's own
    elif name.startswith(WHITEOUT):
        if (hidden := name.removeprefix(WHITEOUT)) in (b"", b".", b".."):
            raise ImageError(f"{member.name!r} hides no file", "invalid")
        tree.hide(os.path.join(directory, hidden))
    elif member.isdir():
        tree.directory(path)
    elif member.issym():
        tree.symlink(path, os.fsencode(member.linkname))
    elif member.islnk():
        tree.link(path, os.fsencode(member.linkname))
    elif member.isreg():
        _write(tree, archive, member, path, unpacked)


def _write(tree: RootTree, archive: tarfile.TarFile, member: tarfile.TarInfo, path: bytes, unpacked: UnpackBudget) -> None:
    unpacked.spend(member.size)
    content = archive.extractfile(member)
    if content is None or member.size < 0:
        raise ImageError(f"{member.name!r} cannot be read", "invalid")
    with open(tree.file(path, executable=bool(member.mode & 0o111)), "wb", buffering=0) as file:
        left = member.size
        while left and (block := content.read(min(BLOCK_BYTES, left))):
            file.write(block)
            left -= len(block)
        if left:
            raise ImageError(f"{member.name!r} ends too early", "invalid")
        modified = min(max(0, int(member.mtime)), 1 << 40)
        os.utime(file.fileno(), (modified, modified))  # byte code is good only for sources as old as it says


def _make_mount_points(tree: RootTree) -> None:
    """Make the mount points, in place of links that the image has there."""
    for name in MOUNT_POINTS:
        if name in _MOUNTED:
            tree.ensure_directory(name.encode())
        elif not tree.has_directory(name.encode()):
            tree.directory(name.encode())
    for name in MOUNT_FILES:
        os.close(tree.file(name.encode(), executable=False))
    tree.set_mode(b"tmp", 0o1777)


def main(arguments: list[str]) -> int:
    limits = (
        (resource.RLIMIT_AS, 2 << 30),
        (resource.RLIMIT_FSIZE, IMAGE_BYTES),
        (resource.RLIMIT_CPU, 1800),
        (resource.RLIMIT_CORE, 0),
    )
    for what, most in limits:
        resource.setrlimit(what, (most, most))
    os.nice(5)
    os.umask(0o022)
    try:
        unpack(Path(arguments[0]), json.load(sys.stdin))
    except ImageError as error:
        print(error, file=sys.stderr)
        return EXIT if error.kind == "invalid" else 1
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
