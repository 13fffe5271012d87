"""The JSON documents of an image: index, manifest and configuration, validated as hostile input.

OCI image specification 1.1; Docker image manifest version 2, schema 2. What is not understood is refused, never guessed at.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hanabi.errors import ImageError
from hanabi.images.containers.reference import is_digest
from hanabi.quotas import IMAGE_BYTES, IMAGE_CONFIG_BYTES

DOCUMENT_LIMIT_BYTES = 4 << 20  # bytes of one document, as registries have it
LAYER_LIMIT = 127  # of one image; Docker's own

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
LAYERS = {
    "application/vnd.oci.image.layer.v1.tar": "",
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
}
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}  # as the kernel and as images call them


@dataclass(frozen=True, slots=True)
class Descriptor:
    """The address of a blob, and its expected digest and size."""

    media_type: str
    digest: str  # "sha256:<hex>"
    size: int

    @property
    def hex(self) -> str:
        return self.digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True)
class Manifest:
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """The part of an image's configuration that has an effect; as in Lambda, its user has none."""

    entry_point: tuple[str, ...]
    command: tuple[str, ...]
    working_directory: str
    environment: Mapping[str, str]
    diff_ids: tuple[str, ...]  # of the uncompressed layers


def load(raw: bytes, what: str) -> dict[str, Any]:
    """Parse one document. Raises `ImageError` of kind "invalid"."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ImageError(f"{what} is no JSON object", "invalid")
    return document


def is_index(document: Mapping[str, Any]) -> bool:
    return document.get("mediaType") in INDEXES or ("mediaType" not in document and isinstance(document.get("manifests"), list))


def choose(index: Mapping[str, Any], machine: str) -> Descriptor:
    """Choose the manifest for this machine from an index. Raises `ImageError`."""
    entries = index.get("manifests")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ImageError("the index lists no manifests", "invalid")
    wanted = MACHINES.get(machine, machine)
    offered = []
    for entry in entries:
        platform = entry.get("platform") if isinstance(entry.get("platform"), dict) else {}
        named = (platform.get("os"), platform.get("architecture"))
        fits = named == ("linux", wanted) and platform.get("variant") in (None, "", "v1", "v8")
        if fits or (not platform and len(entries) == 1):
            return read_descriptor(entry, DOCUMENT_LIMIT_BYTES)
        offered.append("/".join(str(each)[:40] for each in named))
    raise ImageError(f"there is no image for linux/{wanted} among {', '.join(offered[:20]) or 'none'}", "unsupported")


def read_manifest(document: Mapping[str, Any]) -> Manifest:
    """Raises `ImageError`."""
    if document.get("mediaType", MANIFESTS[0]) not in MANIFESTS or document.get("schemaVersion") != 2:
        raise ImageError(f"the manifest has media type {_say(document.get('mediaType'))}, which is not supported", "unsupported")
    layers = document.get("layers")
    if not isinstance(layers, list) or len(layers) > LAYER_LIMIT:
        raise ImageError(f"the manifest has no list of at most {LAYER_LIMIT} layers", "invalid")
    manifest = Manifest(
        read_descriptor(document.get("config"), DOCUMENT_LIMIT_BYTES), tuple(read_descriptor(layer, IMAGE_BYTES) for layer in layers)
    )
    for descriptor, known in ((manifest.config, CONFIGS), *((layer, tuple(LAYERS)) for layer in manifest.layers)):
        if descriptor.media_type not in known:
            raise ImageError(f"media type {_say(descriptor.media_type)} is not supported", "unsupported")
    if sum(layer.size for layer in manifest.layers) > IMAGE_BYTES:
        raise ImageError(f"the image is larger than {IMAGE_BYTES >> 30} GiB", "invalid")
    return manifest


def read_descriptor(value: Any, limit: int) -> Descriptor:
    """Raises `ImageError`."""
    if not isinstance(value, dict):
        raise ImageError("a descriptor is no JSON object", "invalid")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or type(size) is not int or size < 0 or not isinstance(digest, str):
        raise ImageError("a descriptor lacks media type, digest or size", "invalid")
    if not is_digest(digest):
        raise ImageError(f"the digest {_say(digest)} is not a SHA-256", "unsupported")
    if size > limit:
        raise ImageError(f"{digest} is {size} bytes, more than {limit}", "invalid")
    return Descriptor(media_type, digest, size)


def read_configuration(document: Mapping[str, Any], layers: int, machine: str) -> Configuration:
    """Read a configuration. Raises `ImageError`, also for an image of another architecture."""
    wanted = MACHINES.get(machine, machine)
    platform = (document.get("os", "linux"), document.get("architecture", wanted))
    if platform != ("linux", wanted):
        raise ImageError(f"the image is for {_say('/'.join(map(str, platform)))}, and this machine is linux/{wanted}", "unsupported")
    rootfs, config = document.get("rootfs"), document.get("config") or {}
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) != layers or not all(map(is_digest, diff_ids)) or not isinstance(config, dict):
        raise ImageError("the configuration does not name the uncompressed digest of each layer", "invalid")
    environment = {}
    for variable in _words(config, "Env"):
        name, equals, value = variable.partition("=")
        if not name or not equals:
            raise ImageError(f"the image sets a variable {_say(variable)}", "invalid")
        environment[name] = value
    directory = config.get("WorkingDir") or "/"
    words = (*_words(config, "Entrypoint"), *_words(config, "Cmd"), directory, *_words(config, "Env"))
    if not isinstance(directory, str) or "\0" in directory or sum(len(_encode(word)) + 1 for word in words) > IMAGE_CONFIG_BYTES:
        raise ImageError(f"the image's settings take more than {IMAGE_CONFIG_BYTES} bytes, or cannot be read", "invalid")
    return Configuration(_words(config, "Entrypoint"), _words(config, "Cmd"), directory, environment, tuple(diff_ids))


def _words(config: Mapping[str, Any], member: str) -> tuple[str, ...]:
    words = config.get(member) or []
    if not isinstance(words, list) or not all(isinstance(word, str) and "\0" not in word for word in words):
        raise ImageError(f"the image's {member} is no list of words", "invalid")
    return tuple(words)


def _encode(word: str) -> bytes:
    try:
        return word.encode()
    except UnicodeEncodeError:
        raise ImageError("the image's settings hold half a character", "invalid") from None


def _say(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}..."
