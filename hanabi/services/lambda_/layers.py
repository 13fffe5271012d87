"""PublishLayerVersion and the other operations on layers."""

from typing import Any

from hanabi.control.layers.compatibility import check_filter
from hanabi.control.layers.foreign_layers import ForeignLayers
from hanabi.control.layers.layer_names import LayerName
from hanabi.control.layers.layer_policies import add_statement, find_policy, remove_statement, statement_text
from hanabi.control.layers.layers import Layers
from hanabi.control.layers.model import Layer, LayerVersion
from hanabi.edge.service import Call
from hanabi.errors import AccessDenied, ResourceNotFound
from hanabi.services.lambda_.describe import describe_time
from hanabi.services.lambda_.functions import CodeUrl, Staging
from hanabi.services.lambda_.pages import take_page


class LayerOperations:
    def __init__(self, layers: Layers, foreign: ForeignLayers, code_url: CodeUrl | None, staging: Staging) -> None:
        self._layers = layers
        self._foreign = foreign
        self._code_url = code_url
        self._staging = staging

    async def publish_layer_version(self, call: Call, params: dict[str, Any], name: LayerName) -> dict[str, Any]:
        self._require_own(call, name)
        async with self._staging(call.principal, params["Content"]) as content:
            version = await self._layers.publish(name.name, {**params, "Content": content})
        return self._describe(call, name, version)

    async def get_layer_version(self, call: Call, params: dict[str, Any], name: LayerName) -> dict[str, Any]:
        if name.account == self._layers.account_region.account:
            version = self._layers.find_version(name)
        else:
            version = await self._foreign.find(name, call.principal.arn)
        if version is None:
            raise ResourceNotFound("The resource you requested does not exist.")
        return self._describe(call, name, version)

    async def list_layers(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        """List layers, each with its newest version that matches; those without one are left out."""
        runtime, architecture = check_filter(params.get("CompatibleRuntime")), params.get("CompatibleArchitecture")
        listed = ((layer, found) for layer in self._layers if (found := layer.latest_matching(runtime, architecture)) is not None)
        page, more = take_page(listed, lambda each: each[0].name, params)
        return {"Layers": [self._describe_layer(layer, version) for layer, version in page], **more}

    async def list_layer_versions(self, call: Call, params: dict[str, Any], name: LayerName) -> dict[str, Any]:
        """List versions that match, the newest first."""
        runtime, architecture = check_filter(params.get("CompatibleRuntime")), params.get("CompatibleArchitecture")
        layer = self._layers.get(name.name) if name.is_in(self._layers.account_region) else None
        versions = layer.newest_first() if layer else ()
        page, more = take_page((each for each in versions if each.matches(runtime, architecture)), _newest_first, params)
        return {"LayerVersions": [_describe_listed(name, version) for version in page], **more}

    async def delete_layer_version(self, call: Call, params: dict[str, Any], name: LayerName) -> dict[str, Any]:
        self._require_own(call, name)
        assert name.number is not None
        await self._layers.delete(name.name, name.number)
        return {}

    # --- policies -----------------------------------------------------------------------------------------------------

    async def add_layer_version_permission(self, call: Call, params: dict[str, Any], name: LayerName) -> dict[str, Any]:
        self._require_own(call, name)
        version = await self._layers.change_version(name, lambda version: add_statement(version, name.arn, params))
        return {"Statement": statement_text(version, params["StatementId"]), "RevisionId": version.policy_revision}

    async def remove_layer_version_permission(self, call: Call, params: dict[str, Any], name: LayerName) -> dict[str, Any]:
        self._require_own(call, name)
        sid, revision_id = params["StatementId"], params.get("RevisionId")
        await self._layers.change_version(name, lambda version: remove_statement(version, sid, revision_id))
        return {}

    async def get_layer_version_policy(self, call: Call, params: dict[str, Any], name: LayerName) -> dict[str, Any]:
        policy, revision_id = find_policy(self._layers.require_version(name))
        return {"Policy": policy, "RevisionId": revision_id}

    # ------------------------------------------------------------------------------------------------------------------

    def _require_own(self, call: Call, name: LayerName) -> None:
        """Refuse to change a layer of another account or region."""
        if not name.is_in(self._layers.account_region):
            raise AccessDenied(f"User: {call.principal.arn} is not authorized to perform: lambda:{call.operation} on resource: {name.arn}")

    def _describe(self, call: Call, name: LayerName, version: LayerVersion) -> dict[str, Any]:
        content: dict[str, Any] = {"CodeSha256": version.sha256, "CodeSize": version.size}
        location = self._code_url(call.request, version.sha256) if self._code_url else None
        if location is not None:
            content["Location"] = location
        if version.object is not None:
            content["ResolvedS3Object"] = dict(version.object)
        return {"Content": content, "LayerArn": name._replace(number=None).arn, **_describe_listed(name, version)}

    def _describe_layer(self, layer: Layer, version: LayerVersion) -> dict[str, Any]:
        place = self._layers.account_region
        name = LayerName(place.partition, place.region, place.account, layer.name)
        return {"LayerName": layer.name, "LayerArn": name.arn, "LatestMatchingVersion": _describe_listed(name, version)}


def _describe_listed(name: LayerName, version: LayerVersion) -> dict[str, Any]:
    """Make a LayerVersionsListItem."""
    description: dict[str, Any] = {
        "LayerVersionArn": name.version(version.number).arn,
        "Version": version.number,
        "Description": version.description,
        "CreatedDate": describe_time(version.created_ms),
    }
    optional: dict[str, Any] = {
        "LicenseInfo": version.license,
        "CompatibleRuntimes": None if version.runtimes is None else list(version.runtimes),
        "CompatibleArchitectures": None if version.architectures is None else list(version.architectures),
    }
    return description | {member: value for member, value in optional.items() if value is not None}


def _newest_first(version: LayerVersion) -> str:
    return str(10**18 - version.number)
