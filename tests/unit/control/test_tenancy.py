"""Tenant isolation as a setting."""

from pathlib import Path
from typing import Any

import pytest

from hanabi.control.concurrency import reserve
from hanabi.control.provisioned import put_config
from hanabi.control.urls import add_url
from hanabi.errors import InvalidParameterValue
from tests.unit.control.support import create_params, open_plane

PER_TENANT: dict[str, Any] = {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}


async def test_it_is_part_of_the_function(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        made = await plane.create(Publish=True, **PER_TENANT)
        assert made.latest.settings.tenancy == made.versions["1"].settings.tenancy == "PER_TENANT"
        await plane.create("plain")
    async with open_plane(tmp_path) as plane:
        for qualifier in (None, "1"):
            assert plane.catalog.resolve("f", qualifier).version.tenant_environments_max == 2500
        assert plane.catalog.resolve("plain", None).version.tenant_environments_max == 0
        await plane.deployment.update_settings("f", {"FunctionName": "f", "Timeout": 9})
        assert (await plane.settle()).latest.settings.tenancy == "PER_TENANT"


async def test_how_many_environments_there_may_be_follows_the_concurrency(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create(**PER_TENANT)
        for reserved, most in ((100, 250), (1, 2), (0, 1)):
            await plane.functions.change("f", lambda f, n=reserved: reserve(f, n, 1000))  # type: ignore[misc]
            assert plane.catalog.resolve("f", None).version.tenant_environments_max == most


async def test_what_it_excludes(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        function = await plane.create(Publish=True, **PER_TENANT)
        with pytest.raises(InvalidParameterValue, match="Provisioned Concurrency is not supported for functions with tenant isolation."):
            put_config(function, "1", 1, 1000, 0)
        with pytest.raises(InvalidParameterValue, match="A function URL is not supported for functions with tenant isolation."):
            add_url(function, None, {"AuthType": "NONE"}, 0)
        snap_start: dict[str, Any] = {"Runtime": "python3.13", "SnapStart": {"ApplyOn": "PublishedVersions"}}
        with pytest.raises(InvalidParameterValue, match="SnapStart is not supported for functions with tenant isolation."):
            await plane.deployment.create("g", create_params("g", **PER_TENANT, **snap_start))
        with pytest.raises(InvalidParameterValue, match="SnapStart is not supported"):
            await plane.deployment.update_settings("f", {"FunctionName": "f", **snap_start})
