"""Entities in their registries: names, other names, and documents that are none."""

from typing import Any

import pytest

from hanabi.control.arns import AccountRegion
from hanabi.errors import DocumentDamaged
from hanabi.services.iam.entities import GROUP, USER, Entities
from hanabi.services.iam.errors import EntityAlreadyExists, NoSuchEntity
from hanabi.testing import ManualClock
from hanabi.testing.store import MemoryStore

PLACE = AccountRegion("000000000000", "us-east-1")


async def open_users(store: MemoryStore) -> Entities:
    users = Entities(store, USER, PLACE, ManualClock())
    await users.open()
    return users


async def create(users: Entities, name: str) -> None:
    await users.create(users.make(users.target(name), "/", 1.0))


async def test_another_name_is_one_change_on_disk() -> None:
    store = MemoryStore()
    users = await open_users(store)
    await create(users, "a")
    before = store.documents.revision
    made = users.find(users.target("a"))
    await users.rename(users.target("a"), "b", lambda user: user.update(UserName="b", Arn=f"{users.prefix}/b"))
    assert store.documents.revision == before + 1 and sorted(store.rows) == ["iam/user/b"]
    found = users.with_id(made["UserId"])
    assert found is not None and found["UserName"] == "b" and not users.is_taken("A") and users.is_taken("B")
    await create(users, "a")
    with pytest.raises(EntityAlreadyExists):
        await users.rename(users.target("a"), "B", lambda user: user.update(UserName="B"))
    with pytest.raises(NoSuchEntity):
        await users.rename(users.target("gone"), "c", lambda user: None)
    again = await open_users(store)
    assert again.names() == users.names() == ["a", "b"]


async def test_an_entity_that_was_made_again_with_another_path_is_another_one() -> None:
    users = await open_users(MemoryStore())
    await create(users, "a")
    target = users.target("a")
    await users.remove(target)
    elsewhere = users.make(target, "/x/", 2.0) | {"Arn": f"{users.prefix}/x/a"}
    await users.create(elsewhere)
    with pytest.raises(NoSuchEntity):
        users.find(target)
    with pytest.raises(NoSuchEntity):
        await users.change(target, lambda user: None)
    assert users.with_arn(f"{users.prefix}/a") is None and users.with_arn(f"{users.prefix}/x/a") is not None


GOOD: dict[str, Any] = {"Path": "/", "UserName": "a", "UserId": "AIDA1", "Arn": "arn:aws:iam::000000000000:user/a", "CreateDate": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"UserName": "b"},
        {"Arn": "arn:aws:iam::000000000000:user/b"},
        {"Arn": None},
        {"CreateDate": "today"},
        {"Attached": {}},
        {"Attached": [1]},
        {"Policies": []},
        {"Policies": {"p": "{"}},
        {"Policies": {"p": "[]"}},
        {"Policies": {"p": '{"Statement": {"Effect": "Perhaps"}}'}},
        {"Tags": [{"Key": "k"}]},
        {"AccessKeys": [{}]},
        {"Groups": [[]]},
        {"Boundary": 1},
    ],
)
async def test_a_document_that_is_none_keeps_its_name(change: dict[str, Any]) -> None:
    store = MemoryStore()
    await store.put("iam/user/a", GOOD)
    users = await open_users(store)
    assert users.get("a") is not None and not users.damaged  # what it lacks is empty
    await store.put("iam/user/a", GOOD | change)
    users = await open_users(store)
    with pytest.raises(DocumentDamaged):
        users.get("a")
    assert users.if_readable("a") is None
    with pytest.raises(EntityAlreadyExists):
        await create(users, "A")


async def test_groups_have_no_tags() -> None:
    groups = Entities(MemoryStore(), GROUP, PLACE, ManualClock())
    await groups.open()
    await create(groups, "g")
    assert groups.target("g").tags == () and groups.target("absent").arn == "arn:aws:iam::000000000000:group/absent"
