"""Without room for its record, no invocation begins."""

import pytest

from hanabi.errors import ServiceError
from tests.unit.fleet.rig import Rig


async def test_without_room_for_its_record_nothing_runs() -> None:
    async with Rig() as rig:
        version = rig.version()
        await rig.invoke(version)
        rig.journal.full = True
        with pytest.raises(ServiceError, match="The disk of the server is full"):
            await rig.invoke(version)
        with pytest.raises(ServiceError):
            await rig.invoke(rig.version())  # nor does a cold one start
        assert len(rig.journal.records) == 1
        rig.journal.full = False
        await rig.invoke(version)
        assert len(rig.journal.records) == 2
