"""What the control plane needs of the rooms below it: code, and runtimes."""

from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Protocol

from hanabi.contracts.images import RuntimeImage
from hanabi.errors import CodeError


class StoredCode(Protocol):
    @property
    def sha256(self) -> str: ...  # of the zip, base64
    @property
    def size(self) -> int: ...  # of the zip


class CodeStore(Protocol):
    def place(self, sha256: str) -> Path:
        """Where code is, unpacked, if it is there."""

    async def find(self, hashes: Set[str]) -> Mapping[str, CodeError]:
        """Make sure of code, by `CodeSha256`; what is wrong with that which cannot be used."""

    async def store(self, blob: bytes | Path) -> StoredCode:
        """Unpack a zip. Raises `ApiError` when it is not a good one."""


class Runtimes(Protocol):
    def known(self, runtime: str) -> bool:
        """Whether there is such a runtime at all."""

    async def why_unavailable(self, runtime: str) -> str:
        """Why its functions cannot run on this host; empty: they can."""

    async def ensure(self, runtime: str, progress: Callable[[str], None]) -> RuntimeImage:
        """Its root, built if it is not there: `progress` gets what is being done. Raises `ImageError` with the reason."""

    async def prepare_code(self, directory: Path) -> None:
        """Make unpacked code ready to be mounted."""
