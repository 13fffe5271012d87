"""Runtime roots from packages: built at first use, with a bundled bootstrap beside them."""

import asyncio
import hashlib
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from hanabi.base.files import remove_at_once, write_whole
from hanabi.contracts.images import RuntimeImage
from hanabi.images.builders.worker import Priority, run_builder
from hanabi.images.drives.drives import remove_drives
from hanabi.images.paths import is_whole, make_readable, root_path
from hanabi.images.runtimes.bootstraps import install_bootstrap
from hanabi.images.runtimes.recipes import RUNTIMES, digest_recipe

CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"  # Debian's ...
_CERTIFICATES_TOO = (  # ... where Amazon Linux, so Lambda, has them, and where OpenSSL looks, for which Debian bullseye has no link
    "etc/ssl/certs/ca-bundle.crt", "etc/pki/tls/certs/ca-bundle.crt", "usr/lib/ssl/cert.pem",
)  # fmt: skip
ENTRYPOINT = "lambda-entrypoint.sh"  # that AWS's base images have, for `docker run` and images of their users
_ENTRYPOINT_SCRIPT = """#!/bin/sh
if [ $# -ne 1 ]; then
    echo "the handler's name is the one argument" >&2
    exit 142
fi
export _HANDLER="$1"
exec {command}
"""
Progress = Callable[[str], None]


class PackageRoots:
    """The roots of `recipes`."""

    def __init__(self, directory: Path, guest: Path) -> None:
        self._directory = directory
        self._guest = guest

    def has(self, runtime: str) -> bool:
        """Whether there is a recipe for a runtime."""
        return runtime in RUNTIMES

    def place(self, runtime: str) -> Path:
        """Return where the root of a runtime is, once it is built."""
        return root_path(self._directory, RUNTIMES[runtime].recipe)

    def is_built(self, runtime: str) -> bool:
        return self.has(runtime) and is_whole(self.place(runtime))

    async def ensure(self, runtime: str, progress: Progress, priority: Priority) -> RuntimeImage:
        """Return the image of a runtime, built now if absent. Raises `ImageError`."""
        recipe, place = RUNTIMES[runtime].recipe, self.place(runtime)
        if not is_whole(place):
            arguments = (self._directory, recipe)
            await run_builder("hanabi.images.runtimes.builder", arguments, f"the root of {recipe}", progress, priority)
        return await asyncio.to_thread(self._assemble, runtime, place / "root")

    def _assemble(self, runtime: str, root: Path) -> RuntimeImage:
        known = RUNTIMES[runtime]
        bootstrap = install_bootstrap(self._guest, self._directory / "bootstrap", known.language, root)
        place_certificates(root)
        place_entrypoint(root, known.command or ("/var/runtime/bootstrap",))
        for tree in (root, bootstrap):
            make_readable(tree, self._directory)
        identity = hashlib.sha256(
            f"{runtime}/{digest_recipe(known.recipe)}/{bootstrap.name}/{CERTIFICATES}/{ENTRYPOINT}".encode()
        ).hexdigest()
        return RuntimeImage(
            runtime=runtime,
            digest=identity,
            root=root,
            runtime_dir=bootstrap,
            command=known.command,
            own_bootstrap=known.own_bootstrap,
            environment=known.environment,
            version_arn=f"arn:aws:lambda:us-east-1::runtime:{identity}",
            clonable=known.clonable,
            heap_sized=known.heap_sized,
        )

    def remove(self, runtime: str) -> bool:
        """Remove all current and earlier roots of a runtime, and their drives; False when there was none. No running node may use them.

        Runtimes that run on the same root lose it together.
        """
        if not self.has(runtime):
            return False
        found = list((self._directory / "roots").glob(f"{RUNTIMES[runtime].recipe}-*"))
        for place in found:
            remove_at_once(place, self._directory / "building")
        for name, known in RUNTIMES.items():
            if known.recipe == RUNTIMES[runtime].recipe:
                remove_drives(self._directory, name)
        return bool(found)


def place_certificates(root: Path) -> None:
    """Link certificates to the paths that functions expect; roots built earlier lack them."""
    for name in _CERTIFICATES_TOO:
        link = root / name
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process may have been quicker
                link.symlink_to(f"/{CERTIFICATES}")


def place_entrypoint(root: Path, command: Sequence[str]) -> None:
    """Write the script that AWS's base images begin with; roots built earlier lack it."""
    place = root / ENTRYPOINT
    if not place.exists():
        write_whole(place, _ENTRYPOINT_SCRIPT.format(command=shlex.join(command)), mode=0o755)
