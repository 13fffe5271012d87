"""Tags."""

from pathlib import Path

import pytest

from hanabi.control.tags import add_tags, remove_tags
from hanabi.errors import InvalidParameterValue
from tests.unit.control.support import open_plane


async def test_tags(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create(Tags={"a": "1"})
        await plane.functions.change("f", lambda f: add_tags(f, {"b": "2", "a": "3"}))
        await plane.functions.change("f", lambda f: remove_tags(f, ["b", "nothing"]))
    async with open_plane(tmp_path) as plane:
        assert plane.functions.find("f").tags == {"a": "3"}
        for tags, message in (
            ({}, "An error occurred"),
            ({str(n): "" for n in range(50)}, "Number of tags exceeds resource tag limit."),
        ):
            with pytest.raises(InvalidParameterValue, match=message):
                await plane.functions.change("f", lambda f, t=tags: add_tags(f, t))  # type: ignore[misc]
