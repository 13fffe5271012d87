"""Layers of functions: found, refused, measured, kept."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from hanabi.control.versions import publish_settled
from hanabi.errors import AccessDenied, ApiError, CodeError, InvalidParameterValue, ResourceConflict
from hanabi.quotas import UNZIPPED_CODE_BYTES
from tests.unit.control.support import ACCOUNT, REGION, Codes, Plane, create_params, open_plane

ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer"
GONE = CodeError("The function's code is not there: code/12 in the data directory.")


async def publish(plane: Plane, *names: str) -> list[str]:
    """Publish a version of each; returns their ARNs."""
    arns = []
    for name in names:
        version = await plane.layers.publish(name, {"Content": {"ZipFile": name.encode()}})
        arns.append(f"{ARN}:{name}:{version.number}")
    return arns


async def test_a_function_has_its_layers_in_order(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        arns = await publish(plane, "a", "b", "c")
        function = await plane.create(Layers=arns, Publish=True)
        assert [layer.arn for layer in function.latest.settings.layers] == arns
        hashes = function.latest.settings.layer_hashes
        assert plane.layer_sets.merged[-1] == hashes
        opt = plane.catalog.resolve("f", None).version.opt
        assert opt == plane.catalog.resolve("f", "1").version.opt == plane.layer_sets.place(hashes)
        assert plane.references.layer_sets() == {opt}
        await plane.deployment.update_settings("f", {"Timeout": 9})
        assert (await plane.settle()).latest.settings.layer_hashes == hashes
        await plane.deployment.update_settings("f", {"Layers": arns[::-1]})
        assert (await plane.settle()).latest.settings.layer_hashes == hashes[::-1]
        await plane.deployment.update_settings("f", {"Layers": []})
        assert (await plane.settle()).latest.settings.layers == ()
        assert plane.catalog.resolve("f", None).version.opt is None
        assert plane.catalog.resolve("f", "1").version.opt == opt


async def test_a_function_keeps_a_layer_that_is_deleted(tmp_path: Path) -> None:
    codes = Codes()
    async with open_plane(tmp_path, codes=codes) as plane:
        (arn,) = await publish(plane, "a")
        function = await plane.create(Layers=[arn])
        (layer,) = function.latest.settings.layers
        await plane.layers.delete("a", 1)
        with pytest.raises(InvalidParameterValue, match=f"Layer version {arn} does not exist."):
            await plane.create("other", Layers=[arn])
        assert codes.place(layer.sha256) in plane.references.code()
    async with open_plane(tmp_path, codes=codes) as plane:
        assert plane.functions.find("f").latest.settings.layers == (layer,)
        assert codes.place(layer.sha256) in plane.references.code()
        await plane.deployment.delete("f")
        assert plane.references.code() == set()


async def test_layers_are_part_of_what_is_published(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        (arn,) = await publish(plane, "a")
        await plane.create(Publish=True)
        for layers, last in (([arn], 2), ([arn], 2), ([], 3)):
            await plane.deployment.update_settings("f", {"Layers": layers})
            await plane.settle()
            function = await plane.functions.change(
                "f", lambda function: publish_settled(function, sha256=None, revision_id=None, description=None)
            )
            assert function.last_version == last


async def test_what_is_refused(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        first, second, *others = await publish(plane, "a", "a", "b", "c", "d", "e", "g")
        await plane.create()
        same = "Two different versions of the same layer are not allowed to be referenced in the same function."
        wrong: list[tuple[list[str], type[ApiError], str]] = [
            ([first, *others], InvalidParameterValue, "Cannot reference more than 5 layers."),
            ([first, second], InvalidParameterValue, f"{same} {first} and {second} are versions of the same layer."),
            ([first, first], InvalidParameterValue, f"{same} {first} and {first} are versions of the same layer."),
            ([f"{ARN}:nowhere:1"], InvalidParameterValue, f"Layer version {ARN}:nowhere:1 does not exist."),
            ([f"{ARN}:a:9"], InvalidParameterValue, f"Layer version {ARN}:a:9 does not exist."),
            (
                [first.replace(REGION, "eu-west-1")],
                InvalidParameterValue,
                f"Layers are not in the same region as the function. Layers are expected to be in region {REGION}.",
            ),
            (
                [first.replace(ACCOUNT, "123456789012")],
                AccessDenied,
                f"User: me is not authorized to perform: lambda:GetLayerVersion on resource: {first.replace(ACCOUNT, '123456789012')} "
                "because no resource-based policy allows the lambda:GetLayerVersion action",
            ),
        ]
        for layers, error, message in wrong:
            with pytest.raises(error) as caught:
                await plane.deployment.update_settings("f", {"Layers": layers}, "me")
            assert caught.value.message.startswith(message)
            for name in ("new", "f"):  # said before that f exists
                with pytest.raises(error):
                    await plane.deployment.create(name, create_params(name, Layers=layers), "me")
        assert plane.functions.get("new") is None
        assert plane.deployment.uploads == set()


async def test_code_and_layers_together_are_bounded(tmp_path: Path) -> None:
    codes = Codes()

    def unpacks_to(content: bytes, size: int) -> bytes:
        codes.sizes[base64.b64encode(hashlib.sha256(content).digest()).decode()] = size
        return content

    async with open_plane(tmp_path, codes=codes) as plane:
        unpacks_to(b"a", UNZIPPED_CODE_BYTES // 2)
        unpacks_to(b"b", UNZIPPED_CODE_BYTES // 2 - 4)
        a, b = await publish(plane, "a", "b")
        await plane.create(Layers=[a, b])  # just fits
        large = unpacks_to(b"large", 5)
        message = (
            f"Function code combined with layers exceeds the maximum allowed size of {UNZIPPED_CODE_BYTES} bytes. "
            f"The actual size is {UNZIPPED_CODE_BYTES + 1} bytes."
        )
        calls: list[Any] = [
            lambda: plane.deployment.create("g", create_params("g", large, Layers=[a, b])),
            lambda: plane.deployment.update_code("f", {"ZipFile": large}),
            lambda: plane.deployment.update_settings("h", {"Layers": [a, b]}),
        ]
        await plane.create("h", code=large)
        for call in calls:
            with pytest.raises(InvalidParameterValue) as caught:
                await call()
            assert caught.value.message == message
        assert plane.deployment.uploads == set()


async def test_a_layer_whose_zip_is_lost_fails_its_functions_until_it_is_back(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        (arn,) = await publish(plane, "a")
        await plane.create("without")
        function = await plane.create(Layers=[arn])
        (layer,) = function.latest.settings.layers
        plane.codes.lost[layer.sha256] = GONE
        await plane.presence.check()
        lost = plane.functions.find("f").latest
        assert (lost.state, lost.state_reason) == ("Failed", f"Layer {arn}: {GONE}")
        assert plane.functions.find("without").latest.state == "Active"
        plane.codes.lost.clear()
        await plane.presence.check(everything=False)
        assert plane.functions.find("f").latest.state == "Active"


async def test_layers_that_cannot_be_merged_fail_the_function(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        arns = await publish(plane, "a", "b")
        plane.layer_sets.fault = CodeError("The function's layers cannot be merged: no room")
        function = await plane.create(Layers=arns)
        assert (function.latest.state, function.latest.state_reason) == ("Failed", "The function's layers cannot be merged: no room")


async def test_a_merged_set_that_is_gone_is_made_again_before_a_start(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create(Layers=await publish(plane, "a", "b"))
        version = plane.catalog.resolve("f", None).version
        plane.layer_sets.merged.clear()
        await plane.presence.require(version)  # its place is none on this host
        plane.layer_sets.fault = CodeError("no room")
        with pytest.raises(ResourceConflict, match="no room"):
            await plane.presence.require(version)
        assert set(plane.layer_sets.merged) == {plane.functions.find("f").latest.settings.layer_hashes}
