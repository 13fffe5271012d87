"""References to container images: an address in a registry, or a local OCI layout.

    registry.example:5000/team/app:1.2          ImageUri as Lambda has it; a host must be named
    docker://alpine:3.20                        as other tools write it; without a host it is Docker Hub's
    oci:/srv/images/app:1.2                     a directory; the tag may be left out when there is one image
    oci-archive:/srv/images/app.tar:1.2         a tar file of one
    ...@sha256:<hex>                            any of them by digest instead of tag

The grammar is that of github.com/distribution/reference.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from hanabi.errors import ImageError

LIMIT = 4096  # characters
DOCKER_HUB = "docker.io"

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:]{2,45}\])(?::[0-9]{1,5})?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryReference:
    """An image in a registry, by tag or digest; of both the digest counts."""

    host: str
    repository: str
    tag: str = "latest"
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}{f'@{self.digest}' if self.digest else f':{self.tag}'}"

    def pin(self, digest: str) -> "RegistryReference":
        return replace(self, digest=digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutReference:
    """An image in an OCI layout; without tag and digest, its only image."""

    transport: str  # "oci" or "oci-archive"
    path: Path
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.transport}:{self.path}{f'@{self.digest}' if self.digest else f':{self.tag}' if self.tag else ''}"

    def pin(self, digest: str) -> "LayoutReference":
        return replace(self, digest=digest)


def parse(text: str) -> RegistryReference | LayoutReference:
    """Parse a reference. Raises `ImageError` of kind "malformed"."""
    if len(text) > LIMIT or "\0" in text:
        raise _malformed(text)
    transport, _, rest = text.partition(":")
    if transport in ("oci", "oci-archive"):
        return _local(transport, rest, text)
    rest = text.removeprefix("docker://")
    return _remote(rest, text, default_host=DOCKER_HUB if rest != text else "")


def is_digest(text: object) -> bool:
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def _local(transport: str, rest: str, text: str) -> LayoutReference:
    path, at, digest = rest.rpartition("@")
    if not at or not _DIGEST.fullmatch(digest):
        path, digest = rest, ""
    before, colon, tag = path.rpartition(":")
    if colon and _TAG.fullmatch(tag):
        path = before
    else:
        tag = ""
    if not path.startswith("/") or any(0xD800 <= ord(character) <= 0xDFFF for character in path):
        raise _malformed(text)
    return LayoutReference(transport=transport, path=Path(path), tag=tag, digest=digest)


def _remote(rest: str, text: str, default_host: str) -> RegistryReference:
    name, at, digest = rest.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _malformed(text)
    host, slash, path = name.partition("/")
    if not slash or not (set(host) & {".", ":", "["} or host == "localhost"):
        host, path = default_host, name
    repository, _, tag = path.partition(":")
    if host == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not _HOST.fullmatch(host) or len(repository) > 255 or not all(_COMPONENT.fullmatch(each) for each in repository.split("/")):
        raise _malformed(text)
    if ":" in path and not _TAG.fullmatch(tag):
        raise _malformed(text)
    return RegistryReference(host=host, repository=repository, tag=tag or "latest", digest=digest)


def _malformed(text: str) -> ImageError:
    shown = text if len(text) <= 200 else f"{text[:200]}..."
    return ImageError(f"{shown!r} names no image: give host/repository:tag, oci:/path[:tag] or oci-archive:/path[:tag]", "malformed")
