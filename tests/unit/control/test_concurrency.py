"""Reserved concurrency."""

from pathlib import Path

import pytest

from hanabi.control.concurrency import reserve
from hanabi.errors import InvalidParameterValue
from tests.unit.control.support import Plane, open_plane


async def test_reserved_concurrency(tmp_path: Path) -> None:
    async def set_reserved(plane: Plane, name: str, reserved: int | None) -> None:
        await plane.functions.change(name, lambda f: reserve(f, reserved, plane.catalog.account_concurrency()[1]))

    async def scenario() -> None:
        async with open_plane(tmp_path) as plane:
            await plane.create("f")
            await plane.create("g")
            concurrency = plane.catalog.resolve("f", None).concurrency
            assert (plane.catalog.account_concurrency(), concurrency.reserved) == ((1000, 1000), None)
            await set_reserved(plane, "f", 900)
            assert (plane.catalog.account_concurrency(), concurrency.reserved) == ((1000, 100), 900)
            await set_reserved(plane, "f", 900)
            with pytest.raises(InvalidParameterValue) as caught:
                await set_reserved(plane, "g", 1)
            assert caught.value.message == (
                "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
                "below its minimum value of [100]."
            )
            await set_reserved(plane, "f", 0)
            await set_reserved(plane, "g", 10)
            assert plane.catalog.resolve("f", None).concurrency is concurrency and concurrency.reserved == 0
        async with open_plane(tmp_path) as plane:
            assert plane.catalog.account_concurrency() == (1000, 990)
            assert plane.catalog.resolve("g", None).concurrency.reserved == 10
            await set_reserved(plane, "f", None)
            await plane.deployment.delete("g")
            assert plane.catalog.account_concurrency() == (1000, 1000)

    await scenario()
