"""Where code comes from: the request or S3, and what is kept of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hanabi.control.code_sources import CodeSources, ReceivedCode
from hanabi.errors import InvalidParameterValue
from tests.unit.control.support import Codes, open_plane


@dataclass
class Found:
    path: Path
    version: str


class FakeObjects:
    """A bucket that has `code` under every key."""

    def __init__(self, scratch: Path, version: str = "") -> None:
        self.scratch = scratch
        self.version = version
        self.asked: list[tuple[str, str, str | None]] = []

    @asynccontextmanager
    async def fetch(self, bucket: str, key: str, version: str | None) -> AsyncIterator[Found]:
        self.asked.append((bucket, key, version))
        path = self.scratch / "object"
        path.write_bytes(b"code")
        yield Found(path, self.version)
        path.unlink()


IN_S3 = {"S3Bucket": "bucket", "S3Key": "a/b.zip"}


async def test_a_zip_in_the_request() -> None:
    received = await CodeSources(Codes(), None).receive({"ZipFile": b"code"}, "none")
    assert (received.size, received.object) == (4, None)


async def test_a_zip_in_s3_is_copied_whatever_the_mode(tmp_path: Path) -> None:
    objects = FakeObjects(tmp_path, "v1")
    sources = CodeSources(Codes(), objects)
    copied = await sources.receive(IN_S3, "none")
    assert copied == ReceivedCode((await Codes().store(b"code")).sha256, 4)
    referred = await sources.receive({**IN_S3, "S3ObjectStorageMode": "REFERENCE"}, "none")
    assert referred.sha256 == copied.sha256 and referred.object == {**IN_S3, "S3ObjectVersion": "v1"}
    objects.version = ""
    named = await sources.receive({**IN_S3, "S3ObjectStorageMode": "REFERENCE", "S3ObjectVersion": "v0"}, "none")
    assert named.object == {**IN_S3, "S3ObjectVersion": "v0"}
    assert objects.asked == [("bucket", "a/b.zip", None)] * 2 + [("bucket", "a/b.zip", "v0")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing is named"),
        ({"S3Bucket": "bucket"}, "nothing is named"),
        ({"S3Key": "key"}, "nothing is named"),
        ({"ZipFile": b"code", **IN_S3}, "Please do not provide other FunctionCode parameters when providing a ZipFile."),
        (IN_S3, "S3Bucket: this Hanabi knows no S3. Start it with --s3-endpoint URL"),
    ],
)
async def test_what_names_no_code_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterValue, match=message):
        await CodeSources(Codes(), None).receive(given, "nothing is named")


async def test_a_reference_and_the_key_of_its_zip_survive_a_restart(tmp_path: Path) -> None:
    key, reference = "arn:aws:kms:us-east-1:000000000000:key/k", {**IN_S3, "S3ObjectStorageMode": "REFERENCE"}
    async with open_plane(tmp_path, objects=FakeObjects(tmp_path)) as plane:
        function = await plane.create(Code={**reference, "SourceKMSKeyArn": key})
        layer = await plane.layers.publish("l", {"Content": reference})
    assert (function.latest.code.object, function.latest.code.source_key, layer.object) == (IN_S3, key, IN_S3)
    async with open_plane(tmp_path) as plane:
        assert plane.functions.find("f").latest.code == function.latest.code
        (kept,) = plane.layers
        assert kept.versions[1] == layer
