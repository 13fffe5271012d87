"""What documents refer to and is not there: its versions fail with the reason, and are active again when it is back."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from hanabi.control.code_presence import LOST_S
from hanabi.control.model import Function
from hanabi.control.versions import publish_settled
from hanabi.errors import CodeError, ImageError, ResourceConflict, SnapshotFailed
from tests.unit.control.support import Codes, FakeSnapshots, Plane, image_params, open_plane
from tests.waiting import until

GONE = CodeError("The function's code is not there: code/12 in the data directory. Upload the same zip again")
STATE = "The operation cannot be performed at this time. The function is currently in the following state: Failed"


def states(function: Function) -> dict[str, str]:
    return {version.number: version.state for version in function.all_versions()}


def problems(plane: Plane) -> dict[str, str]:
    return {problem.key: problem.text for problem in plane.health.problems}


async def two_versions(plane: Plane) -> Function:
    """Version 1 of other code than `$LATEST`."""
    await plane.create(Publish=True)
    await plane.deployment.update_code("f", {"ZipFile": b"newer"})
    return await plane.settle()


async def test_what_is_lost_while_stopped_is_failed_from_the_start_and_comes_back(tmp_path: Path) -> None:
    codes = Codes()
    async with open_plane(tmp_path, codes=codes) as plane:
        made = await two_versions(plane)
        await plane.create("other", code=b"newer")
    codes.lost[made.versions["1"].code.sha256] = GONE
    async with open_plane(tmp_path, codes=codes) as plane:
        await plane.presence.check()
        now = plane.functions.find("f")
        assert states(now) == {"$LATEST": "Active", "1": "Failed"} and states(plane.functions.find("other")) == {"$LATEST": "Active"}
        lost = now.versions["1"]
        assert (lost.state_code, lost.state_reason) == ("InternalError", str(GONE)) and lost.update == "Successful"
        assert problems(plane) == {"code of f": f"Function f (1) cannot run: {GONE}"}
        with pytest.raises(ResourceConflict) as caught:
            plane.catalog.resolve("f", "1")
        assert caught.value.message == STATE
        plane.catalog.resolve("f", None)
    async with open_plane(tmp_path, codes=codes) as plane:  # it is still gone, and still said
        assert problems(plane) == {"code of f": f"Function f (1) cannot run: {GONE}"}
        running = asyncio.create_task(plane.presence.run())
        await until(lambda: codes.asked >= 3, clock=plane.clock, step_s=LOST_S)
        assert states(plane.functions.find("f"))["1"] == "Failed"
        codes.lost.clear()
        await until(lambda: states(plane.functions.find("f"))["1"] == "Active", clock=plane.clock, step_s=LOST_S)
        found = plane.functions.find("f").versions["1"]
        assert found == replace(made.versions["1"], revision_id=found.revision_id)
        plane.catalog.resolve("f", "1")
        assert problems(plane) == {} and plane.retired == []
        running.cancel()
    async with open_plane(tmp_path, codes=codes) as plane:
        assert states(plane.functions.find("f")) == {"$LATEST": "Active", "1": "Active"} and problems(plane) == {}


async def test_the_same_zip_uploaded_again_heals_all_that_are_made_of_it(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create(Publish=True)
        other = await plane.create("other")
        plane.codes.lost[other.latest.code.sha256] = GONE
        await plane.presence.check()
        assert states(plane.functions.find("f")) == {"$LATEST": "Failed", "1": "Failed"}
        with pytest.raises(ResourceConflict, match="state: Failed"):
            await plane.functions.change("f", lambda f: publish_settled(f, sha256=None, revision_id=None, description=None))
        await plane.deployment.update_code("f", {"ZipFile": b"code"})
        healed = await plane.settle()
        assert healed.latest.settled and not healed.latest.lost
        await plane.presence.check(everything=False)
        assert states(plane.functions.find("f")) == {"$LATEST": "Active", "1": "Active"}
        assert states(plane.functions.find("other")) == {"$LATEST": "Active"} and problems(plane) == {}


async def test_what_is_missed_when_an_environment_is_started(tmp_path: Path) -> None:
    """No look from time to time was needed. What could be fixed goes on."""

    async with open_plane(tmp_path) as plane:
        function = await plane.create()
        version = plane.catalog.resolve("f", None).version
        await plane.presence.require(version)  # `place` of the double is nowhere: looked for, and found
        plane.codes.lost[function.latest.code.sha256] = GONE
        with pytest.raises(ResourceConflict) as caught:
            await plane.presence.require(version)
        assert caught.value.message == STATE and states(plane.functions.find("f")) == {"$LATEST": "Failed"}


async def test_an_update_of_settings_while_code_is_gone(tmp_path: Path) -> None:
    """It fails for that reason, and it too is over when the code is back."""

    async with open_plane(tmp_path) as plane:
        function = await plane.create()
        plane.codes.lost[function.latest.code.sha256] = GONE
        await plane.presence.check()
        await plane.deployment.update_settings("f", {"MemorySize": 256})
        failed = await plane.settle()
        assert (failed.latest.state, failed.latest.state_reason, failed.latest.update) == ("Failed", str(GONE), "Failed")
        plane.codes.lost.clear()
        await plane.presence.check(everything=False)
        found = plane.functions.find("f").latest
        assert (found.state, found.update, found.settings.memory_mb, found.lost) == ("Active", "Successful", 256, False)


async def test_a_deleted_function_is_no_problem_any_more(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        function = await plane.create()
        plane.codes.lost[function.latest.code.sha256] = GONE
        await plane.presence.check()
        assert problems(plane)
        await plane.deployment.delete("f")
        assert problems(plane) == {}
        await plane.presence.check()


async def test_an_image_is_pulled_again_or_its_function_fails(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.deployment.create("f", image_params())
        function = await plane.settle()
        plane.containers.lost = {function.latest.code.image}
        await plane.presence.check_images()
        assert plane.containers.lost == set() and states(plane.functions.find("f")) == {"$LATEST": "Active"}
        plane.containers.lost, plane.containers.broken = {function.latest.code.image}, ImageError("no such manifest", "missing")
        await plane.presence.check()
        assert states(plane.functions.find("f")) == {"$LATEST": "Active"}  # that are zips only
        await plane.presence.check_images()
        failed = plane.functions.find("f").latest
        assert (failed.state, failed.state_code) == ("Failed", "ImageDeleted")
        assert failed.state_reason is not None and "deleted image. (no such manifest) Bring that image back" in failed.state_reason
        version = plane.presence._target(plane.functions.find("f"), failed)
        with pytest.raises(ResourceConflict):
            await plane.presence.refuse(version)
        plane.containers.broken = None
        running = asyncio.create_task(plane.presence.run())
        await until(
            lambda: states(plane.functions.find("f")) == {"$LATEST": "Active"} and problems(plane) == {}, clock=plane.clock, step_s=LOST_S
        )
        running.cancel()


@pytest.mark.parametrize("fault", [None, SnapshotFailed("The function failed", "FunctionError")])
async def test_a_snapshot_that_is_gone_is_made_again(tmp_path: Path, fault: Exception | None) -> None:
    snapshots = FakeSnapshots()
    async with open_plane(tmp_path, snapshots=snapshots) as plane:
        await plane.create(Runtime="python3.13", Publish=True, SnapStart={"ApplyOn": "PublishedVersions"})
        assert len(snapshots.taken) == 1
        snapshots.lost, snapshots.fault = {"snapshot-1"}, fault
        running = asyncio.create_task(plane.presence.run())
        await until(lambda: len(snapshots.taken) == 2 and len(problems(plane)) == bool(fault), clock=plane.clock, step_s=LOST_S)
        assert states(plane.functions.find("f")) == {"$LATEST": "Active", "1": "Active"}
        assert snapshots.taken[1].key == snapshots.taken[0].key
        await until(lambda: all("cannot be made" in text for text in problems(plane).values()))
        assert ["cannot be made again: The function failed" in text for text in problems(plane).values()] == [True] * bool(fault)
        running.cancel()


async def test_the_slow_wait_for_nobody(tmp_path: Path) -> None:
    """A pull that hangs does not keep code from being found, and ends with the node."""

    async with open_plane(tmp_path) as plane:
        await plane.deployment.create("image", image_params("image"))
        image = await plane.settle("image")
        function = await plane.create("f", code=b"unique")
        hang = asyncio.Event()

        async def ensure(image: str) -> None:
            await hang.wait()

        plane.containers.lost = {image.latest.code.image}
        plane.containers.ensure = ensure  # type: ignore[method-assign, assignment]
        running = asyncio.create_task(plane.presence.run())
        for lost in (True, False):
            plane.codes.lost = {function.latest.code.sha256: GONE} if lost else {}
            wanted = {"$LATEST": "Failed" if lost else "Active"}
            await until(lambda: states(plane.functions.find("f")) == wanted, clock=plane.clock, step_s=LOST_S)  # noqa: B023
        running.cancel()
        await asyncio.wait([running])
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "presence of images"]
