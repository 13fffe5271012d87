"""The protocols that the control plane needs of lower packages: code and runtimes."""

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from hanabi.contracts.images import RuntimeImage
from hanabi.errors import CodeError


class StoredCode(Protocol):
    @property
    def sha256(self) -> str: ...  # of the zip, base64
    @property
    def size(self) -> int: ...  # of the zip


class CodeStore(Protocol):
    def place(self, sha256: str) -> Path:
        """Return where unpacked code is, if it exists."""

    async def find(self, hashes: Set[str]) -> Mapping[str, CodeError]:
        """Check code, by `CodeSha256`; returns what is wrong with unusable code."""

    async def store(self, blob: bytes | Path) -> StoredCode:
        """Unpack a zip. Raises `ApiError` for an invalid one."""

    async def measure(self, sha256: str) -> int:
        """Return the size of unpacked code, in bytes."""


class CodeObject(Protocol):
    """A zip file that was fetched from S3."""

    @property
    def path(self) -> Path: ...
    @property
    def version(self) -> str: ...  # of the object; "" in a bucket without versions


class CodeObjects(Protocol):
    def fetch(self, bucket: str, key: str, version: str | None) -> AbstractAsyncContextManager[CodeObject]:
        """Fetch an object of S3, for as long as the context lasts. Raises `ApiError` in Lambda's words."""


class LayerSets(Protocol):
    """Layers of functions, merged; a set is the hashes of its layers' zips, the later ones over the earlier ones."""

    def place(self, hashes: Sequence[str]) -> Path:
        """Return where a set is, if it exists: becomes /opt."""

    async def ensure(self, hashes: Sequence[str]) -> Path:
        """Return where a set is, merged if missing. Raises `CodeError`."""


class LayerSource(Protocol):
    def fetch(self, arn: str) -> AbstractAsyncContextManager[tuple[Path, Mapping[str, Any]] | None]:
        """Return a layer version's (zip file, what is known of it), for as long as the context lasts; None: it is not there.

        Raises `ImageError`.
        """


class Runtimes(Protocol):
    async def why_unavailable(self, runtime: str) -> str:
        """Return why its functions cannot run on this host; empty: they can."""

    async def why_pending(self, runtime: str) -> str:
        """Return why its functions stay pending until it is to be had; empty: they do not."""

    async def ensure(self, runtime: str, progress: Callable[[str], None]) -> RuntimeImage:
        """Return its root, built if missing; `progress` gets the builder's lines. Raises `ImageError` with the reason."""

    async def prepare_code(self, directory: Path) -> None:
        """Make unpacked code ready to be mounted."""
