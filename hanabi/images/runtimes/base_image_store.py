"""AWS's base images on this host: found in a registry, a mirror or a layout on disk, pulled once, and kept by digest.

A directory of layouts has, for each runtime, one of
    DIR/oci-layout with the tag RUNTIME     one OCI layout for all: `skopeo copy --all docker://... oci:DIR:python3.13`
    DIR/RUNTIME/oci-layout                  an OCI layout of its own
    DIR/RUNTIME.tar                         a tar file of one
"""

import asyncio
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hanabi.base.clock import Clock, SystemClock
from hanabi.base.tasks import SingleFlight
from hanabi.contracts.images import RuntimeImage
from hanabi.errors import ImageError
from hanabi.images.containers import container_images, paths
from hanabi.images.containers.container_images import PULL_S, run_pull
from hanabi.images.containers.reference import parse
from hanabi.images.paths import is_whole, make_readable
from hanabi.images.runtimes.base_images import read_base_images
from hanabi.images.runtimes.bootstraps import install_bootstrap
from hanabi.images.runtimes.recipes import base_environment
from hanabi.images.runtimes.sources import RuntimeSources

log = logging.getLogger(__name__)

PROBE_S = 20.0  # to ask the registry what a tag means
ASK_AGAIN_S = 300.0  # after a registry could not be reached
BOOTSTRAP = "/var/runtime/bootstrap"
Progress = Callable[[str], None]


