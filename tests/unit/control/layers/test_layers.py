"""Layers in the store."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hanabi.control.layers.layer_names import LayerName
from hanabi.errors import DocumentDamaged, InvalidParameterValue, ResourceNotFound
from tests.unit.control.support import ACCOUNT, REGION, Codes, open_plane


def params(content: bytes = b"layer", **changes: Any) -> dict[str, Any]:
    return {"Content": {"ZipFile": content}} | changes


def name_of(name: str, number: int) -> LayerName:
    return LayerName("aws", REGION, ACCOUNT, name, number)


async def test_layers_are_there_after_a_restart(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        published = [await plane.layers.publish("a", params(Description=str(number))) for number in (1, 2, 3)]
        await plane.layers.delete("a", 2)
        await plane.layers.publish("b", params(b"other", CompatibleRuntimes=["java8"], CompatibleArchitectures=[]))
        await plane.layers.delete("b", 1)
    async with open_plane(tmp_path) as plane:
        layer = plane.layers.get("a")
        assert layer is not None and list(layer.versions.values()) == [published[0], published[2]]
        assert plane.layers.find_version(name_of("a", 2)) is None
        assert (await plane.layers.publish("b", params(b"other"))).number == 2


async def test_concurrent_publications_get_numbers_of_their_own(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        made = await asyncio.gather(*(plane.layers.publish("a", params()) for _ in range(10)))
        assert sorted(version.number for version in made) == list(range(1, 11))


async def test_their_zips_are_in_use(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        version = await plane.layers.publish("a", params())
        place = Codes().place(version.sha256)
        assert plane.references.code() == {place}
        await plane.layers.delete("a", 1)
        assert plane.references.code() == set()
        with pytest.raises(InvalidParameterValue):
            await plane.layers.publish("a", params(b"bad"))
        assert plane.layers.hashes == set()


async def test_a_damaged_one_is_left_alone(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.layers.publish("a", params())
        await plane.store.put("layer-versions/a/1", {"number": 1})
    async with open_plane(tmp_path) as plane:
        assert "layers whose documents are damaged: a" in plane.references.why_incomplete
        with pytest.raises(DocumentDamaged):
            await plane.layers.publish("a", params())


async def test_what_does_not_exist_is_not_changed(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        with pytest.raises(ResourceNotFound, match="layer:a:1 does not exist"):
            await plane.layers.change_version(name_of("a", 1), lambda version: version)
        await plane.layers.delete("a", 1)
        assert plane.layers.get("a") is None
