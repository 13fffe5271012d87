"""The layers that a function gets: found by their ARNs, and measured together with its code."""

from collections.abc import Mapping, Sequence
from typing import Any

from hanabi.control.dependencies import CodeStore
from hanabi.control.layers.foreign_layers import ForeignLayers
from hanabi.control.layers.layer_names import LayerName, parse_arn
from hanabi.control.layers.layers import Layers
from hanabi.control.model import AttachedLayer, Code
from hanabi.errors import InvalidParameterValue
from hanabi.quotas import LAYERS_MAX, UNZIPPED_CODE_BYTES


class LayerAttachment:
    """Finds layers for functions. Raises AWS's errors."""

    def __init__(self, layers: Layers, foreign: ForeignLayers, code: CodeStore) -> None:
        self._layers = layers
        self._foreign = foreign
        self._code = code

    async def find(self, params: Mapping[str, Any], caller: str = "") -> tuple[AttachedLayer, ...] | None:
        """Find the layers of CreateFunction's or UpdateFunctionConfiguration's `params`; None: none are given. `caller`: an ARN."""
        arns: Sequence[str] | None = params.get("Layers")
        if arns is None:
            return None
        if len(arns) > LAYERS_MAX:
            raise InvalidParameterValue(f"Cannot reference more than {LAYERS_MAX} layers.")
        found: dict[str, AttachedLayer] = {}  # by the ARN of the layer as a whole
        for arn in arns:
            name = parse_arn(arn)
            attached = await self._find(name, caller)
            whole = name._replace(number=None).arn
            if whole in found:
                raise InvalidParameterValue(
                    "Two different versions of the same layer are not allowed to be referenced in the same function. "
                    f"{found[whole].arn} and {arn} are versions of the same layer."
                )
            found[whole] = attached
        return tuple(found.values())

    async def _find(self, name: LayerName, caller: str) -> AttachedLayer:
        place = self._layers.account_region
        if name.region != place.region:
            raise InvalidParameterValue(
                f"Layers are not in the same region as the function. Layers are expected to be in region {place.region}."
            )
        own = name.account == place.account
        version = self._layers.find_version(name) if own else await self._foreign.find(name, caller)
        if version is None:
            raise InvalidParameterValue(f"Layer version {name.arn} does not exist.")
        return AttachedLayer(arn=name.arn, sha256=version.sha256, size=version.size, unzipped_size=version.unzipped_size)

    async def check_size(self, code: Code, layers: Sequence[AttachedLayer]) -> None:
        """Refuse code that is too large together with its layers."""
        if not layers:
            return
        size = await self._code.measure(code.sha256) + sum(layer.unzipped_size for layer in layers)
        if size > UNZIPPED_CODE_BYTES:
            raise InvalidParameterValue(
                f"Function code combined with layers exceeds the maximum allowed size of {UNZIPPED_CODE_BYTES} bytes. "
                f"The actual size is {size} bytes."
            )
