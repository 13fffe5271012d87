"""A store that fails for a while: what was to be written has an owner, is seen meanwhile, and is written when that works again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hanabi.control.versions import remove_version
from hanabi.errors import ServiceError
from tests.unit.control.support import FakeSnapshots, Plane, create_params, open_plane
from tests.unit.control.test_snapstart import ON, publish
from tests.waiting import until


def fails(monkeypatch: pytest.MonkeyPatch, plane: Plane, operation: str) -> Callable[[], None]:
    """From now on an operation of the store fails, until what is returned is called."""
    real, failing = getattr(plane.store, operation), True

    async def fail(*arguments: Any, **options: Any) -> Any:
        if failing:
            raise ServiceError("The change could not be stored: database or disk is full.")
        return await real(*arguments, **options)

    def fix() -> None:
        nonlocal failing
        failing = False

    monkeypatch.setattr(plane.store, operation, fail)
    return fix


async def test_a_function_that_is_prepared_does_not_stay_pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_plane(tmp_path) as plane:
        plane.images.hold()
        await plane.deployment.create("f", create_params())
        fix = fails(monkeypatch, plane, "write")
        plane.images.release()
        await until(lambda: any("Function f is prepared" in problem.text for problem in plane.health.problems))
        assert plane.functions.find("f").latest.state == "Pending"
        await plane.clock.advance(10)
        assert plane.functions.find("f").latest.state == "Pending"
        fix()
        await until(lambda: not plane.health.problems, clock=plane.clock)
        assert plane.functions.find("f").latest.state == "Active"
    async with open_plane(tmp_path) as plane:
        assert plane.functions.find("f").latest.state == "Active"


async def test_a_snapshot_that_is_made_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = FakeSnapshots()
    async with open_plane(tmp_path, snapshots=snapshots) as plane:
        await plane.create(**ON)
        snapshots.go.clear()
        await publish(plane.functions)
        fix = fails(monkeypatch, plane, "write")
        snapshots.go.set()
        await until(lambda: any("The snapshot of f:1 is made" in problem.text for problem in plane.health.problems))
        fix()
        await until(lambda: not plane.health.problems, clock=plane.clock)
        assert plane.catalog.resolve("f", "1").version.snapshot == Path("/snapshots/snapshot-1")
        assert len(snapshots.taken) == 1


async def test_a_change_that_cannot_be_stored_leaves_all_documents_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        await publish(plane.functions)
        before = await plane.store.list("")
        fix = fails(monkeypatch, plane, "write")
        with pytest.raises(ServiceError):
            await plane.deployment.delete("f")
        with pytest.raises(ServiceError):
            await plane.functions.change("f", lambda function: remove_version(function, "1"))
        fix()
        assert await plane.store.list("") == before and list(plane.functions.find("f").versions) == ["1"]
        plane.catalog.resolve("f", "1")
        await plane.deployment.delete("f")
        assert await plane.store.list("") == []
    async with open_plane(tmp_path) as plane:
        assert list(plane.functions) == []


async def test_at_the_end_it_is_tried_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_plane(tmp_path) as plane:
        plane.images.hold()
        await plane.deployment.create("f", create_params())
        fix = fails(monkeypatch, plane, "write")
        plane.images.release()
        await until(lambda: any("Function f is prepared" in problem.text for problem in plane.health.problems))
        fix()
    async with open_plane(tmp_path) as plane:
        plane.images.hold()
        assert plane.functions.find("f").latest.state == "Active"
