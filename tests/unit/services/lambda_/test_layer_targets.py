"""Which permission a layer operation needs, and on what."""

from pathlib import Path
from typing import Any

from hanabi.control.layers.layer_policies import add_statement
from hanabi.services.lambda_.layer_targets import LayerTargets, version_permission
from tests.unit.control.support import ACCOUNT, REGION, open_plane
from tests.unit.edge.world import allow, open_world

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


async def test_what_a_caller_may_do_with_layers_is_enforced(tmp_path: Path) -> None:
    """A function runs its layers' code: to add one takes a permission on it, by the caller's policies or by the layer version's own."""
    async with open_world(tmp_path) as world:
        for _ in range(2):
            await world.control.layers.publish("a", {"Content": {"ZipFile": b"zip"}})
        admin = await world.session("admin", allow("*"))
        maker = await world.session("maker", allow(["lambda:UpdateFunctionConfiguration", "lambda:ListLayers"]))
        some = await world.session(
            "some", allow("lambda:UpdateFunctionConfiguration", Condition={"ForAllValues:StringLike": {"lambda:Layer": f"{ARN}:b:*"}}),
            allow("lambda:GetLayerVersion"),
        )  # fmt: skip
        await world.function("f")

        async def add(key: Any, number: int) -> Any:
            return await world.ask(key, "lambda", "UpdateFunctionConfiguration", FunctionName="f", Layers=[f"{ARN}:a:{number}"])

        refused = await add(maker, 1)
        assert refused.denied and f"lambda:GetLayerVersion on resource: {ARN}:a:1" in refused.message
        assert (await add(some, 1)).denied
        assert (await world.ask(maker, "lambda", "ListLayers")).status == 200
        for operation in ("GetLayerVersion", "DeleteLayerVersion", "GetLayerVersionPolicy"):
            assert (await world.ask(maker, "lambda", operation, LayerName="a", VersionNumber=1)).denied
        shared = {"LayerName": "a", "VersionNumber": 1, "StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "*"}
        assert (await world.ask(maker, "lambda", "AddLayerVersionPermission", **shared)).denied
        assert (await world.ask(admin, "lambda", "AddLayerVersionPermission", **shared)).status == 201
        assert (await world.ask(maker, "lambda", "GetLayerVersion", LayerName="a", VersionNumber=1)).status == 200
        assert (await add(maker, 2)).denied
        assert (await add(maker, 1)).status == 200
        function = world.control.functions.find("f")
        assert [layer.arn for layer in function.latest.settings.layers] == [f"{ARN}:a:1"]
