"""All planes together, as invocations, function URLs and the collector see them."""

import asyncio
from dataclasses import replace

import pytest

from hanabi.control.all_planes import AllPlanes, PresenceChecks
from hanabi.control.arns import AccountRegion
from hanabi.control.concurrency import reserve
from hanabi.control.resource_policies import add_statement
from hanabi.control.urls import add_url
from hanabi.errors import ResourceNotFound
from tests.unit.control.support import ACCOUNT, REGION, open_planes

OTHER, ELSEWHERE = "111122223333", "eu-west-1"
NAME = f"{OTHER}:{ELSEWHERE}:f"


async def test_routes_and_limits_go_by_names_in_the_record() -> None:
    async with open_planes() as world:
        everything = AllPlanes(world.planes)
        await world.create(ACCOUNT, REGION)
        await world.create(OTHER, ELSEWHERE)
        mine, other = everything.resolve("f", None), everything.resolve(NAME, None)
        assert (mine.version.record_name, mine.version.record_group) == ("f", "/aws/lambda/f")
        assert (other.version.record_name, other.version.record_group) == (NAME, f"{OTHER}:{ELSEWHERE}:/aws/lambda/f")
        assert (mine.version.name, other.version.name) == ("f", "f") and mine.version.log_group == other.version.log_group
        assert (other.version.account, other.version.region, other.concurrency.function) == (OTHER, ELSEWHERE, NAME)
        plane = world.planes.find(AccountRegion(OTHER, ELSEWHERE))
        assert plane is not None
        await plane.functions.change("f", lambda function: reserve(function, 300, 1000))
        assert everything.is_reserved(NAME) and not everything.is_reserved("f")
        assert everything.account_concurrency() == (1000, 1000)
        assert everything.account_concurrency(f"{OTHER}:{ELSEWHERE}:") == (1000, 700)
        for missing in ("g", f"{OTHER}:{REGION}:f", f"{ACCOUNT}:{ELSEWHERE}:f"):
            with pytest.raises(ResourceNotFound):
                everything.resolve(missing, None)
            assert not everything.is_reserved(missing)
        assert sorted(function.arn for function in everything.functions()) == [
            f"arn:aws:lambda:{ELSEWHERE}:{OTHER}:function:f",
            f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f",
        ]


async def test_a_url_leads_to_the_function_of_its_account_and_region() -> None:
    async with open_planes() as world:
        everything = AllPlanes(world.planes)
        await world.create(ACCOUNT, REGION)
        await world.create(OTHER, ELSEWHERE)
        plane = world.planes.find(AccountRegion(OTHER, ELSEWHERE))
        assert plane is not None
        function = await plane.functions.change("f", lambda function: add_url(function, None, {"AuthType": "NONE"}, 1))
        permission = {"StatementId": "s", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"}
        await plane.functions.change("f", lambda function: add_statement(function, None, permission))
        url = everything.lookup(function.urls["$LATEST"].id)
        assert url is not None and (url.function, url.arn, url.auth_type) == (NAME, function.arn, "NONE") and len(url.policy) == 1
        assert not url.streams and url.cors is None and url.qualifier is None
        await plane.deployment.delete("f")
        assert everything.lookup(url.url.id) is None


async def test_what_any_plane_uses_is_in_use_and_one_that_is_damaged_stops_the_collector() -> None:
    async with open_planes() as world:
        everything = AllPlanes(world.planes)
        one = await world.create(ACCOUNT, REGION, Code={"ZipFile": b"one"})
        other = await world.create(OTHER, ELSEWHERE, Code={"ZipFile": b"other"})
        assert everything.code() == {world.codes.place(each.latest.code.sha256) for each in (one, other)}
        assert not (everything.layer_sets() or everything.images() or everything.snapshots() or everything.why_incomplete)
        plane = world.planes.find(AccountRegion(OTHER, ELSEWHERE))
        assert plane is not None
        plane.functions._leave("f", "is damaged")
        assert "f" in everything.why_incomplete
        assert [problem.text.split()[0] for problem in world.health.problems] == [f"{OTHER}:{ELSEWHERE}::"]


async def test_a_version_is_looked_after_by_its_own_plane_while_that_has_functions() -> None:
    async with open_planes() as world:
        everything, checks = AllPlanes(world.planes), PresenceChecks(world.planes)
        before = len(asyncio.all_tasks())
        await world.create(OTHER, ELSEWHERE)
        assert len(asyncio.all_tasks()) > before
        version = everything.resolve(NAME, None).version
        await everything.refuse(version)  # it is there
        with pytest.raises(ResourceNotFound):
            await everything.require(replace(version, account="999999999999"))
        plane = world.planes.find(AccountRegion(OTHER, ELSEWHERE))
        assert plane is not None
        await plane.deployment.delete("f")
        await everything.wait_idle()
        await asyncio.sleep(0)
        assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("presence")] == []
        await checks.close()
