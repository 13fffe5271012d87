"""The life of functions: made, prepared, updated, published, deleted; on disk at every step."""

import asyncio
import json
from pathlib import Path

import pytest

from hanabi.control.model import Function, version_document
from hanabi.control.preparation import LOOK_AGAIN_S
from hanabi.control.versions import publish_settled, remove_version
from hanabi.errors import InvalidParameterValue, PreconditionFailed, ResourceConflict, ResourceNotFound
from hanabi.store.sqlite import SqliteStore
from tests.unit.control.support import ARN, BROKEN, PLANE_FORMATS, FakeImages, Plane, create_params, open_plane, place_of
from tests.waiting import until


async def publish(plane: Plane, name: str = "f", description: str | None = None) -> Function:
    return await plane.functions.change(name, lambda f: publish_settled(f, sha256=None, revision_id=None, description=description))


async def test_a_function_is_pending_until_it_is_prepared(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        plane.images.hold()
        made = await plane.deployment.create("f", create_params())
        assert (made.latest.state, made.latest.state_code) == ("Pending", "Creating")
        message = "The operation cannot be performed at this time. The function is currently in the following state: Pending"
        with pytest.raises(ResourceConflict) as caught:
            plane.catalog.resolve("f", None)
        assert caught.value.message == message
        with pytest.raises(ResourceConflict, match="state: Pending"):
            await plane.deployment.update_settings("f", {"Timeout": 5})
        with pytest.raises(ResourceConflict, match="Function already exist: f"):
            await plane.deployment.create("f", create_params())
        plane.images.release()
        ready = await plane.settle()
        assert (ready.latest.state, ready.latest.update) == ("Active", "Successful")
        assert ready.latest.revision_id != made.latest.revision_id
        assert ready.latest.runtime_arn == "arn:aws:lambda:us-east-1::runtime:python3.11"
        assert plane.retired == []


async def test_a_runtime_that_nothing_here_can_run_is_refused_in_words(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        plane.images.lacks["nodejs22.x"] = "this host has no node"
        with pytest.raises(InvalidParameterValue, match=r"The runtime nodejs22\.x cannot run here: this host has no node"):
            await plane.deployment.create("f", create_params(Runtime="nodejs22.x"))
        assert plane.functions.get("f") is None
        await plane.deployment.create("f", create_params())
        await plane.settle()
        with pytest.raises(InvalidParameterValue, match=r"nodejs22\.x cannot run here"):
            await plane.deployment.update_settings("f", {"Runtime": "nodejs22.x"})


async def test_a_caller_goes_on_when_its_function_is_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_plane(tmp_path) as plane:
        monkeypatch.setattr("hanabi.control.preparation.BRIEF_WAIT_S", 60.0)
        await plane.preparation.wait_briefly(await plane.deployment.create("f", create_params()))
        assert plane.functions.find("f").latest.settled
        await plane.preparation.wait_briefly(await plane.deployment.update_settings("f", {"Timeout": 5}))
        assert plane.catalog.resolve("f", None).version.timeout_s == 5
        await plane.preparation.wait_briefly(plane.functions.find("f"))  # nothing is under way
        monkeypatch.setattr("hanabi.control.preparation.BRIEF_WAIT_S", 0.01)
        plane.images.hold()
        await plane.preparation.wait_briefly(await plane.deployment.create("slow", create_params("slow")))
        assert plane.functions.find("slow").latest.state == "Pending"
        plane.images.release()


async def test_a_route_has_all_an_invocation_needs(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        function = await plane.create(MemorySize=256, Timeout=7, Environment={"Variables": {"A": "1"}})
        route = plane.catalog.resolve("f", None)
        assert route is plane.catalog.resolve("f", None)
        version = route.version
        assert (route.invoked_arn, version.arn, version.version) == (f"{ARN}:f", f"{ARN}:f", "$LATEST")
        assert (version.memory_mb, version.timeout_s, version.tmp_mb, dict(version.environment)) == (256, 7, 512, {"A": "1"})
        assert (version.code, version.log_group) == (place_of(function.latest.code), "/aws/lambda/f")
        assert plane.catalog.resolve("f", "$LATEST").invoked_arn == f"{ARN}:f:$LATEST"
        assert plane.catalog.resolve("f", "$LATEST").version.key == version.key
        for name, qualifier, arn in (
            ("g", None, f"{ARN}:g:$LATEST"),  # as AWS says it of an Invoke without a qualifier
            ("g", "1", f"{ARN}:g:1"),
            ("f", "9", f"{ARN}:f:9"),
            ("f", "x", f"{ARN}:f:x"),
        ):
            with pytest.raises(ResourceNotFound) as caught:
                plane.catalog.resolve(name, qualifier)
            assert caught.value.message == f"Function not found: {arn}"


async def test_a_runtime_that_cannot_be_had_fails_the_function_with_the_reason(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        failed = await plane.create(Runtime=BROKEN, Publish=True)
        assert (failed.latest.state, failed.latest.state_code) == ("Failed", "InvalidRuntime")
        assert failed.latest.state_reason == "there is no such root; get it elsewhere"
        assert failed.versions["1"].state == "Failed"
        with pytest.raises(ResourceConflict, match="state: Failed"):
            plane.catalog.resolve("f", None)
        await plane.deployment.update_settings("f", {"Runtime": "python3.11"})  # a failed function can be fixed
        fixed = await plane.settle()
        assert (fixed.latest.state, fixed.latest.update) == ("Active", "Successful")
        assert plane.catalog.resolve("f", None).version.runtime == "python3.11"


async def test_a_function_whose_runtime_is_not_to_be_had_may_stay_pending(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        plane.images.pending["ruby3.4"] = "get it elsewhere"
        await plane.deployment.create("f", create_params(Runtime="ruby3.4"))
        await plane.deployment.create("g", create_params(Runtime="ruby3.4"))

        def shown(name: str) -> str:
            function = plane.functions.find(name)
            return plane.preparation.shown(function, function.latest).state_reason or ""

        await until(lambda: "get it elsewhere" in shown("f"))
        assert shown("f") == "The function is being created: get it elsewhere, 0 s"
        with pytest.raises(ResourceConflict, match="state: Pending"):
            plane.catalog.resolve("f", None)
        await plane.deployment.delete("g")
        await plane.clock.advance(LOOK_AGAIN_S)  # nobody waits for what is gone
        await until(lambda: len(plane.preparation.tasks) == 1)
        del plane.images.pending["ruby3.4"]
        await plane.clock.advance(LOOK_AGAIN_S)
        assert (await plane.settle()).latest.state == "Active"


async def test_the_old_version_serves_until_the_new_one_is_ready(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        before = await plane.create()
        old = plane.catalog.resolve("f", None).version
        plane.images.hold()
        updated = await plane.deployment.update_code("f", {"ZipFile": b"new"})
        assert (updated.latest.state, updated.latest.update, updated.latest.update_code) == ("Active", "InProgress", "Creating")
        assert plane.catalog.resolve("f", None).version == old
        assert plane.references.code() == {place_of(before.latest.code), place_of(updated.latest.code)}
        with pytest.raises(ResourceConflict) as caught:
            await plane.deployment.update_settings("f", {"Timeout": 9})
        assert caught.value.message == f"The operation cannot be performed at this time. An update is in progress for resource: {ARN}:f"
        assert plane.retired == []
        plane.images.release()
        ready = await plane.settle()
        new = plane.catalog.resolve("f", None).version
        assert new.code == place_of(updated.latest.code) and new.key != old.key
        assert plane.retired == [old.key]
        assert plane.references.code() == {place_of(ready.latest.code)}


async def test_a_failed_update_leaves_the_old_version_serving(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        old = plane.catalog.resolve("f", None).version
        await plane.deployment.update_settings("f", {"Runtime": BROKEN})
        failed = await plane.settle()
        assert (failed.latest.state, failed.latest.update, failed.latest.update_code) == ("Active", "Failed", "InvalidRuntime")
        assert plane.catalog.resolve("f", None).version == old
        with pytest.raises(ResourceConflict, match="state: Failed"):
            await publish(plane)
    async with open_plane(tmp_path) as plane:
        assert plane.catalog.resolve("f", None).version == old
        await plane.deployment.update_settings("f", {"Runtime": "nodejs22.x"})
        await plane.settle()
        assert plane.catalog.resolve("f", None).version.runtime == "nodejs22.x"
        assert plane.retired == [old.key]


async def test_revisions(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        function = await plane.create()
        message = (
            "The Revision Id provided does not match the latest Revision Id. "
            "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
        )
        for update in (
            plane.deployment.update_code("f", {"ZipFile": b"x", "RevisionId": "wrong"}),
            plane.deployment.update_settings("f", {"RevisionId": "wrong"}),
            plane.functions.change("f", lambda f: publish_settled(f, sha256=None, revision_id="wrong", description=None)),
        ):
            with pytest.raises(PreconditionFailed) as caught:
                await update
            assert caught.value.message == message
        updated = await plane.deployment.update_settings("f", {"Timeout": 9, "RevisionId": function.latest.revision_id})
        assert updated.latest.revision_id != function.latest.revision_id


async def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        before = await plane.create()
        tried = await plane.deployment.update_code("f", {"ZipFile": b"new", "DryRun": True})
        assert tried.latest.code != before.latest.code
        assert plane.functions.find("f") is before
        assert plane.references.code() == {place_of(before.latest.code)}


async def test_code_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        for code, message in (
            ({"ZipFile": b"bad"}, "Could not unzip uploaded file"),
            ({}, "Please provide a source for function code."),
            ({"S3Bucket": "b", "S3Key": "k"}, "S3Bucket: this Hanabi knows no S3"),
            ({"ImageUri": "r.example/i"}, "Please provide a source for function code."),
            ({"ImageUri": "r.example/i", "ZipFile": b"code"}, "Please do not provide other FunctionCode parameters"),
        ):
            with pytest.raises(InvalidParameterValue, match=message):
                await plane.deployment.create("f", create_params(Code=code))
        assert plane.functions.get("f") is None
        assert plane.references.code() == set()
        await plane.create()
        with pytest.raises(InvalidParameterValue, match="Please don't provide ImageUri when updating a function with packageType Zip."):
            await plane.deployment.update_code("f", {"ImageUri": "i"})


async def test_versions_keep_their_own_code_and_settings(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create(MemorySize=128)
        first = await publish(plane, description="one")
        assert first.versions["1"].settings.description == "one"
        assert await publish(plane) is first  # nothing has changed
        await plane.deployment.update_settings("f", {"MemorySize": 512})
        await plane.settle()
        await plane.deployment.update_code("f", {"ZipFile": b"new"})
        await plane.settle()
        second = await publish(plane)
        assert list(second.versions) == ["1", "2"]
        one, two = (plane.catalog.resolve("f", number).version for number in ("1", "2"))
        assert (one.memory_mb, two.memory_mb) == (128, 512)
        assert one.code != two.code
        assert len({one.key, two.key, plane.catalog.resolve("f", None).version.key}) == 3
        await plane.functions.change("f", lambda f: remove_version(f, "2"))
        await plane.functions.change("f", lambda f: remove_version(f, "77"))
        assert plane.retired[-1] == two.key
        await plane.deployment.update_settings("f", {"MemorySize": 256})
        await plane.settle()
        assert list((await publish(plane)).versions) == ["1", "3"]  # a number is never used twice


async def test_publishing_the_same_again_after_an_update_without_change(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create(Publish=True)
        await plane.deployment.update_code("f", {"ZipFile": b"code", "Publish": True})
        assert list((await plane.settle()).versions) == ["1"]
        await plane.deployment.update_code("f", {"ZipFile": b"other", "Publish": True})
        published = await plane.settle()
        assert [(v.number, v.state, v.update) for v in published.versions.values()] == [
            ("1", "Active", "Successful"),
            ("2", "Active", "Successful"),
        ]


async def test_publish_checks_the_code(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        function = await plane.create()
        with pytest.raises(InvalidParameterValue) as caught:
            await plane.functions.change("f", lambda f: publish_settled(f, sha256="other", revision_id=None, description=None))
        assert caught.value.message == (
            f"CodeSHA256 (other) is different from current CodeSHA256 in $LATEST ({function.latest.code.sha256}). "
            "Please try again with the CodeSHA256 in $LATEST."
        )


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create(Tags={"a": "b"}, Publish=True, Environment={"Variables": {"A": "é"}})
        await plane.create("g")
        before = list(plane.functions)
        route = plane.catalog.resolve("f", "1")
    async with open_plane(tmp_path) as plane:
        assert list(plane.functions) == before
        assert plane.catalog.resolve("f", "1") == route
        assert plane.images.asked == []


async def test_what_was_being_prepared_is_prepared_after_a_restart(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create("g")
        plane.images.hold()
        await plane.deployment.create("f", create_params(Publish=True))
        await plane.deployment.update_settings("g", {"Timeout": 60})
    held = FakeImages()
    held.hold()
    async with open_plane(tmp_path, held) as plane:
        assert plane.functions.find("f").latest.state == "Pending"
        assert plane.catalog.resolve("g", None).version.timeout_s == 3
        held.release()
        function = await plane.settle("f")
        assert (function.latest.state, function.versions["1"].state) == ("Active", "Active")
        await plane.settle("g")
        assert plane.catalog.resolve("g", None).version.timeout_s == 60


async def test_a_deleted_function_is_gone_and_another_of_its_name_is_another(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create(Publish=True)
        keys = {plane.catalog.resolve("f", qualifier).version.key for qualifier in (None, "1")}
        await plane.deployment.delete("f")
        assert set(plane.retired) == keys
        with pytest.raises(ResourceNotFound):
            plane.catalog.resolve("f", None)
        with pytest.raises(ResourceNotFound, match=f"Function not found: {ARN}:f"):
            await plane.deployment.delete("f")
        await plane.create()
        assert plane.catalog.resolve("f", None).version.key not in keys
    async with open_plane(tmp_path) as plane:
        assert list(plane.functions.find("f").versions) == []


async def test_a_preparation_that_ends_after_its_function_was_replaced_is_ignored(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        plane.images.hold()
        await plane.deployment.create("f", create_params(Runtime=BROKEN))
        await plane.deployment.delete("f")
        await plane.deployment.create("f", create_params())
        plane.images.release()
        assert (await plane.settle()).latest.state == "Active"


async def test_a_version_that_no_function_names_is_removed_at_start(tmp_path: Path) -> None:
    """What a crash between the two writes of a publish, or of a delete, leaves behind."""

    async with open_plane(tmp_path) as plane:
        function = await plane.create(Publish=True)
    store = SqliteStore(tmp_path / "state.db", PLANE_FORMATS)
    await store.put("versions/f/2", version_document(function, function.versions["1"]))
    await store.put("versions/gone/1", version_document(function, function.versions["1"]))
    async with open_plane(tmp_path) as plane:
        assert list(plane.functions.find("f").versions) == ["1"]
    assert [key for key, _, _ in await store.list("versions/")] == ["versions/f/1"]
    await store.close()


async def test_a_cancelled_caller_leaves_memory_and_disk_in_agreement(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        for _ in range(3):
            await plane.settle()
            task = asyncio.ensure_future(plane.deployment.update_settings("f", {"Timeout": 11}))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        in_memory = await plane.settle()
        assert in_memory.latest.settings.timeout_s == 11 and in_memory.latest.settled
    async with open_plane(tmp_path) as plane:
        assert plane.functions.find("f") == in_memory


async def test_many_at_once(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        names = [f"f{number:02}" for number in range(20)]
        await asyncio.gather(*(plane.create(name) for name in names))
        assert [function.name for function in plane.functions] == names
        made = await asyncio.gather(*(plane.deployment.create("same", create_params("same")) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(outcome, ResourceConflict) for outcome in made) == 4


async def test_documents_name_no_place_and_those_that_do_are_read(tmp_path: Path) -> None:
    """Once a document had the absolute path of its code, which is nowhere when the data directory has moved."""

    async with open_plane(tmp_path) as plane:
        made = await plane.create(Publish=True)
    store = SqliteStore(tmp_path / "state.db", PLANE_FORMATS)
    await store.open()
    for key, document, _ in [*await store.list("functions/"), *await store.list("versions/")]:
        assert "/" not in json.dumps(document["latest"]["code"] if "latest" in document else document["code"]).replace(
            made.latest.code.sha256, ""
        )
        for version in [document["latest"], document["serving"]] if "latest" in document else [document]:
            if version is not None:
                version["code"]["path"] = "/a/data/directory/that/has/moved/code/0123/task"
        old = SqliteStore(tmp_path / "state.db")  # what it writes has version 0
        await old.put(key, document)
        await old.close()
    await store.close()
    async with open_plane(tmp_path) as plane:
        assert plane.catalog.resolve("f", None).version.code == place_of(made.latest.code)
        assert plane.catalog.resolve("f", "1").version.code == place_of(made.latest.code)
        assert plane.references.code() == {place_of(made.latest.code)}
