"""Which version of its runtime a function runs on."""

from pathlib import Path
from typing import Any

import pytest

from hanabi.control.model import Function
from hanabi.control.runtime_management import check_pin, describe_config, put_config, runtime_arn, runtime_id
from hanabi.errors import ImageError, InvalidParameterValue, ResourceNotFound
from tests.unit.control.support import ACCOUNT, ARN, REGION, Plane, image_params, open_plane

HERE = f"arn:aws:lambda:{REGION}::runtime:python3.11"  # what FakeImages has
OTHER = f"arn:aws:lambda:{REGION}::runtime:0123"


async def put(plane: Plane, qualifier: str | None = None, **params: Any) -> Function:
    return await plane.functions.change("f", put_config(params, qualifier))


async def test_modes(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        made = await plane.create(Publish=True)
        assert describe_config(made, None) == {"UpdateRuntimeOn": "Auto", "FunctionArn": f"{ARN}:f"}
        changed = await put(plane, UpdateRuntimeOn="FunctionUpdate")
        assert describe_config(changed, None)["UpdateRuntimeOn"] == "FunctionUpdate"
        assert changed.latest.revision_id != made.latest.revision_id and plane.retired == []
        await put(plane, "1", UpdateRuntimeOn="Manual", RuntimeVersionArn=HERE)
    async with open_plane(tmp_path) as plane:
        function = plane.functions.find("f")
        shown = {"UpdateRuntimeOn": "Manual", "FunctionArn": f"{ARN}:f:1", "RuntimeVersionArn": HERE}
        assert describe_config(function, "1") == shown and describe_config(function, None)["UpdateRuntimeOn"] == "FunctionUpdate"
        assert plane.catalog.resolve("f", "1").version.runtime_version == "python3.11"
        assert plane.catalog.resolve("f", None).version.runtime_version == ""


async def test_what_is_refused(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        for params, message in (
            ({"UpdateRuntimeOn": "Manual"}, "RuntimeVersionArn is required"),
            ({"UpdateRuntimeOn": "Auto", "RuntimeVersionArn": HERE}, "is not allowed"),
            ({"UpdateRuntimeOn": "Manual", "RuntimeVersionArn": OTHER}, "is not on this host"),
        ):
            with pytest.raises(InvalidParameterValue, match=message):
                await put(plane, **params)
        with pytest.raises(ResourceNotFound):
            await put(plane, "7", UpdateRuntimeOn="Auto")
        await plane.deployment.create("i", image_params("i"))
        await plane.settle("i")
        with pytest.raises(InvalidParameterValue, match="PackageType Image"):
            await plane.functions.change("i", put_config({"UpdateRuntimeOn": "Auto"}, None))


async def test_a_pinned_version_runs_on_no_other(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        function = await put(plane, UpdateRuntimeOn="Manual", RuntimeVersionArn=HERE)
        check_pin(function.latest, HERE.replace(REGION, "eu-west-1"))
        with pytest.raises(ImageError, match="pinned to the runtime version python3.11"):
            check_pin(function.latest, OTHER)
        await plane.deployment.update_settings("f", {"FunctionName": "f", "Runtime": "python3.13"})
        assert (await plane.settle()).latest.update == "Failed"


def test_names() -> None:
    from hanabi.control.arns import AccountRegion

    assert runtime_id(HERE) == "python3.11" and runtime_id("") == ""
    assert runtime_arn(AccountRegion(ACCOUNT, "cn-north-1"), HERE) == "arn:aws-cn:lambda:cn-north-1::runtime:python3.11"
