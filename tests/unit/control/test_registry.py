"""The registry of any kind of thing: written through, followed when others write, and whole when some of it cannot be read."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hanabi.base.health import Health
from hanabi.contracts.store import Document, Store
from hanabi.control.registry import ATTEMPTS, Kind, Registry
from hanabi.errors import DocumentDamaged, RevisionMismatch, ServiceError
from hanabi.testing.clock import ManualClock
from tests.unit.store.contract import KINDS, Node, open_node


@dataclass(frozen=True)
class Ship:
    name: str
    speed: int = 0
    boats: Mapping[str, int] = field(default_factory=dict)


def decode(name: str, document: Document, parts: Mapping[str, Document]) -> Ship:
    if document["speed"] < 0:
        raise ValueError("has an impossible speed")
    return Ship(name, document["speed"], {boat: parts[boat]["seats"] for boat in document["boats"]})


def encode_parts(old: Ship | None, new: Ship | None) -> Mapping[str, Document | None]:
    before, after = old.boats if old else {}, new.boats if new else {}
    gone: dict[str, Document | None] = {boat: None for boat in before.keys() - after.keys()}
    return gone | {boat: {"seats": seats} for boat, seats in after.items() if before.get(boat) != seats}


SHIPS: Kind[Ship] = Kind("ship", "ships/", decode, lambda ship: {"speed": ship.speed, "boats": list(ship.boats)}, "boats/", encode_parts)


@pytest.fixture(params=KINDS)
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    async with open_node(request.param, tmp_path) as node:
        yield node


@asynccontextmanager
async def open_ships(store: Store, health: Health | None = None) -> AsyncIterator[Registry[Ship]]:
    registry = Registry(store, SHIPS, ManualClock(), health)
    await registry.open()
    yield registry
    await registry.close()


def faster(ship: Ship | None) -> Ship:
    assert ship is not None
    return replace(ship, speed=ship.speed + 1)


async def test_what_is_written_is_there_after_the_next_start(node: Node) -> None:
    store = await node.open()
    async with open_ships(store) as ships:
        assert ships.get("a") is None and ships.revision("a") == 0
        await ships.commit("b", lambda old: Ship("b"))
        made = await ships.commit("a", lambda old: Ship("a", 3, {"x": 4, "y": 5}))
        first = ships.revision("a")
        await ships.commit("a", lambda old: replace(made, boats={"y": 5, "z": 6}) if made else None)
        assert ships.revision("a") > first
        assert [key for key, _, _ in await store.list("")] == ["boats/a/y", "boats/a/z", "ships/a", "ships/b"]
        await ships.commit("b", lambda old: None)
        await ships.update("b", faster)  # it stays gone
    async with open_ships(store) as ships:
        assert list(ships) == [Ship("a", 3, {"y": 5, "z": 6})] and ships.names() == ["a"]


async def test_who_listens_is_told_of_all_there_is_and_of_every_change(node: Node) -> None:
    store = await node.open()
    async with open_ships(store) as ships:
        told: list[tuple[Ship | None, Ship | None]] = []
        await ships.commit("a", lambda old: Ship("a"))
        ships.listen(lambda old, new: told.append((old, new)))
        await ships.commit("a", faster)
        await ships.commit("a", lambda old: old)  # no change
        await ships.commit("a", lambda old: None)
        assert told == [(None, Ship("a")), (Ship("a"), Ship("a", 1)), (Ship("a", 1), None)]


async def test_what_others_write_is_known_here(node: Node) -> None:
    async with open_ships(await node.open()) as here, open_ships(await node.open()) as there:
        told: list[tuple[Ship | None, Ship | None]] = []
        here.listen(lambda old, new: told.append((old, new)))
        ship = Ship("a", 1, {"x": 2})
        await there.commit("a", lambda old: ship)
        await node.until(lambda: told)
        assert told == [(None, ship)] and here.get("a") == ship and here.revision("a") == there.revision("a")
        await here.commit("a", faster)
        assert len(told) == 2
        await node.until(lambda: there.get("a") == replace(ship, speed=2))
        await there.commit("a", lambda old: replace(ship, boats={}))
        await node.until(lambda: len(told) > 2)
        assert here.get("a") == replace(ship, boats={})
        await there.commit("a", lambda old: None)
        await node.until(lambda: len(told) > 3)
        assert here.get("a") is None and here.revision("a") == 0


async def test_a_change_that_others_were_faster_with_is_made_of_what_there_is_now(node: Node) -> None:
    async with open_ships(await node.open()) as here, open_ships(await node.open()) as there:
        await here.commit("a", lambda old: Ship("a"))
        await node.until(lambda: there.get("a"))
        for _ in range(5):
            await asyncio.gather(here.commit("a", faster), there.commit("a", faster))
        for each in (here, there):
            await each.commit("a", faster)
        assert (there.get("a"), there.revision("a")) == (Ship("a", 12), there.revision("a"))
        await node.until(lambda: here.get("a") == Ship("a", 12))


async def test_a_change_that_others_are_always_faster_with_is_refused(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = await node.open(), await node.open()
    async with open_ships(store) as ships:
        await ships.commit("a", lambda old: Ship("a"))
        calls = 0
        write = store.write

        async def late(writes: object) -> int:
            nonlocal calls
            calls += 1
            await other.put("ships/a", {"speed": 100 + calls, "boats": []})
            return await write(writes)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "write", late)
        with pytest.raises(RevisionMismatch):
            await ships.commit("a", faster)
        assert calls == ATTEMPTS
        monkeypatch.undo()
        await node.until(lambda: ships.get("a") == Ship("a", 100 + ATTEMPTS))


async def test_a_value_that_cannot_be_read_is_left_alone(node: Node) -> None:
    store, other = await node.open(), await node.open()
    await store.put("ships/bad", {"speed": -1, "boats": []})
    await store.put("ships/lost", {"speed": 1, "boats": ["x"]})
    await store.put("boats/bad/x", {"seats": 1})
    await store.put("boats/nobody/x", {"seats": 1})
    health = Health()
    async with open_ships(store, health) as ships:
        assert list(ships) == [] and ships.names() == ["bad", "lost"]
        assert [key for key, _, _ in await store.list("boats/")] == ["boats/bad/x"]  # what is nobody's is quarantined
        for name, reason in (("bad", "has an impossible speed"), ("lost", "lacks 'x'")):
            with pytest.raises(DocumentDamaged, match=reason):
                ships.get(name)
            with pytest.raises(DocumentDamaged):
                await ships.commit(name, lambda old: None)
        assert {problem.key for problem in health.problems} == {"ship bad", "ship lost"}
        await other.put("ships/lost", {"speed": 2, "boats": []})  # fixed elsewhere
        await node.until(lambda: "lost" not in ships.damaged)
        assert ships.get("lost") == Ship("lost", 2)
        await ships.quarantine("bad")
        assert ships.get("bad") is None and health.problems == []
        await ships.commit("bad", lambda old: Ship("bad"))
        await other.put("ships/bad", {"speed": -2, "boats": []})  # broken elsewhere
        await node.until(lambda: "bad" in ships.damaged)
        assert list(ships) == [Ship("lost", 2)]


async def test_what_cannot_be_written_changes_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await node.open()
    async with open_ships(store) as ships:
        await ships.commit("a", lambda old: Ship("a", 1, {"x": 2}))

        async def fail(writes: object) -> int:
            raise ServiceError("full")

        monkeypatch.setattr(store, "write", fail)
        with pytest.raises(ServiceError):
            await ships.commit("a", lambda old: None)
        assert ships.get("a") == Ship("a", 1, {"x": 2})


async def test_a_caller_that_is_cancelled_leaves_its_change_to_end(node: Node) -> None:
    store = await node.open()
    async with open_ships(store) as ships:
        task = asyncio.create_task(ships.commit("a", lambda old: Ship("a")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert ships.get("a") == Ship("a") and await store.get("ships/a") is not None


async def test_values_come_in_the_order_of_names_from_any_on(node: Node) -> None:
    store = await node.open()
    async with open_ships(store) as ships:
        assert ships.is_empty
        for name in ("m", "a", "z", "b"):
            await ships.commit(name, lambda old, name=name: Ship(name))  # type: ignore[misc]
        await ships.update("m", faster)
        await ships.commit("b", lambda old: None)
        for name, names in (("", ["a", "m", "z"]), ("a", ["a", "m", "z"]), ("b", ["m", "z"]), ("m", ["m", "z"]), ("zz", [])):
            assert [ship.name for ship in ships.values_from(name)] == names
        assert [ship.name for ship in ships] == ["a", "m", "z"] and not ships.is_empty
    async with open_ships(store) as ships:
        assert list(ships) == list(ships.values_from("")) == [Ship("a"), Ship("m", 1), Ship("z")]
