"""The puller's process: `python -m hanabi.images.containers.pull DIRECTORY REQUEST`, with REQUEST in JSON.

    {"action": "resolve", "image": ...}   prints {"image": pinned, "digest": hex}: what the tag means now, for this machine
    {"action": "pull", "image": pinned}   unpacks it; `owner`, `name` and `runtime` say who needs it. Prints progress

`plain` lists registries without TLS. A failure is one line of JSON on standard error: {"kind", "message"}, as `ImageError` has them.
"""

import hashlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from hanabi.errors import ImageError
from hanabi.images.builders.main import run_as_builder
from hanabi.images.builders.progress import ProgressReporter
from hanabi.images.builders.staging import staged_directory
from hanabi.images.containers import paths, unpack
from hanabi.images.containers.blobs import Blobs
from hanabi.images.containers.layout import OciLayout
from hanabi.images.containers.manifests import (
    LAYERS,
    Configuration,
    Descriptor,
    Manifest,
    choose,
    is_index,
    load,
    read_configuration,
    read_manifest,
)
from hanabi.images.containers.reference import LayoutReference, RegistryReference, parse
from hanabi.images.containers.registry_client import ImageRegistry, Source
from hanabi.images.containers.registry_http import Transport
from hanabi.images.identity import ImageOwner
from hanabi.images.paths import describe, measure

UNPACK_S = 1800.0
NESTED = 3  # indexes that name indexes

Progress = Callable[[str], None]


@contextmanager
def open_source(reference: RegistryReference | LayoutReference, plain: list[str]) -> Iterator[Source]:
    if isinstance(reference, RegistryReference):
        yield ImageRegistry(reference, Transport(plain))
        return
    with closing(OciLayout(reference)) as layout:
        yield layout


def find_manifest(source: Source, digest: str, machine: str) -> tuple[str, bytes]:
    """Find the manifest for this machine: (digest, content). `digest`, if given, is the top document's expected digest."""
    raw = source.top()
    actual = _digest(raw)
    if digest and actual != digest:
        raise ImageError(f"what was to be {digest} is {actual}", "invalid")
    for _ in range(NESTED):
        document = load(raw, "the manifest")
        if not is_index(document):
            read_manifest(document)
            return actual, raw
        descriptor = choose(document, machine)
        raw = source.document(descriptor)
        actual = _digest(raw)
        if actual != descriptor.digest or len(raw) != descriptor.size:
            raise ImageError(f"what was to be {descriptor.digest} of {descriptor.size} bytes is {actual} of {len(raw)}", "invalid")
    raise ImageError(f"more than {NESTED} indexes name each other", "invalid")


def resolve(image: str, plain: list[str], machine: str) -> dict[str, str]:
    """Resolve an image to its current digest. Raises `ImageError`."""
    reference = parse(image)
    with open_source(reference, plain) as source:
        digest, _ = find_manifest(source, reference.digest, machine)
    return {"image": str(reference.pin(digest)), "digest": digest.removeprefix("sha256:")}


