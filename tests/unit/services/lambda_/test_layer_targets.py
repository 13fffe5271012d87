"""Which permission a layer operation needs, and on what."""

from pathlib import Path
from typing import Any

from hanabi.control.layers.layer_policies import add_statement
from hanabi.services.lambda_.layer_targets import LayerTargets, version_permission
from tests.unit.control.support import ACCOUNT, REGION, open_plane

ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer"


async def handle(call: Any, params: Any, target: Any) -> dict[str, Any]:
    return {}


async def test_permissions(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        on = LayerTargets(plane.layers)
        for operation, given, resource in (
            (on.layer("PublishLayerVersion", handle), {"LayerName": "a"}, f"{ARN}:a"),
            (on.version("GetLayerVersion", handle), {"LayerName": f"{ARN}:a", "VersionNumber": 2}, f"{ARN}:a:2"),
            (on.version_arn("GetLayerVersion", handle), {"Arn": f"{ARN}:a:2"}, f"{ARN}:a:2"),
            (on.listed_layer("ListLayerVersions", handle), {"LayerName": "a"}, "*"),
            (on.account("ListLayers", handle), {}, "*"),
        ):
            target: Any = operation.resolve(given)
            (needed,) = operation.permissions(target, given)
            assert (needed.action, needed.resource, needed.policy) == (operation.action, resource, ())


async def test_the_policy_of_a_version_counts(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.layers.publish("a", {"Content": {"ZipFile": b"zip"}})
        name: Any = LayerTargets(plane.layers).version_arn("GetLayerVersion", handle).resolve({"Arn": f"{ARN}:a:1"})
        given = {"StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "*"}
        await plane.layers.change_version(name, lambda version: add_statement(version, name.arn, given))
        (statement,) = version_permission(plane.layers, "GetLayerVersion", name).policy
        assert statement["Principal"] == "*"