class BaseImageStore:
    """The base images. `close` ends what asks registries."""

    def __init__(self, directory: Path, sources: RuntimeSources, clock: Clock | None = None, guest: Path | None = None) -> None:
        self._directory = directory
        self._guest = guest  # the bundled bootstraps, for copies of processes
        self._sources = sources
        self._clock = clock or SystemClock()
        self._found: dict[str, str] = {}  # pinned, by runtime
        self._failed: dict[str, tuple[float, ImageError]] = {}  # by runtime, or by registry when that cannot be reached; monotonic
        self._asking: SingleFlight[str, str] = SingleFlight()

    async def close(self) -> None:
        await self._asking.close()

    def address(self, runtime: str) -> str:
        """Return where the image of a runtime is; empty: there is none. Blocks briefly."""
        registry, images = read_base_images()
        image, layouts = images.get(runtime), self._sources.layouts
        if image is None:
            return ""
        if layouts is not None:
            if (layouts / runtime / "oci-layout").is_file():
                return f"oci:{layouts / runtime}"
            if (layouts / f"{runtime}.tar").is_file():
                return f"oci-archive:{layouts / runtime}.tar"
            if (layouts / "oci-layout").is_file() and _has_tag(layouts, runtime):
                return f"oci:{layouts}:{runtime}"
            if not self._sources.mirror:
                return ""  # the owner said where they are
        return image.address(self._sources.mirror or registry)

    def pinned(self, runtime: str) -> paths.NamedImage | None:
        """Return the image that a runtime is on this host; None: it was not pulled. Blocks briefly. Raises `ImageError`."""
        named = paths.read_name(self._directory, runtime, paths.RUNTIMES)
        return named if named is not None and is_whole(paths.container_path(self._directory, named.digest)) else None

    def _pinned_address(self, runtime: str) -> str:
        """Return where an image that was pulled once, and is damaged or gone, is by its digest now; empty: it never was."""
        named, address = paths.read_name(self._directory, runtime, paths.RUNTIMES), self.address(runtime)
        return str(parse(address).pin(f"sha256:{named.digest}")) if named is not None and address else ""

    async def find(self, runtime: str) -> str:
        """Return a runtime's image by digest, asking its registry, unless that was just out of reach. Raises `ImageError`."""
        if found := self._found.get(runtime):
            return found
        address = await asyncio.to_thread(self.address, runtime)
        if not address:
            where = f"in {self._sources.layouts}" if self._sources.layouts else "among AWS's base images"
            raise ImageError(f"there is no image of {runtime} {where}", "missing")
        host = address.partition("/")[0]
        for key in (runtime, host):
            failed = self._failed.get(key)
            if failed is not None and self._clock.monotonic() - failed[0] < ASK_AGAIN_S:
                raise failed[1]
        try:
            self._found[runtime] = await self._asking.run(runtime, lambda: self._resolve(address))
        except ImageError as error:
            key, told = (host, _of_host(error, host)) if error.kind == "unavailable" else (runtime, error)
            self._failed[key] = self._clock.monotonic(), ImageError(str(told), error.kind)
            raise told from None
        return self._found[runtime]

    async def _resolve(self, address: str) -> str:
        lines: list[str] = []
        request = {"action": "resolve", "image": address, "plain": list(self._sources.insecure_registries)}
        await run_pull(self._directory, request, PROBE_S, lines.append)
        try:
            return str(json.loads(lines[-1])["image"])
        except (LookupError, ValueError):
            raise ImageError(f"{address} could not be resolved") from None

    async def ensure(self, runtime: str, progress: Progress) -> RuntimeImage:
        """Return the image of a runtime, pulled now if it was not. Raises `ImageError`."""
        named = await asyncio.to_thread(self.pinned, runtime)
        if named is None:
            image = await asyncio.to_thread(self._pinned_address, runtime) or await self.find(runtime)
            request = {"action": "pull", "image": image, "runtime": runtime, "plain": list(self._sources.insecure_registries)}
            await run_pull(self._directory, request, PULL_S, lambda line: progress(f"pulling AWS's base image: {line}"))
            named = await asyncio.to_thread(self.pinned, runtime)
            if named is None:
                raise ImageError(f"{image} was pulled, and is not there")
        return await asyncio.to_thread(self._assemble, runtime, named.digest)

    def _assemble(self, runtime: str, digest: str) -> RuntimeImage:
        """Make a runtime of an unpacked image: its settings below what Lambda sets for functions that are zip files."""
        image = container_images.assemble(self._directory, digest)
        about = paths.about_of(paths.container_path(self._directory, digest))
        identity = hashlib.sha256(f"{runtime}/{digest}".encode()).hexdigest()
        made = RuntimeImage(
            runtime=runtime,
            digest=identity,
            root=image.root,
            runtime_dir=None,
            command=(),
            own_bootstrap="" if runtime.startswith("provided") else BOOTSTRAP,
            environment={**about["environment"], **base_environment(runtime)},
            version_arn=f"arn:aws:lambda:us-east-1::runtime:{identity}",
        )
        return replace(made, for_copies=self._for_copies(made))

    def _for_copies(self, image: RuntimeImage) -> RuntimeImage | None:
        """Make an image of AWS's Python run Hanabi's bootstrap, whose process can be copied; all else is the image's."""
        python = "var/lang/bin/python3"
        if self._guest is None or not image.runtime.startswith("python") or not os.path.lexists(image.root / python):
            return None
        try:
            bootstrap = install_bootstrap(self._guest, self._directory / "bootstrap", "python", image.root)
            make_readable(bootstrap, self._directory)
        except (ImageError, OSError) as error:
            log.warning("versions of %s with SnapStart start as usual in containers: %s", image.runtime, error)
            return None
        environment = {**image.environment, "PYTHONPATH": "/var/runtime"}  # where AWS's images have boto3
        command = (f"/{python}", "/.hanabi/bootstrap.py")
        return replace(image, bootstrap_dir=bootstrap, own_bootstrap="", command=command, clonable=True, environment=environment)

    def remove(self, runtime: str) -> bool:
        """Forget which image a runtime is, so that it is pulled anew; the image goes when nothing else needs it."""
        self._found.pop(runtime, None)
        return paths.remove_name(self._directory, runtime, paths.RUNTIMES)


def _of_host(error: ImageError, host: str) -> ImageError:
    """Make the error of one image one of its registry: the next image is not asked for."""
    return ImageError(re.sub(r"https?://\S+", host, str(error)), error.kind)


def _has_tag(layout: Path, tag: str) -> bool:
    try:
        entries = json.loads((layout / "index.json").read_bytes())["manifests"]
        return any(entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag for entry in entries)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
