"""Targets of the layer operations: how the layer is found, and the permission needed on it."""

from collections.abc import Callable

from hanabi.control.layers.layer_names import LayerName, check_number, parse_arn, parse_layer
from hanabi.control.layers.layers import Layers
from hanabi.edge.service import DOCUMENT, Handler, Operation, Params, RequestBody, RequiredPermission


class LayerTargets:
    """Makes the `Operation`s of the layer handlers. `action` is without the service prefix. Layers are looked up at each call only."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    def listed_layer(self, action: str, handler: Handler[LayerName]) -> Operation[LayerName]:
        """On a layer, allowed on the account."""
        return Operation(
            handler,
            self._parse,
            lambda target, params: [RequiredPermission(f"lambda:{action}", "*")],
            action=f"lambda:{action}",
            resource="*",
        )

    def layer(self, action: str, handler: Handler[LayerName], body: RequestBody = DOCUMENT) -> Operation[LayerName]:
        """On a layer, which may not exist yet."""
        return Operation(
            handler,
            self._parse,
            lambda name, params: [RequiredPermission(f"lambda:{action}", name.arn)],
            action=f"lambda:{action}",
            resource="layer:NAME",
            body=body,
        )

    def version(self, action: str, handler: Handler[LayerName]) -> Operation[LayerName]:
        """On a version of a layer."""
        return self._on_version(action, handler, lambda params: self._parse(params).version(check_number(params["VersionNumber"])))

    def version_arn(self, action: str, handler: Handler[LayerName]) -> Operation[LayerName]:
        """On a version of a layer, by its ARN."""
        return self._on_version(action, handler, lambda params: parse_arn(params["Arn"]))

    def _on_version(self, action: str, handler: Handler[LayerName], resolve: Callable[[Params], LayerName]) -> Operation[LayerName]:
        return Operation(
            handler,
            resolve,
            lambda name, params: [version_permission(self._layers, action, name)],
            action=f"lambda:{action}",
            resource="layer:NAME:VERSION",
        )

    def _parse(self, params: Params) -> LayerName:
        return parse_layer(params["LayerName"], self._layers.account_region)


def version_permission(layers: Layers, action: str, name: LayerName) -> RequiredPermission:
    """Return the permission on a layer version, with its policy."""
    if not name.is_in(layers.account_region):
        return RequiredPermission(f"lambda:{action}", name.arn, policy=layers.foreign_policy(name) if action == "GetLayerVersion" else ())
    version = layers.find_version(name)
    return RequiredPermission(f"lambda:{action}", name.arn, policy=version.policy if version else ())
