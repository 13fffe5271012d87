"""References to code, container images and snapshots, from functions and layers. Everything else of these is garbage."""

from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path

from hanabi.control.functions import Functions
from hanabi.control.layers.layers import Layers
from hanabi.control.model import Version


class References:
    """The references. `place` returns where unpacked code is, `layers_at` where merged layers are.

    `uploads` are hashes of stored code that no function has yet.
    """

    def __init__(
        self,
        functions: Functions,
        layers: Layers,
        place: Callable[[str], Path],
        layers_at: Callable[[Sequence[str]], Path],
        uploads: Callable[[], Set[str]],
    ) -> None:
        self._functions = functions
        self._layers = layers
        self._place = place
        self._layers_at = layers_at
        self._uploads = uploads

    @property
    def why_incomplete(self) -> str:
        """Why a reference may be missing here; empty: none is."""
        return self._functions.why_incomplete or self._layers.why_incomplete

    def code(self) -> set[Path]:
        """The unpacked code and layers in use."""
        hashes = {*self._uploads(), *self._layers.hashes}
        for version in self._versions():
            hashes.update(version.code_hashes)
        return {self._place(sha256) for sha256 in hashes}

    def layer_sets(self) -> set[Path]:
        """The merged layers in use."""
        return {self._layers_at(version.settings.layer_hashes) for version in self._versions() if version.settings.layers}

    def images(self) -> set[str]:
        """The digests of container images in use."""
        return {version.code.sha256 for version in self._versions() if version.code.image}

    def snapshots(self) -> set[str]:
        """The names of snapshots in use."""
        return {version.snapshot for function in self._functions for version in function.versions.values() if version.snapshot}

    def _versions(self) -> Iterator[Version]:
        for function in self._functions:
            yield function.latest
            yield from function.running()
