"""SnapStart in the control plane: which versions wait for a snapshot, what becomes of them, and that it outlasts a restart."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hanabi.control.functions import Functions
from hanabi.control.model import Function, Version
from hanabi.control.versions import publish_settled
from hanabi.errors import InvalidParameterValue, SnapshotFailed, SnapshotImpossible, SnapStartNotReady
from hanabi.services.lambda_.describe import describe_version
from tests.unit.control.support import ARN, FakeSnapshots, create_params, open_plane

ON: dict[str, Any] = {"Runtime": "python3.13", "SnapStart": {"ApplyOn": "PublishedVersions"}}


def publish(functions: Functions, name: str = "f") -> Any:
    return functions.change(name, lambda now: publish_settled(now, sha256=None, revision_id=None, description=None))


def shown(function: Function, version: Version) -> dict[str, Any]:
    return describe_version(function, version, ARN)


async def test_a_published_version_waits_for_its_snapshot(tmp_path: Path) -> None:
    snapshots = FakeSnapshots()
    snapshots.go.clear()
    async with open_plane(tmp_path, snapshots=snapshots) as plane:
        latest = (await plane.create(**ON)).latest
        assert shown(plane.functions.find("f"), latest)["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
        assert plane.catalog.resolve("f", None).version.snapshot is None
        function = await publish(plane.functions)
        assert (function.versions["1"].state, function.versions["1"].state_code) == ("Pending", "Creating")
        with pytest.raises(SnapStartNotReady):
            plane.catalog.resolve("f", "1")
        snapshots.go.set()
        function = await plane.settle()
        version = function.versions["1"]
        assert (version.state, version.state_reason, version.update) == ("Active", None, "Successful")
        assert shown(function, version)["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
        assert plane.catalog.resolve("f", "1").version.snapshot == Path("/snapshots/snapshot-1")
        assert snapshots.taken[0].snapshot is None and snapshots.taken[0].version == "1"
        assert plane.references.snapshots() == {"snapshot-1"}
        assert (await publish(plane.functions)).last_version == 1  # nothing has changed since
    async with open_plane(tmp_path, snapshots=FakeSnapshots()) as plane:
        assert plane.catalog.resolve("f", "1").version.snapshot == Path("/snapshots/snapshot-1")


async def test_published_at_once_it_waits_for_its_runtime_first(tmp_path: Path) -> None:
    snapshots = FakeSnapshots()
    async with open_plane(tmp_path, snapshots=snapshots) as plane:
        plane.images.hold()
        await plane.deployment.create("f", create_params(Publish=True, **ON))
        await asyncio.sleep(0)
        assert snapshots.taken == []
        plane.images.release()
        function = await plane.settle()
        assert (function.versions["1"].state, function.versions["1"].snapshot) == ("Active", "snapshot-1")


async def test_what_was_under_way_goes_on_after_a_restart(tmp_path: Path) -> None:
    snapshots = FakeSnapshots()
    snapshots.go.clear()
    async with open_plane(tmp_path, snapshots=snapshots) as plane:
        await plane.create(**ON)
        await publish(plane.functions)
    again = FakeSnapshots()
    async with open_plane(tmp_path, snapshots=again) as plane:
        assert (await plane.settle()).versions["1"].snapshot == "snapshot-1"
        assert len(again.taken) == 1


async def test_a_function_that_fails_before_its_snapshot_fails_the_version(tmp_path: Path) -> None:
    snapshots = FakeSnapshots()
    snapshots.fault = SnapshotFailed("it raised", "FunctionError.RuntimeInitError")
    async with open_plane(tmp_path, snapshots=snapshots) as plane:
        await plane.create(**ON)
        await publish(plane.functions)
        version = (await plane.settle()).versions["1"]
        assert (version.state, version.state_code, version.state_reason) == ("Failed", "FunctionError.RuntimeInitError", "it raised")
        assert plane.catalog.resolve("f", None).version.version == "$LATEST"


async def test_a_process_that_cannot_be_copied_starts_as_usual(tmp_path: Path) -> None:
    snapshots = FakeSnapshots()
    snapshots.fault = SnapshotImpossible("its init has started processes")
    async with open_plane(tmp_path, snapshots=snapshots) as plane:
        await plane.create(**ON)
        await publish(plane.functions)
        function = await plane.settle()
        version = function.versions["1"]
        assert (version.state, version.state_reason) == (
            "Active",
            "SnapStart has no effect on this version here: its init has started processes",
        )
        assert shown(function, version)["SnapStart"]["OptimizationStatus"] == "Off"


@pytest.mark.parametrize("snapshots", [None, FakeSnapshots("its isolation is oci")], ids=["none", "another driver"])
async def test_where_there_are_no_snapshots_it_says_so(tmp_path: Path, snapshots: FakeSnapshots | None) -> None:
    async with open_plane(tmp_path, snapshots=snapshots) as plane:
        await plane.create(**ON)
        await publish(plane.functions)
        function = await plane.settle()
        version = function.versions["1"]
        assert version.state == "Active" and "SnapStart has no effect on this host" in (version.state_reason or "")
        assert shown(function, version)["SnapStart"]["OptimizationStatus"] == "Off"
        assert plane.catalog.resolve("f", "1").version.snapshot is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Runtime": "python3.11"}, "python3.11 is not supported for SnapStart enabled functions."),
        ({"Runtime": "nodejs22.x"}, "nodejs22.x is not supported for SnapStart enabled functions."),
        ({"Runtime": "provided.al2023"}, "provided.al2023 is not supported for SnapStart enabled functions."),
        ({"EphemeralStorage": {"Size": 1024}}, "ephemeral storage of more than 512 MB"),
    ],
    ids=["runtime", "node", "OS only", "tmp"],
)
async def test_what_snapstart_does_not_go_with(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    async with open_plane(tmp_path, snapshots=FakeSnapshots()) as plane:
        with pytest.raises(InvalidParameterValue, match=message):
            await plane.create(**{**ON, **changes})
        await plane.create("g", **ON)
        with pytest.raises(InvalidParameterValue, match=message):
            await plane.deployment.update_settings("g", changes)
        await plane.deployment.update_settings("g", {"SnapStart": {"ApplyOn": "None"}})
        assert not (await plane.settle("g")).latest.settings.snap_start
