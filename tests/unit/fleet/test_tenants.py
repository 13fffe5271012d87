"""Environments of functions with tenant isolation: one tenant each, for life."""

import asyncio
from dataclasses import replace

import pytest

from hanabi.contracts.functions import Concurrency, FunctionVersion, Route
from hanabi.contracts.tenants import route_for
from hanabi.errors import ServiceError, TooManyRequests
from tests.unit.fleet.rig import Rig
from tests.waiting import until


def of_tenant(version: FunctionVersion, tenant: str) -> FunctionVersion:
    return route_for(Route(version, version.arn, Concurrency(version.name)), tenant).version


async def test_an_environment_is_never_another_tenants() -> None:
    async with Rig(pool_size=2) as rig:
        version = rig.version(tenant_environments_max=100)
        served: dict[str, set[str]] = {}
        for _ in range(3):
            for tenant in ("blue", "green", "blue:1"):
                served.setdefault(tenant, set()).add((await rig.invoke(of_tenant(version, tenant))).record.environment)
        assert [len(used) for used in served.values()] == [1, 1, 1] and len(set.union(*served.values())) == 3
        together = [rig.invoke(of_tenant(version, f"t{number % 5}")) for number in range(40)]
        for number, result in enumerate(await asyncio.gather(*together)):
            served.setdefault(f"t{number % 5}", set()).add(result.record.environment)
            assert result.record.tenant == f"t{number % 5}"
        all_used = [environment for used in served.values() for environment in used]
        assert len(all_used) == len(set(all_used))
        assert {row["tenant"] for row in rig.fleet.describe() if row["function"]} == set(served)


async def test_they_end_with_their_version() -> None:
    async with Rig() as rig:
        version, other = rig.version(tenant_environments_max=100), rig.version("f2", tenant_environments_max=100)
        for tenant in ("blue", "green"):
            await rig.invoke(of_tenant(version, tenant))
            await rig.invoke(of_tenant(other, tenant))
        busy = rig.begin(of_tenant(version, "red"), b"hang")
        await until(lambda: any(row["state"] == "busy" for row in rig.fleet.describe()))
        rig.fleet.retire(version.key)
        await until(lambda: sorted(row["function"] for row in rig.fleet.describe()) == ["f", "f2", "f2"])
        busy.cancel()
        await until(lambda: sorted(row["function"] for row in rig.fleet.describe()) == ["f2", "f2"])
        late = await rig.invoke(of_tenant(version, "late"))  # one that began before its version was retired
        await until(lambda: late.record.environment not in [row["id"] for row in rig.fleet.describe()])


async def test_there_may_be_so_many_of_all_tenants() -> None:
    async with Rig() as rig:
        version = rig.version(tenant_environments_max=2)
        for tenant in ("blue", "green", "blue"):
            await rig.invoke(of_tenant(version, tenant))
        with pytest.raises(TooManyRequests, match="Rate exceeded"):
            await rig.invoke(of_tenant(version, "red"))
        await rig.invoke(of_tenant(rig.version("g", tenant_environments_max=2), "red"))
        await rig.invoke(of_tenant(version, "green"))


async def test_without_a_tenant_there_is_no_environment() -> None:
    async with Rig() as rig:
        with pytest.raises(ServiceError, match="no environment without a tenant"):
            await rig.invoke(replace(rig.version(), tenant_environments_max=2))
        assert rig.driver.sandboxes == []
