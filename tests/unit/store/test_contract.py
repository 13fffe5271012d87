"""What every `contracts.Store` does: documents, compare-and-set, batches, and news of every change."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hanabi.contracts.store import Change, Write
from hanabi.errors import RevisionMismatch
from tests.unit.store.contract import KINDS, Node, open_node


@pytest.fixture(params=KINDS)
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    async with open_node(request.param, tmp_path) as node:
        yield node


async def test_documents(node: Node) -> None:
    store = await node.open()
    assert await store.get("a/b") is None
    first = await store.put("a/b", {"x": [1, "é", None]})
    second = await store.put("a/c", {}, revision=0)
    assert second > first
    assert await store.get("a/b") == ({"x": [1, "é", None]}, first)
    await store.put("ab", {})
    assert [key for key, _, _ in await store.list("a/")] == ["a/b", "a/c"]
    assert len(await store.list("")) == 3
    await store.delete("a/b")
    await store.delete("a/b")
    assert await store.get("a/b") is None


async def test_segments_of_keys(node: Node) -> None:
    store = await node.open()
    for key in ("a", "b/1/x", "b/1/y", "b/2", "b-c/1", "b/10/x", "c/d"):
        await store.put(key, {})
    assert await store.segments("") == ("a", "b", "b-c", "c")
    assert await store.segments("b/") == ("1", "10", "2")
    assert await store.segments("d/") == ()


async def test_compare_and_set(node: Node) -> None:
    store = await node.open()
    revision = await store.put("k", {"n": 1}, revision=0)
    with pytest.raises(RevisionMismatch):
        await store.put("k", {"n": 2}, revision=0)
    results = await asyncio.gather(*(store.put("k", {"n": n}, revision=revision) for n in range(5)), return_exceptions=True)
    assert sum(isinstance(result, RevisionMismatch) for result in results) == 4
    with pytest.raises(RevisionMismatch):
        await store.delete("k", revision=revision)
    found = await store.get("k")
    assert found is not None
    await store.delete("k", revision=found[1])
    with pytest.raises(RevisionMismatch):
        await store.delete("k", revision=found[1])


async def test_a_key_that_is_made_anew_never_repeats_a_revision(node: Node) -> None:
    store = await node.open()
    first = await store.put("k", {})
    await store.delete("k")
    assert await store.put("k", {}, revision=0) > first


async def test_what_is_changed_after_the_call_or_in_an_answer_stays_in_the_store_as_it_was(node: Node) -> None:
    store = await node.open()
    value = {"n": [1]}
    await store.put("k", value)
    value["n"].append(2)
    found = await store.get("k")
    assert found is not None and found[0] == {"n": [1]}
    found[0]["n"].append(3)
    assert [document for _, document, _ in await store.list("k")] == [{"n": [1]}]


async def test_a_batch_is_one_change(node: Node) -> None:
    store = await node.open()
    before = await store.put("gone", {})
    revision = await store.write([Write("a", {"n": 1}, 0), Write("b", {"n": 2}), Write("gone", None, before), Write("never", None)])
    assert await store.list("") == [("a", {"n": 1}, revision), ("b", {"n": 2}, revision)]


async def test_a_batch_of_which_one_write_fails_does_nothing(node: Node) -> None:
    store = await node.open()
    await store.put("a", {"n": 1})
    kept = await store.list("")
    with pytest.raises(RevisionMismatch):
        await store.write([Write("a", None), Write("b", {}), Write("a", {"n": 2}, 0)])
    assert await store.list("") == kept


async def test_what_is_put_aside_is_kept(node: Node) -> None:
    store = await node.open()
    await store.put("a/b", {"n": 1})
    await store.quarantine("a/b")
    await store.quarantine("a/never")
    assert await store.get("a/b") is None
    assert [value for _, value, _ in await (node.whole or store).list("quarantine/")] == [{"n": 1}]


async def test_a_watch_hears_of_every_change_before_the_write_returns(node: Node) -> None:
    store = await node.open()
    await store.put("a/old", {"n": 0})
    await store.list("a/")
    heard: list[Change] = []
    watch = store.watch("a/", heard.append)
    first = await store.put("a/x", {"n": 1})
    assert heard == [Change("a/x", {"n": 1}, first)]
    second = await store.write([Write("a/x", None), Write("a/y", {"n": 2}), Write("b", {})])
    assert heard[1:] == [Change("a/x", None, second), Change("a/y", {"n": 2}, second)]
    await store.quarantine("a/old")
    assert (heard[3].key, heard[3].value) == ("a/old", None) and heard[3].revision > second
    watch.close()
    watch.close()
    await store.put("a/z", {})
    assert len(heard) == 4


async def test_a_watch_hears_of_what_others_write(node: Node) -> None:
    here, there = await node.open(), await node.open()
    await here.put("a/x", {"n": 1})
    await there.put("a/y", {"n": 1})
    heard: list[Change] = []
    here.watch("a/", heard.append)
    listed = {key: revision for key, _, revision in await here.list("a/")}
    revision = await there.put("a/x", {"n": 2}, revision=listed["a/x"])
    await node.until(lambda: heard)
    assert heard == [Change("a/x", {"n": 2}, revision)]
    await there.delete("a/y")
    await node.until(lambda: len(heard) > 1)
    assert (heard[1].key, heard[1].value) == ("a/y", None) and heard[1].revision > revision
    await there.put("b", {})
    mine = await here.put("a/x", {"n": 3})
    assert heard[2:] == [Change("a/x", {"n": 3}, mine)]
    last = await there.put("a/x", {"n": 4})
    await node.until(lambda: len(heard) > 3)
    assert heard[3:] == [Change("a/x", {"n": 4}, last)]


async def test_two_who_write_the_same_do_not_lose_a_change(node: Node) -> None:
    stores = [await node.open(), await node.open()]
    await stores[0].put("count", {"n": 0})

    async def add(number: int) -> None:
        store = stores[number % 2]
        while True:
            found = await store.get("count")
            assert found is not None
            try:
                await store.put("count", {"n": found[0]["n"] + 1}, revision=found[1])
                return
            except RevisionMismatch:
                await asyncio.sleep(0)

    heard: list[Change] = []
    stores[0].watch("count", heard.append)
    await asyncio.gather(*map(add, range(20)))
    await node.until(lambda: heard and heard[-1].value == {"n": 20})
    assert [change.revision for change in heard] == sorted({change.revision for change in heard})


async def test_a_caller_that_is_cancelled_leaves_its_change_to_end(node: Node) -> None:
    store = await node.open()
    heard: list[Change] = []
    store.watch("k", heard.append)
    task = asyncio.create_task(store.put("k", {}))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await node.until(lambda: heard)
    assert await store.get("k") is not None
