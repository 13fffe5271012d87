"""An update is shown as in progress for a moment, and refuses another one meanwhile."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hanabi.control.arns import LATEST
from hanabi.control.versions import publish
from hanabi.errors import ResourceConflict
from tests.unit.control.support import Plane, create_params, open_plane

SHOWN_S = 0.3


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path, updates_shown_s=SHOWN_S) as plane:
        await plane.deployment.create("f", create_params())
        await plane.settle()
        yield plane


async def test_a_finished_update_is_shown_in_progress_with_what_it_publishes(plane: Plane) -> None:
    updated = await plane.deployment.update_code("f", {"ZipFile": b"newer", "Publish": True})
    function = await plane.settle()
    assert function.latest.settled and function.serving is None  # invocations run it
    latest, published = (plane.preparation.shown(function, version) for version in (function.latest, function.versions["1"]))
    assert (latest.number, latest.state, latest.update, latest.update_code) == (LATEST, "Active", "InProgress", "Creating")
    assert latest.revision_id == updated.latest.revision_id != function.latest.revision_id
    assert (published.number, published.state, published.state_code) == ("1", "Pending", "Creating")
    await plane.clock.advance(SHOWN_S)
    assert plane.preparation.shown(function, function.latest) is function.latest
    assert plane.preparation.shown(function, function.versions["1"]) is function.versions["1"]


async def test_another_update_is_refused_meanwhile(plane: Plane) -> None:
    await plane.deployment.update_settings("f", {"Timeout": 5})
    function = await plane.settle()
    for update in (plane.deployment.update_settings("f", {"Timeout": 6}), plane.deployment.update_code("f", {"ZipFile": b"newer"})):
        with pytest.raises(ResourceConflict, match=f"An update is in progress for resource: {function.arn}$"):
            await update
    await plane.clock.advance(SHOWN_S)
    assert (await plane.deployment.update_settings("f", {"Timeout": 6})).latest.settings.timeout_s == 6


async def test_what_was_published_has_ended(plane: Plane) -> None:
    for number in (1, 2):
        await plane.deployment.update_settings("f", {"Timeout": 5 + number})
        await plane.settle()
        await plane.functions.change("f", publish)
        function = plane.functions.find("f")
        assert function.last_version == number and plane.preparation.shown(function, function.latest) is function.latest


async def test_another_function_of_that_name_is_not_the_one_updated(plane: Plane) -> None:
    await plane.deployment.update_settings("f", {"Timeout": 5})
    await plane.settle()
    await plane.deployment.delete("f")
    await plane.deployment.create("f", create_params())
    function = await plane.settle()
    assert plane.preparation.shown(function, function.latest) is function.latest
    await plane.deployment.update_settings("f", {"Timeout": 6})


async def test_what_has_just_begun(plane: Plane) -> None:
    now_ms = plane.functions.now_ms()
    assert plane.control.recent.has_just_begun(now_ms)
    await plane.clock.advance(SHOWN_S)
    assert not plane.control.recent.has_just_begun(now_ms)
