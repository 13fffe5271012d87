"""A local OCI image layout as a source of one image: a directory, or a tar file of one.

OCI image specification 1.1, "Image Layout". The path may be anybody's: only regular files are read,
and they are what their digests say.
"""

import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import BinaryIO

from hanabi.errors import ImageError
from hanabi.images.containers.manifests import DOCUMENT_LIMIT_BYTES, Descriptor, load
from hanabi.images.containers.reference import LayoutReference, is_digest
from hanabi.images.containers.registry_client import Blob

MEMBER_LIMIT = 4096  # files in a tar file of a layout
TAG = "org.opencontainers.image.ref.name"


class OciLayout:
    """A `Source`; `close` it."""

    def __init__(self, reference: LayoutReference) -> None:
        self._reference = reference
        self._closing = ExitStack()
        self._tar: tarfile.TarFile | None = None
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._closing.close()

    def _open(self) -> None:
        if self._reference.transport == "oci-archive":
            self._index(self._closing.enter_context(_open_regular(self._reference)))
        with self._file("oci-layout") as file:
            if "imageLayoutVersion" not in load(file.read(DOCUMENT_LIMIT_BYTES), "oci-layout"):
                raise ImageError(f"{self._reference.path} is no OCI layout", "missing")

    def _index(self, file: BinaryIO) -> None:
        """Index the archive's regular members."""
        try:
            tar = self._tar = self._closing.enter_context(closing(tarfile.open(fileobj=file, mode="r:")))
            while (member := tar.next()) is not None:
                if len(self._members) >= MEMBER_LIMIT:
                    raise ImageError(f"{self._reference.path} has more than {MEMBER_LIMIT} members", "invalid")
                if member.isreg() and not member.issparse():
                    self._members[os.path.normpath(member.name)] = member
        except (tarfile.TarError, ValueError, OSError, EOFError) as error:
            raise ImageError(f"{self._reference.path} is no tar file: {error}", "invalid") from None

    @contextmanager
    def _file(self, name: str) -> Iterator[BinaryIO]:
        if self._tar is not None:
            member = self._members.get(name)
            file = self._tar.extractfile(member) if member is not None else None
            if file is None:
                raise ImageError(f"{self._reference.path} has no {name}", "missing")
            with file:
                yield file  # type: ignore[misc]  # an IO[bytes], which is as good
            return
        with _open_regular(self._reference, name) as file:
            yield file

    def top(self) -> bytes:
        if self._reference.digest:
            return self._document(self._reference.digest)
        with self._file("index.json") as file:
            index = load(_bounded(file), "index.json")
        entries = index.get("manifests")
        if not isinstance(entries, list):
            raise ImageError(f"{self._reference.path} has no list of manifests", "invalid")
        tag = self._reference.tag
        found = [each for each in entries if isinstance(each, dict) and (not tag or _tag(each) == tag)]
        if not found:
            raise ImageError(f"{self._reference.path} has no image {tag or 'at all'}", "missing")
        if len({str(each.get("digest")) for each in found}) > 1:
            raise ImageError(f"{self._reference.path} has more than one image{f' {tag}' if tag else ''}; name one by its tag", "malformed")
        digest = found[0].get("digest")
        if not isinstance(digest, str) or not is_digest(digest):
            raise ImageError(f"{self._reference.path} names no SHA-256", "unsupported")
        return self._document(digest)

    def document(self, descriptor: Descriptor) -> bytes:
        return self._document(descriptor.digest)

    def _document(self, digest: str) -> bytes:
        with self._file(_place(digest)) as file:
            return _bounded(file)

    @contextmanager
    def blob(self, descriptor: Descriptor, offset: int) -> Iterator[tuple[Blob, int]]:
        with self._file(_place(descriptor.digest)) as file:
            file.seek(offset)
            yield file, offset


def _place(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _tag(entry: dict[str, object]) -> object:
    annotations = entry.get("annotations")
    return annotations.get(TAG) if isinstance(annotations, dict) else None


def _bounded(file: BinaryIO) -> bytes:
    data = file.read(DOCUMENT_LIMIT_BYTES + 1)
    if len(data) > DOCUMENT_LIMIT_BYTES:
        raise ImageError(f"a document is larger than {DOCUMENT_LIMIT_BYTES} bytes", "invalid")
    return data


def _open_regular(reference: LayoutReference, name: str = "") -> BinaryIO:
    """Open a regular file, never waiting for a fifo. Any error counts as absent."""
    path = os.path.join(reference.path, name) if name else os.fspath(reference.path)
    missing = ImageError(f"{reference.path} has no {name}, so it is no OCI layout" if name else f"there is no file {path}", "missing")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        raise missing from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise missing
    return open(descriptor, "rb")
