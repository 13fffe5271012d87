"""The control planes of accounts and regions: kept apart, opened when they are asked for, and not too many."""

import asyncio

import pytest

from hanabi.control import planes as module
from hanabi.control.arns import AccountRegion
from hanabi.control.planes import UNUSED_S
from hanabi.errors import ResourceNotFound, TooManyRequests
from hanabi.testing.store import MemoryStore
from tests.unit.control.support import ACCOUNT, REGION, open_planes

OTHER, ELSEWHERE = "111122223333", "eu-west-1"
PLACES = [(ACCOUNT, REGION), (ACCOUNT, ELSEWHERE), (OTHER, REGION), (OTHER, ELSEWHERE)]


async def test_functions_of_one_name_in_several_places_are_different_ones() -> None:
    async with open_planes() as world:
        for memory, place in enumerate(PLACES, 200):
            function = await world.create(*place, MemorySize=memory)
            assert function.arn == f"arn:aws:lambda:{place[1]}:{place[0]}:function:f"
        (changed,) = [plane for plane in world.planes if plane.account_region == AccountRegion(*PLACES[1])]
        await changed.deployment.delete("f")
        left = {
            (plane.account_region.account, plane.account_region.region): [each.latest.settings.memory_mb for each in plane.functions]
            for plane in world.planes
        }
        assert left == {PLACES[0]: [200], PLACES[1]: [], PLACES[2]: [202], PLACES[3]: [203]}
        with pytest.raises(ResourceNotFound, match=f"{ELSEWHERE}:{ACCOUNT}:function:f"):
            changed.functions.find("f")


async def test_what_has_something_is_open_at_the_next_start_and_nothing_else() -> None:
    store = MemoryStore()
    async with open_planes(store) as world:
        await world.create(OTHER, ELSEWHERE)
        await world.planes.get(AccountRegion(OTHER, "eu-west-2"))
        await store.put("node/other", {})
        await store.put(f"{OTHER}/iam/role/r", {})
        await store.put("123/us-east-1/functions/x", {})
    async with open_planes(store) as world:
        opened: list[AccountRegion] = []
        world.planes.on_open(lambda plane: opened.append(plane.account_region))
        assert sorted(map(str, opened)) == sorted(map(str, [AccountRegion(ACCOUNT, REGION), AccountRegion(OTHER, ELSEWHERE)]))
        plane = world.planes.find(AccountRegion(OTHER, ELSEWHERE))
        assert plane is not None and plane.functions.names() == ["f"]


async def test_it_is_opened_once_however_many_ask_and_an_empty_one_runs_nothing() -> None:
    async with open_planes() as world:
        before = len(asyncio.all_tasks())
        place = AccountRegion(OTHER, ELSEWHERE)
        first, *others = await asyncio.gather(*(world.planes.get(place) for _ in range(5)))
        assert all(each is first for each in others) and world.planes.find(place) is first
        await asyncio.sleep(0)
        assert first.is_idle and len(asyncio.all_tasks()) == before


async def test_an_empty_one_that_nobody_uses_makes_room_and_others_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLANES_MAX", 3)
    async with open_planes() as world:  # the home is one
        closed: list[AccountRegion] = []
        world.planes.on_close(closed.append)
        await world.create(OTHER, "us-east-1")
        empty = AccountRegion(OTHER, "us-east-2")
        await world.planes.get(empty)
        with pytest.raises(TooManyRequests):
            await world.planes.get(AccountRegion(OTHER, "us-west-1"))
        await world.clock.advance(UNUSED_S + 1)
        await world.planes.get(AccountRegion(OTHER, "us-west-1"))
        assert closed == [empty] and world.planes.find(empty) is None
        assert world.planes.find(AccountRegion(OTHER, "us-east-1")) is not None
        await world.clock.advance(UNUSED_S + 1)
        await world.create(OTHER, "us-east-2")
        assert closed == [empty, AccountRegion(OTHER, "us-west-1")]


async def test_accounts_that_are_made_up_leave_nothing_and_close_nothing_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLANES_MAX", 4)
    async with open_planes() as world:
        made_up = [AccountRegion(f"{number:012}", REGION) for number in range(1, 100)]
        for place in made_up[:3]:
            await world.planes.get(place)
        refused = await asyncio.gather(*(world.planes.get(place) for place in made_up[3:]), return_exceptions=True)
        assert all(isinstance(each, TooManyRequests) for each in refused)
        assert len(world.planes._asked) == 4  # refused ones are not remembered
        await world.clock.advance(UNUSED_S + 1)
        asked: set[str] = set()
        segments = world.store.segments

        async def while_it_is_looked_at(prefix: str) -> tuple[str, ...]:
            found = await segments(prefix)
            if prefix == made_up[0].prefix and not asked:
                asked.add(prefix)
                await world.planes.get(made_up[0])
            return found

        monkeypatch.setattr(world.store, "segments", while_it_is_looked_at)
        opened = await asyncio.gather(*(world.planes.get(place) for place in made_up[3:6]), return_exceptions=True)
        assert world.planes.find(made_up[0]) is not None  # somebody asked for it while room was made
        assert sorted(type(each).__name__ for each in opened) == ["ControlPlane", "ControlPlane", "TooManyRequests"]
