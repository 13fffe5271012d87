"""Container images made by hand: layers, manifests, OCI layouts, and a push to a registry. Nothing of Hanabi's is used."""

import gzip
import hashlib
import io
import json
import platform
import tarfile
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
OCI = {
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "index": "application/vnd.oci.image.index.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "tar": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
DOCKER = {
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "tar": "application/vnd.docker.image.rootfs.diff.tar",
    "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}

Entry = tuple[tarfile.TarInfo, bytes]


def file(name: str, content: bytes | str = b"", mode: int = 0o644, **fields: Any) -> Entry:
    data = content.encode() if isinstance(content, str) else content
    return _entry(name, tarfile.REGTYPE, size=len(data), mode=mode, **fields), data


def folder(name: str, mode: int = 0o755) -> Entry:
    return _entry(name, tarfile.DIRTYPE, mode=mode), b""


def symlink(name: str, target: str) -> Entry:
    return _entry(name, tarfile.SYMTYPE, linkname=target), b""


def hard_link(name: str, target: str) -> Entry:
    return _entry(name, tarfile.LNKTYPE, linkname=target), b""


def special(name: str, kind: bytes) -> Entry:
    return _entry(name, kind, mode=0o666), b""


def _entry(name: str, kind: bytes, **fields: Any) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    for field_name, value in fields.items():
        setattr(entry, field_name, value)
    return entry


def tar_of(entries: Iterable[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry, content in entries:
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@dataclass
class Layer:
    blob: bytes
    diff_id: str
    kind: str = "gzip"


def layer(entries: Iterable[Entry]) -> Layer:
    return layer_of(tar_of(entries))


def layer_of(tar: bytes) -> Layer:
    return Layer(gzip.compress(tar, 1, mtime=0), digest(tar))


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Image:
    """One image, whole: `manifest` names `config` and the layers."""

    layers: Sequence[Layer]
    settings: dict[str, Any] = field(default_factory=dict)  # Entrypoint, Cmd, Env, WorkingDir, User
    types: dict[str, str] = field(default_factory=lambda: OCI)
    architecture: str = ARCHITECTURE

    @property
    def config(self) -> bytes:
        rootfs = {"type": "layers", "diff_ids": [each.diff_id for each in self.layers]}
        return json.dumps({"architecture": self.architecture, "os": "linux", "config": self.settings, "rootfs": rootfs}).encode()

    @property
    def manifest(self) -> bytes:
        layers = [descriptor(self.types[each.kind], each.blob) for each in self.layers]
        document = {"schemaVersion": 2, "mediaType": self.types["manifest"], "config": descriptor(self.types["config"], self.config)}
        return json.dumps(document | {"layers": layers}).encode()

    @property
    def digest(self) -> str:
        return digest(self.manifest)

    @property
    def hex(self) -> str:
        return self.digest.removeprefix("sha256:")

    @property
    def blobs(self) -> dict[str, bytes]:
        """By digest, the manifest not among them."""
        return {digest(data): data for data in (self.config, *(each.blob for each in self.layers))}

    @property
    def entry(self) -> dict[str, Any]:
        """In an index."""
        return descriptor(self.types["manifest"], self.manifest) | {"platform": {"os": "linux", "architecture": self.architecture}}


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def index_of(images: Sequence[Image]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI["index"], "manifests": [each.entry for each in images]}).encode()


def write_layout(directory: Path, images: dict[str, Image]) -> Path:
    """An OCI layout with these images by tag; what was there stays."""
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    entries = []
    for tag, image in images.items():
        for name, data in {**image.blobs, image.digest: image.manifest}.items():
            (blobs / name.removeprefix("sha256:")).write_bytes(data)
        entries.append(descriptor(image.types["manifest"], image.manifest) | {"annotations": {"org.opencontainers.image.ref.name": tag}})
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return directory


def archive_layout(directory: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        archive.add(directory, arcname=".")
    return path


def push(base: str, repository: str, tag: str, image: Image, authorization: str = "") -> None:
    """Push to a registry at `http://host:port`, as the distribution specification has it."""
    for name, data in image.blobs.items():
        location = _send("POST", f"{base}/v2/{repository}/blobs/uploads/", b"", {}, authorization)
        target = urljoin(base, location)
        separator = "&" if "?" in target else "?"
        _send("PUT", f"{target}{separator}digest={name}", data, {"Content-Type": "application/octet-stream"}, authorization)
    put_manifest(base, repository, tag, image.manifest, image.types["manifest"], authorization)


def put_manifest(base: str, repository: str, tag: str, manifest: bytes, media_type: str, authorization: str = "") -> None:
    _send("PUT", f"{base}/v2/{repository}/manifests/{tag}", manifest, {"Content-Type": media_type}, authorization)


def _send(method: str, url: str, body: bytes, headers: dict[str, str], authorization: str) -> str:
    """The `Location` of the answer."""
    given = headers | ({"Authorization": authorization} if authorization else {})
    with urllib.request.urlopen(urllib.request.Request(url, data=body, method=method, headers=given), timeout=60) as response:
        return str(response.headers.get("Location", ""))
