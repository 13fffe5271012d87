"""Provisioned concurrency: who may have it, in AWS's words, and what is wanted of which version."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.functions import FunctionVersion
from hanabi.control.aliases import add_alias, change_alias, remove_alias
from hanabi.control.concurrency import reserve
from hanabi.control.model import Function, Version
from hanabi.control.provisioned import find_config, put_config, remove_config, shares
from hanabi.control.versions import publish, remove_version
from hanabi.errors import ApiError, InvalidParameterValue, ProvisionedConcurrencyConfigNotFound, ResourceConflict
from tests.unit.control.support import FakeImages, Plane, open_plane

TAKEN = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"


class Asked:
    """What the control plane asked for, by version; and everything it ever asked."""

    def __init__(self, plane: Plane) -> None:
        self.now: dict[str, int] = {}
        self.all: list[tuple[str, int]] = []
        plane.provisioned.on_provisioned(self._note)

    def _note(self, version: FunctionVersion, count: int) -> None:
        self.all.append((version.version, count))
        self.now = {**self.now, version.version: count} if count else {key: n for key, n in self.now.items() if key != version.version}


async def put(plane: Plane, qualifier: str, requested: int, name: str = "f") -> None:
    unreserved = plane.catalog.unreserved_beside(name)
    plane.clock._now += 1
    await plane.functions.change(name, lambda f: put_config(f, qualifier, requested, unreserved, plane.functions.now_ms()))


async def alias(plane: Plane, change: Callable[[Any, dict[str, Any]], Any], **params: Any) -> None:
    await plane.functions.change("f", lambda function: change(function, params))


async def publish_three(plane: Plane) -> None:
    """Versions 1 to 3."""
    await plane.create("f")
    for number in "123":
        latest = replace(plane.functions.find("f").latest, fingerprint=number)
        await plane.functions.change("f", partial(_publish, latest))


def _publish(latest: Version, function: Function) -> Function:
    return publish(replace(function, latest=latest))


async def refused(work: Awaitable[None], kind: type[ApiError] = InvalidParameterValue) -> str:
    with pytest.raises(kind) as caught:
        await work
    return caught.value.message


@asynccontextmanager
async def run(tmp_path: Path) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path) as plane:
        await publish_three(plane)
        yield plane


async def test_asked_for_taken_back_and_found_again_after_a_restart(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await publish_three(plane)
        asked = Asked(plane)
        await put(plane, "1", 5)
        await put(plane, "2", 1)
        await put(plane, "2", 1)  # once more: what failed is tried anew
        assert asked.all == [("1", 5), ("2", 1), ("2", 1)]
        await put(plane, "1", 3)
    async with open_plane(tmp_path) as plane:
        asked = Asked(plane)
        assert asked.now == {"1": 3, "2": 1}
        config = find_config(plane.functions.find("f"), "1")
        assert config.requested == 3 and config.modified_ms
        await plane.functions.change("f", lambda f: remove_config(f, "1"))
        await plane.functions.change("f", lambda f: remove_config(f, "1"))
        assert asked.now == {"2": 1} and asked.all[-1] == ("1", 0)
        with pytest.raises(ProvisionedConcurrencyConfigNotFound, match="No Provisioned Concurrency Config found for this function"):
            find_config(plane.functions.find("f"), "1")
        await plane.functions.change("f", lambda f: remove_version(f, "2"))
        assert asked.now == {} and not plane.functions.find("f").provisioned
        await put(plane, "3", 1)
        await plane.deployment.delete("f")
        assert asked.now == {}


async def test_changes_of_the_function_leave_it_alone(tmp_path: Path) -> None:
    async with run(tmp_path) as plane:
        await put(plane, "1", 2)
        asked = Asked(plane)
        asked.all.clear()
        await plane.deployment.update_settings("f", {"MemorySize": 256})
        await plane.settle()
        await plane.functions.change("f", lambda f: reserve(f, 10, 1000))
        assert not asked.all


async def test_it_moves_with_its_alias_and_goes_with_it(tmp_path: Path) -> None:
    async with run(tmp_path) as plane:
        asked = Asked(plane)
        await alias(plane, add_alias, Name="live", FunctionVersion="1")
        await put(plane, "live", 4)
        assert asked.now == {"1": 4}
        await alias(plane, change_alias, Name="live", FunctionVersion="2")
        assert asked.now == {"2": 4} and asked.all[-2:] == [("1", 0), ("2", 4)]
        await alias(plane, change_alias, Name="live", Description="only that")
        assert len(asked.all) == 3
        await alias(plane, change_alias, Name="live", RoutingConfig={"AdditionalVersionWeights": {"3": 0.25}})
        assert asked.now == {"2": 3, "3": 1}
        await alias(plane, change_alias, Name="live", RoutingConfig={"AdditionalVersionWeights": {"3": 1.0}})
        assert asked.now == {"3": 4}
        assert await refused(alias(plane, change_alias, Name="live", FunctionVersion="$LATEST", RoutingConfig={})) == (
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
        )
        await plane.functions.change("f", lambda f: remove_alias(f, "live"))
        assert asked.now == {} and not plane.functions.find("f").provisioned


async def test_one_version_has_it_from_one_side_only(tmp_path: Path) -> None:
    async with run(tmp_path) as plane:
        for name in ("live", "other"):
            await alias(plane, add_alias, Name=name, FunctionVersion="1")
        await put(plane, "1", 1)
        assert await refused(put(plane, "live", 1), ResourceConflict) == TAKEN
        await plane.functions.change("f", lambda f: remove_config(f, "1"))
        await put(plane, "live", 1)
        assert await refused(put(plane, "1", 1), ResourceConflict) == "Version is pointed by a Provisioned Concurrency alias"
        assert await refused(put(plane, "other", 1), ResourceConflict) == TAKEN
        await alias(plane, change_alias, Name="other", FunctionVersion="2")
        await put(plane, "other", 1)
        assert await refused(alias(plane, change_alias, Name="live", FunctionVersion="2"), ResourceConflict) == TAKEN
        weights = {"AdditionalVersionWeights": {"2": 0.5}}
        assert await refused(alias(plane, change_alias, Name="live", RoutingConfig=weights), ResourceConflict) == TAKEN


async def test_what_cannot_have_it(tmp_path: Path) -> None:
    async with run(tmp_path) as plane:
        await alias(plane, add_alias, Name="latest", FunctionVersion="$LATEST")
        await alias(plane, add_alias, Name="both", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}})
        assert await refused(put(plane, "latest", 1)) == (
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
        )
        assert await refused(put(plane, "both", 1)) == "Alias with weights can not be used with Provisioned Concurrency"


async def test_bounded_by_the_functions_reservation(tmp_path: Path) -> None:
    message = "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"

    async with run(tmp_path) as plane:

        async def set_reserved(reserved: int | None) -> None:
            await plane.functions.change("f", lambda f: reserve(f, reserved, plane.catalog.unreserved_beside("f")))

        await set_reserved(2)
        assert await refused(put(plane, "1", 3)) == message
        await put(plane, "1", 2)
        assert await refused(put(plane, "2", 1)) == await refused(put(plane, "1", 3)) == message
        assert await refused(set_reserved(1)) == (
            " ReservedConcurrentExecutions  1 should not be lower than function's total provisioned concurrency [2]."
        )
        await set_reserved(None)
        await put(plane, "2", 1)


async def test_bounded_by_what_the_account_shares(tmp_path: Path) -> None:
    async with run(tmp_path) as plane:
        assert await refused(put(plane, "1", 1001)) == (
            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000]."
        )
        assert await refused(put(plane, "1", 901)) == (
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
            "below its minimum value of [100]."
        )
        await put(plane, "1", 600)
        assert "[400]" in await refused(put(plane, "2", 401))
        await put(plane, "2", 300)
        await plane.create("g")
        await plane.functions.change("g", lambda f: publish(f))
        assert "[100]" in await refused(put(plane, "1", 1, "g"))
        with pytest.raises(InvalidParameterValue, match="below its minimum"):
            await plane.functions.change("g", lambda f: reserve(f, 1, plane.catalog.unreserved_beside("g")))
        assert plane.catalog.account_concurrency() == (1000, 1000)  # GetAccountSettings speaks of reservations only


async def test_a_version_that_is_not_ready_waits_for_it(tmp_path: Path) -> None:
    images = FakeImages()
    async with open_plane(tmp_path, images) as plane:
        await plane.create("f")
        asked = Asked(plane)
        await plane.functions.change("f", lambda f: publish(f))
        await alias(plane, add_alias, Name="live", FunctionVersion="1")
        await put(plane, "live", 2)
        images.hold()
        await plane.deployment.update_code("f", {"ZipFile": b"new", "Publish": True})
        assert await refused(put(plane, "2", 1), ResourceConflict) == (
            "The operation cannot be performed at this time. The function is currently in the following state: Pending"
        )
        await alias(plane, change_alias, Name="live", FunctionVersion="2")
        assert asked.now == {}
        images.release()
        await plane.settle()
        assert asked.now == {"2": 2}
        assert shares(plane.functions.find("f"), find_config(plane.functions.find("f"), "live")) == {"2": 2}
