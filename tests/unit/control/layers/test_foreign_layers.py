"""Layers of other accounts in the control plane."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hanabi.control.layers.foreign_layers import ForeignLayers
from hanabi.control.layers.layer_names import LayerName, parse_arn
from hanabi.errors import AccessDenied, CodeError, ImageError, InvalidParameterValue, ServiceError
from hanabi.testing import ManualClock
from tests.unit.control.support import REGION, Codes, open_plane

ARN = f"arn:aws:lambda:{REGION}:123456789012:layer:theirs:7"
NAME: LayerName = parse_arn(ARN)


class Source:
    """Has what is in `layers`; `fault` is what fetching ends with."""

    def __init__(self, directory: Path) -> None:
        self.layers: dict[str, tuple[bytes, Mapping[str, Any]]] = {}
        self.fault: ImageError | None = None
        self.asked = 0
        self._path = directory / "zip"

    @asynccontextmanager
    async def fetch(self, arn: str) -> AsyncIterator[tuple[Path, Mapping[str, Any]] | None]:
        self.asked += 1
        if self.fault:
            raise self.fault
        if arn not in self.layers:
            yield None
            return
        self._path.write_bytes(self.layers[arn][0])
        yield self._path, self.layers[arn][1]


async def test_it_is_fetched_once_and_described(tmp_path: Path) -> None:
    source, codes = Source(tmp_path), Codes()
    said = {
        "Description": "d", "LicenseInfo": "MIT", "CreatedDate": "2026-01-02T03:04:05.678+0000", "CompatibleRuntimes": ["python3.13", 1],
        "CompatibleArchitectures": ["arm64"], "Version": 9,
    }  # fmt: skip
    source.layers[ARN] = (b"layer", said)
    foreign = ForeignLayers(source, codes, ManualClock())
    found = await foreign.find(NAME, "me")
    assert (found.number, found.size, found.description, found.license) == (7, 5, "d", "MIT")
    assert (found.runtimes, found.architectures, found.created_ms) == (("python3.13",), ("arm64",), 1_767_323_045_678)
    assert await foreign.find(NAME, "me") is found and source.asked == 1
    codes.lost[found.sha256] = CodeError("gone")
    assert await foreign.find(NAME, "me") == found and source.asked == 2  # its zip is there again


async def test_what_a_description_may_not_have_is_left_out(tmp_path: Path) -> None:
    source = Source(tmp_path)
    source.layers[ARN] = (b"layer", {"Description": 1, "CreatedDate": "yesterday", "CompatibleRuntimes": "all", "Content": []})
    clock = ManualClock()
    found = await ForeignLayers(source, Codes(), clock).find(NAME, "me")
    assert (found.description, found.license, found.runtimes, found.created_ms) == ("", None, None, int(clock.time() * 1000))


async def test_what_is_refused(tmp_path: Path) -> None:
    source = Source(tmp_path)
    foreign = ForeignLayers(source, Codes(), ManualClock())
    denied = f"User: me is not authorized to perform: lambda:GetLayerVersion on resource: {ARN} because no resource-based policy allows"
    for each, hint in ((foreign, "--layer-source has no such layer"), (ForeignLayers(None, Codes(), ManualClock()), "come from --layer")):
        with pytest.raises(AccessDenied) as caught:
            await each.find(NAME, "me")
        assert caught.value.message.startswith(denied) and hint in caught.value.message
    source.layers[ARN] = (b"layer", {"Content": {"CodeSha256": "other"}})
    with pytest.raises(InvalidParameterValue, match="is damaged"):
        await foreign.find(NAME, "me")
    source.layers[ARN] = (b"bad", {})
    with pytest.raises(InvalidParameterValue, match="Could not unzip"):
        await foreign.find(NAME, "me")
    source.fault = ImageError("no answer")
    with pytest.raises(ServiceError, match="no answer"):
        await foreign.find(NAME, "me")


async def test_a_function_has_one(tmp_path: Path) -> None:
    source, codes = Source(tmp_path), Codes()
    source.layers[ARN] = (b"layer", {})
    async with open_plane(tmp_path, codes=codes, layer_source=source) as plane:
        function = await plane.create(Layers=[ARN])
        (layer,) = function.latest.settings.layers
        assert (layer.arn, layer.size) == (ARN, 5)
    async with open_plane(tmp_path, codes=codes) as plane:  # without the source
        assert plane.functions.find("f").latest.settings.layers == (layer,)
        assert codes.place(layer.sha256) in plane.references.code()
        with pytest.raises(AccessDenied):
            await plane.create("g", Layers=[ARN])
