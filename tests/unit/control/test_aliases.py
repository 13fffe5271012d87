"""Aliases, and where they lead."""

import random
from pathlib import Path
from typing import Any

import pytest

from hanabi.control.aliases import add_alias, change_alias, find_alias, remove_alias
from hanabi.control.urls import add_url, remove_url
from hanabi.control.versions import publish_settled, remove_version
from hanabi.errors import ApiError, InvalidParameterValue, PreconditionFailed, ResourceConflict, ResourceNotFound, ValidationError
from tests.unit.control.support import ARN, Plane, open_plane


async def two_versions(plane: Plane) -> None:
    for memory in (128, 256):
        if plane.functions.get("f") is None:
            await plane.create()
        else:
            await plane.deployment.update_settings("f", {"MemorySize": memory})
            await plane.settle()
        await plane.functions.change("f", lambda f: publish_settled(f, sha256=None, revision_id=None, description=None))


async def add(plane: Plane, **params: Any) -> None:
    given = {"Name": "live", "FunctionVersion": "1"} | params
    await plane.functions.change("f", lambda f: add_alias(f, given))


async def change(plane: Plane, **params: Any) -> None:
    await plane.functions.change("f", lambda f: change_alias(f, {"Name": "live"} | params))


async def test_an_alias_leads_to_its_version(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await two_versions(plane)
        await add(plane, Description="d")
        route = plane.catalog.resolve("f", "live")
        assert (route.version.version, route.invoked_arn) == ("1", f"{ARN}:f:live")
        await change(plane, FunctionVersion="2")
        assert plane.catalog.resolve("f", "live").version.version == "2"
        assert find_alias(plane.functions.find("f"), "live").description == "d"
        await add(plane, Name="head", FunctionVersion="$LATEST")
        assert plane.catalog.resolve("f", "head").version.key == plane.catalog.resolve("f", None).version.key
    async with open_plane(tmp_path) as plane:
        assert plane.catalog.resolve("f", "live").version.version == "2"
        await plane.functions.change("f", lambda f: remove_alias(f, "live"))
        await plane.functions.change("f", lambda f: remove_alias(f, "live"))
        with pytest.raises(ResourceNotFound, match="Function not found"):
            plane.catalog.resolve("f", "live")
        assert plane.retired == []


async def test_a_weighted_alias_leads_to_both(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await two_versions(plane)
        await add(plane, RoutingConfig={"AdditionalVersionWeights": {"2": 0.25}})
        random.seed(1)
        drawn = [plane.catalog.resolve("f", "live") for _ in range(2000)]
        share = sum(route.version.version == "2" for route in drawn) / len(drawn)
        assert 0.2 < share < 0.3
        assert {route.invoked_arn for route in drawn} == {f"{ARN}:f:live"}
        await change(plane, RoutingConfig={})
        assert {plane.catalog.resolve("f", "live").version.version for _ in range(50)} == {"1"}


async def test_a_version_that_an_alias_points_to_cannot_be_deleted(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await two_versions(plane)
        await add(plane, RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}})
        for number in ("1", "2"):
            with pytest.raises(ResourceConflict) as caught:
                await plane.functions.change("f", lambda f, n=number: remove_version(f, n))  # type: ignore[misc]
            assert caught.value.message == "Unable to delete version because the following aliases reference it: [live]"


async def test_the_url_of_a_deleted_alias_stays(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await two_versions(plane)
        await add(plane)
        function = await plane.functions.change("f", lambda f: add_url(f, "live", {"AuthType": "NONE"}, 1))
        url_id = function.urls["live"].id
        found = plane.urls.lookup(url_id)
        assert found is not None and (found.function, found.qualifier, found.auth_type, found.cors) == ("f", "live", "NONE", None)
        await plane.functions.change("f", lambda f: remove_alias(f, "live"))
        assert plane.urls.lookup(url_id) == found  # as recorded: its callers are refused
    async with open_plane(tmp_path) as plane:
        assert plane.urls.lookup(url_id) == found
        await plane.functions.change("f", lambda f: remove_url(f, "live"))
        assert plane.urls.lookup(url_id) is None


AT = "at 'routingConfig.additionalVersionWeights' failed to satisfy constraint"


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1, "2": 0.1}}}, InvalidParameterValue,
         "Number of items in AdditionalVersionWeights cannot be greater than 1"),
        ({"RoutingConfig": {"AdditionalVersionWeights": {"2": 2.0}}}, ValidationError,
         f"1 validation error detected: Value '{{2=2.0}}' {AT}: Map value must satisfy constraint: "),
        ({"RoutingConfig": {"AdditionalVersionWeights": {"2": -1.0}}}, ValidationError, "1 validation error detected: Value '{2=-1.0}'"),
        ({"RoutingConfig": {"AdditionalVersionWeights": {"2": float("nan")}}}, ValidationError, "1 validation error detected"),
        ({"RoutingConfig": {"AdditionalVersionWeights": {"1": 0.5}}}, InvalidParameterValue,
         "Invalid function version 1. Function version 1 is already included in routing configuration."),
        ({"FunctionVersion": "10"}, ResourceNotFound, f"Function not found: {ARN}:f:10"),
        ({"RoutingConfig": {"AdditionalVersionWeights": {"10": 0.5}}}, ResourceNotFound, f"Function not found: {ARN}:f:10"),
        ({"FunctionVersion": "$LATEST", "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.5}}}, InvalidParameterValue,
         "$LATEST is not supported for an alias pointing to more than 1 version"),
        ({"RoutingConfig": {"AdditionalVersionWeights": {"$LATEST": 0.5}}}, ValidationError,
         f"1 validation error detected: Value '{{$LATEST=0.5}}' {AT}: Map keys must satisfy constraint: "),
        ({"Name": "2024"}, ValidationError, "1 validation error detected: Value '2024' at 'name'"),
        ({"Name": "taken"}, ResourceConflict, f"Alias already exists: {ARN}:f:taken"),
    ],
)  # fmt: skip
async def test_bad_aliases_are_refused(tmp_path: Path, params: dict[str, Any], error: type[ApiError], message: str) -> None:
    async with open_plane(tmp_path) as plane:
        await two_versions(plane)
        await add(plane, Name="taken")
        with pytest.raises(error) as caught:
            await add(plane, **params)
        assert caught.value.message.startswith(message)


async def test_missing_and_changed_aliases(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await two_versions(plane)
        with pytest.raises(ResourceNotFound, match=f"Alias not found: {ARN}:f:live"):
            await change(plane)
        with pytest.raises(ResourceNotFound, match=f"Cannot find alias arn: {ARN}:f:live"):
            find_alias(plane.functions.find("f"), "live")
        await add(plane, RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}})
        with pytest.raises(PreconditionFailed):
            await change(plane, RevisionId="wrong")
        with pytest.raises(InvalidParameterValue, match="already included in routing configuration"):
            await change(plane, FunctionVersion="2")
