"""References from functions to code, container images and snapshots. Everything else of these is garbage."""

from collections.abc import Callable, Iterator, Set
from pathlib import Path

from hanabi.control.functions import Functions
from hanabi.control.model import Code


class References:
    """The references. `place` returns where unpacked code is; `uploads` are hashes of stored code that no function has yet."""

    def __init__(self, functions: Functions, place: Callable[[str], Path], uploads: Callable[[], Set[str]]) -> None:
        self._functions = functions
        self._place = place
        self._uploads = uploads

    @property
    def why_incomplete(self) -> str:
        """Why a reference may be missing here; empty: none is."""
        return self._functions.why_incomplete

    def code(self) -> set[Path]:
        """The unpacked code in use."""
        return {self._place(sha256) for sha256 in (*self._uploads(), *(code.sha256 for code in self._codes() if not code.image))}

    def images(self) -> set[str]:
        """The digests of container images in use."""
        return {code.sha256 for code in self._codes() if code.image}

    def snapshots(self) -> set[str]:
        """The names of snapshots in use."""
        return {version.snapshot for function in self._functions for version in function.versions.values() if version.snapshot}

    def _codes(self) -> Iterator[Code]:
        for function in self._functions:
            yield function.latest.code
            yield from (version.code for version in function.running())
