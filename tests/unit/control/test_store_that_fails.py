"""A store that fails for a while: what was to be written has an owner, is seen meanwhile, and is written when that works again."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hanabi.errors import ServiceError
from tests.unit.control.support import FakeSnapshots, Plane, create_params, open_plane
from tests.unit.control.test_snapstart import ON, publish


def fails(monkeypatch: pytest.MonkeyPatch, plane: Plane, operation: str) -> Callable[[], None]:
    """From now on an operation of the store fails, until what is returned is called."""
    real, failing = getattr(plane.store, operation), True

    async def fail(*arguments: Any, **options: Any) -> Any:
        if failing:
            raise ServiceError("The change could not be stored: database or disk is full.")
        return await real(*arguments, **options)

    def mend() -> None:
        nonlocal failing
        failing = False

    monkeypatch.setattr(plane.store, operation, fail)
    return mend


async def until_over(plane: Plane) -> None:
    async with asyncio.timeout(30):
        while plane.health.problems:
            await plane.clock.advance(1)
            await asyncio.sleep(0.01)


async def is_seen(plane: Plane, text: str) -> None:
    async with asyncio.timeout(30):
        while not any(text in problem.text for problem in plane.health.problems):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_function_that_is_prepared_does_not_stay_pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_plane(tmp_path) as plane:
        plane.images.hold()
        await plane.functions.create("f", create_params())
        mend = fails(monkeypatch, plane, "put")
        plane.images.release()
        await is_seen(plane, "Function f is prepared")
        assert plane.functions.find("f").latest.state == "Pending"
        await plane.clock.advance(10)
        assert plane.functions.find("f").latest.state == "Pending"
        mend()
        await until_over(plane)
        assert plane.functions.find("f").latest.state == "Active"
    async with open_plane(tmp_path) as plane:
        assert plane.functions.find("f").latest.state == "Active"


async def test_a_snapshot_that_is_made_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = FakeSnapshots()
    async with open_plane(tmp_path, snapshots=snapshots) as plane:
        await plane.create(**ON)
        snapshots.go.clear()
        await publish(plane.functions)
        mend = fails(monkeypatch, plane, "put")
        snapshots.go.set()
        await is_seen(plane, "The snapshot of f:1 is made")
        mend()
        await until_over(plane)
        assert plane.functions.resolve("f", "1").version.snapshot == Path("/snapshots/snapshot-1")
        assert len(snapshots.taken) == 1


@pytest.mark.parametrize("made_again", [False, True])
async def test_the_document_of_a_version_that_is_gone_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_again: bool) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        await publish(plane.functions)
        assert [key for key, _, _ in await plane.store.list("versions/")] == ["versions/f/1"]
        real = plane.store.delete

        async def fail(key: str, **options: Any) -> None:
            if key.startswith("versions/"):
                raise ServiceError("full")
            await real(key, **options)

        monkeypatch.setattr(plane.store, "delete", fail)
        await plane.functions.delete("f")
        await is_seen(plane, "Version 1 of f is gone")
        if made_again:  # its version is another one, of the same number
            await plane.create(Publish=True)
        monkeypatch.setattr(plane.store, "delete", real)
        await until_over(plane)
        assert [key for key, _, _ in await plane.store.list("versions/")] == (["versions/f/1"] if made_again else [])
    async with open_plane(tmp_path) as plane:
        assert bool(list(plane.functions)) == made_again


async def test_at_the_end_it_is_tried_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_plane(tmp_path) as plane:
        plane.images.hold()
        await plane.functions.create("f", create_params())
        mend = fails(monkeypatch, plane, "put")
        plane.images.release()
        await is_seen(plane, "Function f is prepared")
        mend()
    async with open_plane(tmp_path) as plane:
        plane.images.hold()
        assert plane.functions.find("f").latest.state == "Active"