class Puller:
    """Pulls and unpacks one pinned image, unless it exists."""

    def __init__(self, directory: Path, image: str, plain: list[str], machine: str, progress: Progress) -> None:
        self._directory = directory
        self._image = image
        self._plain = plain
        self._machine = machine
        self._progress = progress
        self._reference = parse(image)
        if not self._reference.digest:
            raise ImageError(f"{image} is not pinned to a digest", "malformed")
        self.digest = self._reference.digest.removeprefix("sha256:")
        paths.prepare(directory)
        self._blobs = Blobs(directory)

    def pull(self, owner: ImageOwner | None = None, name: str = "", runtime: str = "") -> None:
        """Pull the image. Raises `ImageError`."""
        place = paths.container_path(self._directory, self.digest)
        with staged_directory(self._directory, place, self._progress) as (made, lock):
            if made is not None:
                with paths.using_blobs(self._directory), open_source(self._reference, self._plain) as source:
                    self._fill(made, source, lock)
            if owner:
                paths.refer(self._directory, self.digest, owner, time.time())
            for kind, said in ((paths.NAMES, name), (paths.RUNTIMES, runtime)):
                if said:
                    paths.write_name(self._directory, paths.NamedImage(said, self._image, self.digest), kind)

    def _fill(self, made: Path, source: Source, lock: int) -> None:
        started = time.monotonic()
        _, raw = find_manifest(source, self._reference.digest, self._machine)
        manifest = read_manifest(load(raw, "the manifest"))
        config = load(self._fetch(source, manifest.config, "the configuration").read_bytes(), "the configuration")
        configuration = read_configuration(config, len(manifest.layers), self._machine)
        for number, layer in enumerate(manifest.layers, 1):
            self._fetch(source, layer, f"layer {number} of {len(manifest.layers)}")
        root = made / "root"
        root.mkdir()
        root.chmod(0o755)
        try:
            self._unpack(root, manifest, configuration, lock)
        except ImageError as error:
            for layer in manifest.layers if error.kind == "invalid" else ():
                self._blobs.remove(layer)  # one may have been damaged here
            raise
        size = measure(root)
        describe(
            made,
            digest=self.digest,
            image=self._image,
            size=size,
            pulled_ms=int(time.time() * 1000),
            blobs=[each.hex for each in (manifest.config, *manifest.layers)],
            entry_point=configuration.entry_point,
            command=configuration.command,
            working_directory=configuration.working_directory,
            environment=dict(configuration.environment),
        )
        self._progress(f"{self._image}: {size / 2**20:.0f} MB, pulled in {time.monotonic() - started:.0f} s")

    def _fetch(self, source: Source, descriptor: Descriptor, what: str) -> Path:
        counted = ProgressReporter(self._progress).counter(f"fetching {what}")
        return self._blobs.fetch(descriptor, lambda offset: source.blob(descriptor, offset), lambda done: counted(done, descriptor.size))

    def _unpack(self, root: Path, manifest: Manifest, configuration: Configuration, lock: int) -> None:
        layers = [
            {"path": str(self._blobs.path(layer)), "compression": LAYERS[layer.media_type], "diff_id": diff_id}
            for layer, diff_id in zip(manifest.layers, configuration.diff_ids, strict=True)
        ]
        command = [sys.executable, "-m", unpack.__name__, str(root)]
        try:
            done = subprocess.run(command, input=json.dumps(layers).encode(), stderr=subprocess.PIPE, timeout=UNPACK_S, pass_fds=(lock,))
        except subprocess.TimeoutExpired:
            raise ImageError(f"the image was not unpacked within {UNPACK_S:.0f} s", "invalid") from None
        said = done.stderr.decode(errors="replace").strip()[-1000:]
        if done.returncode:
            is_fault = done.returncode == unpack.EXIT or done.returncode < 0  # it ran into a limit of its process
            raise ImageError(said or f"unpacking ended with {done.returncode}", "invalid" if is_fault else "unavailable")


def _digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _printable(line: str) -> str:
    return "".join(each if each.isprintable() or each == "\t" else "?" for each in line)


def main(arguments: list[str]) -> int:
    request: dict[str, Any] = json.loads(arguments[1])
    plain, machine = request.get("plain", []), platform.machine()

    def build(progress: Callable[[str], None]) -> None:
        if request["action"] == "resolve":
            progress(json.dumps(resolve(request["image"], plain, machine)))
            return
        puller = Puller(Path(arguments[0]), request["image"], plain, machine, lambda line: progress(_printable(line)))
        owner = ImageOwner(request["owner"], Path(request["owner_directory"])) if "owner" in request else None
        puller.pull(owner, request.get("name", ""), request.get("runtime", ""))

    return run_as_builder(build, _explain)


def _explain(error: Exception) -> str:
    return json.dumps({"kind": error.kind if isinstance(error, ImageError) else "unavailable", "message": str(error)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
