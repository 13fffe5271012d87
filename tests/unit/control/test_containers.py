"""Functions that are container images: pinned once, told of in Lambda's words, kept while anything needs them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hanabi.control.model import Code, FunctionSettings, fingerprint
from hanabi.errors import AccessDenied, ImageError, InvalidParameterValue
from hanabi.quotas import IMAGE_CONFIG_BYTES
from tests.unit.control.support import create_params, image_params, open_plane

ONE, TWO = "1" * 64, "2" * 64


async def test_a_tag_is_resolved_once(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        tags = plane.containers.tags
        tags["r.example/app:1"] = ONE
        await plane.deployment.create("f", image_params(Publish=True))
        tags["r.example/app:1"] = TWO
        function = await plane.settle()
        for version in (function.latest, function.versions["1"]):
            assert (version.code.image, version.code.sha256, version.code.size) == (f"r.example/app@sha256:{ONE}", ONE, 0)
        assert plane.containers.pulled == [f"r.example/app@sha256:{ONE}"]
        await plane.deployment.update_settings("f", {"MemorySize": 256})
        function = await plane.settle()
        assert function.latest.code.sha256 == ONE  # the tag is not asked again
        await plane.deployment.update_code("f", {"ImageUri": "r.example/app:1"})
        function = await plane.settle()
        assert (function.latest.code.sha256, function.versions["1"].code.sha256) == (TWO, ONE)
        assert plane.references.images() == {ONE, TWO} and plane.references.code() == set()
        target = plane.catalog.resolve("f", "1").version
        assert target.code is None and (target.runtime, target.handler) == ("", "")
        assert target.container is not None and target.container.digest == ONE
    async with open_plane(tmp_path) as again:
        function = again.functions.find("f")
        assert function.latest.code == Code(sha256=TWO, size=0, image_uri="r.example/app:1", image=f"r.example/app@sha256:{TWO}")
        assert again.references.images() == {ONE, TWO}
        await again.deployment.delete("f")
        assert again.references.images() == set()


async def test_image_config(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        given = {"EntryPoint": ["/bin/sh"], "Command": ["-c", "x"], "WorkingDirectory": "/app"}
        await plane.deployment.create("f", image_params(ImageConfig=given))
        await plane.settle()
        container = plane.catalog.resolve("f", None).version.container
        assert container is not None
        assert (container.entry_point, container.command, container.working_directory) == (("/bin/sh",), ("-c", "x"), "/app")
        await plane.deployment.update_settings("f", {"ImageConfig": {"Command": ["y"], "EntryPoint": []}})
        await plane.settle()
        container = plane.catalog.resolve("f", None).version.container
        assert container is not None
        assert (container.entry_point, container.command, container.working_directory) == (None, ("y",), None)  # replaced as a whole
        await plane.deployment.update_settings("f", {"ImageConfig": {}})
        assert (await plane.settle()).latest.settings.image_config is None
        for config, message in (
            ({"Command": ["a\0"]}, "cannot hold"),
            ({"WorkingDirectory": "\ud800"}, "cannot hold"),
            ({"EntryPoint": ["x" * IMAGE_CONFIG_BYTES]}, "must be smaller"),
        ):
            with pytest.raises(InvalidParameterValue, match=message):
                await plane.deployment.update_settings("f", {"ImageConfig": config})


async def test_what_does_not_go_together(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        both = "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."
        for changes in ({"Runtime": "python3.11"}, {"Handler": "a.b"}, {"Layers": ["arn:aws:lambda:us-east-1:1:layer:l:1"]}):
            with pytest.raises(InvalidParameterValue, match=both):
                await plane.deployment.create("f", image_params(**changes))
        for code, message in (
            ({}, "Please provide a source for function code."),
            ({"ZipFile": b"code"}, "Please provide ImageUri only"),
            ({"ImageUri": "r.example/a:1", "ZipFile": b"code"}, "Please provide ImageUri only"),
            ({"S3Bucket": "bucket", "S3Key": "k"}, "Please provide ImageUri only"),
        ):
            with pytest.raises(InvalidParameterValue, match=message):
                await plane.deployment.create("f", image_params(Code=code))
        with pytest.raises(InvalidParameterValue, match="Please don't provide ImageConfig"):
            await plane.deployment.create("f", create_params(ImageConfig={"Command": ["x"]}))
        await plane.deployment.create("image", image_params("image"))
        await plane.deployment.create("zip", create_params("zip"))
        await plane.settle("image")
        for changes in ({"Runtime": "python3.11"}, {"Handler": "a.b"}):
            with pytest.raises(InvalidParameterValue, match=both):
                await plane.deployment.update_settings("image", changes)
        with pytest.raises(InvalidParameterValue, match="Please don't provide ImageConfig"):
            await plane.deployment.update_settings("zip", {"ImageConfig": {"Command": ["x"]}})
        given: dict[str, Any]
        for given in ({"ZipFile": b"code"}, {}, {"ZipFile": b"code", "ImageUri": "r.example/a:1"}):
            with pytest.raises(InvalidParameterValue, match="Please provide ImageUri when updating a function with packageType Image."):
                await plane.deployment.update_code("image", given)
        for given in ({"ImageUri": "r.example/a:1"}, {"ZipFile": b"code", "ImageUri": "r.example/a:1"}):
            with pytest.raises(InvalidParameterValue, match="Please don't provide ImageUri when updating a function with packageType Zip"):
                await plane.deployment.update_code("zip", given)


UNREAD = "The image manifest, config or layer media type for the source image r.example/app:1 is not supported."


@pytest.mark.parametrize(
    ("kind", "answer", "message"),
    [
        ("malformed", InvalidParameterValue, "Source image r.example/app:1 is not valid. Provide a valid source image."),
        ("missing", InvalidParameterValue, "Source image r.example/app:1 does not exist. Provide a valid source image."),
        ("denied", AccessDenied, "Lambda does not have permission to access the ECR image. Check the ECR permissions."),
        ("unsupported", InvalidParameterValue, UNREAD),
        ("invalid", InvalidParameterValue, UNREAD),
        ("unavailable", InvalidParameterValue, "Source image r.example/app:1 cannot be had now: reason"),
    ],
)  # fmt: skip
async def test_images_that_are_not_found(tmp_path: Path, kind: str, answer: type[Exception], message: str) -> None:
    async with open_plane(tmp_path) as plane:
        plane.containers.refuse = ImageError("reason", kind)
        with pytest.raises(answer) as caught:
            await plane.deployment.create("f", image_params())
        assert str(caught.value).startswith(message) and "reason" in str(caught.value)
        assert plane.functions.get("f") is None


@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        ("missing", "ImageDeleted", "The function is trying to use a deleted image. (no)"),
        ("denied", "ImageAccessDenied", "The function does not have permission to access the specified image. (no)"),
        ("invalid", "InvalidImage", "Lambda cannot initialize the provided container image. Verify the image. (no)"),
        ("unsupported", "InvalidImage", "Lambda cannot initialize the provided container image. Verify the image. (no)"),
        ("unavailable", "InternalError", "The image cannot be had now: no"),
    ],
)
async def test_images_that_cannot_be_pulled(tmp_path: Path, kind: str, code: str, reason: str) -> None:
    async with open_plane(tmp_path) as plane:
        plane.containers.broken = ImageError("no", kind)
        await plane.deployment.create("f", image_params())
        failed = (await plane.settle()).latest
        assert (failed.state, failed.state_code, failed.state_reason) == ("Failed", code, reason)
        plane.containers.broken = None
        await plane.deployment.update_code("f", {"ImageUri": "r.example/app:2"})
        good = await plane.settle()
        assert good.latest.state == "Active"
        plane.containers.broken = ImageError("no", kind)
        await plane.deployment.update_code("f", {"ImageUri": "r.example/app:3"})
        updated = await plane.settle()
        assert (updated.latest.state, updated.latest.update, updated.latest.update_code) == ("Active", "Failed", code)
        serving = plane.catalog.resolve("f", None).version.container
        assert serving is not None and serving.digest == good.latest.code.sha256  # the old one serves on
        assert plane.references.images() == {serving.digest, updated.latest.code.sha256}


async def test_a_dry_run_only_looks(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        before = await plane.create()
        await plane.deployment.delete("f")
        await plane.deployment.create("f", image_params())
        before = await plane.settle()
        tried = await plane.deployment.update_code("f", {"ImageUri": "r.example/app:9", "DryRun": True})
        assert tried.latest.code.image_uri == "r.example/app:9" and plane.functions.find("f") is before


async def test_a_function_made_anew_as_the_other_kind_is_not_updated(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        changing = asyncio.create_task(plane.deployment.update_code("f", {"ZipFile": b"new"}))
        await plane.deployment.delete("f")
        await plane.deployment.create("f", image_params())
        with pytest.raises(Exception, match="ImageUri|in progress|Pending|not found"):
            await changing
        assert (await plane.settle()).latest.code.image


async def test_without_anything_to_run_images_in(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        plane.deployment._containers = None
        with pytest.raises(InvalidParameterValue, match="not supported with --isolation process"):
            await plane.deployment.create("f", image_params())


def test_functions_of_a_hanabi_without_images_are_not_new() -> None:
    """What was published then is the same now: the fingerprint says nothing of what there was not."""
    import hashlib
    import json

    settings: dict[str, Any] = {"runtime": "r", "handler": "h", "role": "role", "log_group": "g", "description": "", "memory_mb": 128}
    settings |= {"timeout_s": 3, "tmp_mb": 512, "environment": None}
    then = hashlib.sha256(json.dumps([settings, "code"], sort_keys=True).encode()).hexdigest()
    assert fingerprint(FunctionSettings(**settings), Code(sha256="code", size=1)) == then
