"""What an account has stored: the sum over its functions and layers, kept with every change of one."""

from hanabi.control.functions import Functions
from hanabi.control.layers.layers import Layers
from hanabi.control.layers.model import Layer
from hanabi.control.model import Function


class AccountUsage:
    """The sums. Each version of a function or of a layer counts, whether or not another one has the same code."""

    def __init__(self, functions: Functions, layers: Layers) -> None:
        self.functions = 0
        self.code_bytes = 0
        functions.listen(self._on_function)
        layers.listen(self._on_layer)

    def _on_function(self, old: Function | None, new: Function | None) -> None:
        self.functions += (new is not None) - (old is not None)
        self.code_bytes += _function_bytes(new) - _function_bytes(old)

    def _on_layer(self, old: Layer | None, new: Layer | None) -> None:
        self.code_bytes += _layer_bytes(new) - _layer_bytes(old)


def _function_bytes(function: Function | None) -> int:
    return sum(version.code.size for version in (function.latest, *function.versions.values())) if function else 0


def _layer_bytes(layer: Layer | None) -> int:
    return sum(version.size for version in layer.versions.values()) if layer else 0
