"""Tags."""

from pathlib import Path

import pytest

from hanabi.control.tags import FunctionTags, add_tags, check_tags, remove_tags
from hanabi.errors import InvalidParameterValue
from tests.unit.control.support import ARN, open_plane


async def test_tags(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create(Tags={"a": "1"})
        tags = FunctionTags(plane.functions)
        await tags.change_tags(f"{ARN}:f", add_tags({"b": "2", "a": "3"}))
        await tags.change_tags(f"{ARN}:f", remove_tags(["b", "nothing"]))
    async with open_plane(tmp_path) as plane:
        assert FunctionTags(plane.functions).tags_of(f"{ARN}:f") == {"a": "3"}
        for new, message in (
            ({}, "An error occurred"),
            ({str(n): "" for n in range(50)}, "Number of tags exceeds resource tag limit."),
        ):
            with pytest.raises(InvalidParameterValue, match=message):
                await FunctionTags(plane.functions).change_tags(f"{ARN}:f", add_tags(new))


def test_keys_and_values() -> None:
    assert check_tags({"k" * 128: "v" * 256, "aw": ""}) == {"k" * 128: "v" * 256, "aw": ""}
    for tags, message in (
        ({"aws:x": ""}, "aws: prefixed tag key names are not allowed for external use."),
        ({"AWS:x": ""}, "aws: prefixed tag key names"),
        ({"k" * 129: ""}, "Tag keys must have"),
        ({"": ""}, "Tag keys must have"),
        ({"k": "v" * 257}, "Tag values must have"),
    ):
        with pytest.raises(InvalidParameterValue, match=message):
            check_tags(tags)
