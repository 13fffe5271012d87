"""Roles as a registry: what one node changes another one knows, and a damaged role keeps its name."""

import json
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.store import Store
from hanabi.control.arns import AccountRegion
from hanabi.errors import DocumentDamaged
from hanabi.services.iam.entities import ROLE, EntityTarget
from hanabi.services.iam.errors import ConcurrentModification, EntityAlreadyExists, NoSuchEntity
from hanabi.services.iam.execution_roles import ExecutionRoles
from hanabi.services.iam.service import IamService
from hanabi.testing import ManualClock
from hanabi.testing.store import MemoryDocuments, MemoryStore
from tests.unit.store.contract import open_node

PLACE = AccountRegion("000000000000", "us-east-1")
ARN = "arn:aws:iam::000000000000:role/r"
TARGET = EntityTarget(ROLE, "r", ARN)
STATEMENT = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
TRUST = json.dumps({"Version": "2012-10-17", "Statement": STATEMENT})
CALL: Any = None


async def open_iam(store: Store, roles: ExecutionRoles | None = None) -> IamService:
    iam = IamService(store, ManualClock(), PLACE, roles.changed if roles else None)
    await iam.open()
    return iam


async def create(iam: IamService, target: EntityTarget = TARGET) -> None:
    await iam.roles.create_role(CALL, {"RoleName": target.name, "AssumeRolePolicyDocument": TRUST}, target)


async def test_a_role_that_another_node_makes_or_removes_is_known_here(tmp_path: Path) -> None:
    async with open_node("sqlite", tmp_path) as node:
        assumable = ExecutionRoles(PLACE)
        here, there = await open_iam(await node.open(), assumable), await open_iam(await node.open())
        await create(there)
        await node.until(lambda: ARN in assumable)
        await here.roles.update_role(CALL, {"Description": "mine"}, TARGET)
        await there.roles.update_role(CALL, {"MaxSessionDuration": 7200}, TARGET)
        found = await there.find_role(ARN)
        assert found is not None and (found["Description"], found["MaxSessionDuration"]) == ("mine", 7200)
        await there.roles.delete_role(CALL, {}, TARGET)
        await node.until(lambda: ARN not in assumable)
        with pytest.raises(NoSuchEntity):
            await here.roles.get_role(CALL, {}, TARGET)
        await here.close()
        await there.close()


async def test_names_differ_by_more_than_case(tmp_path: Path) -> None:
    iam = await open_iam(MemoryStore())
    await create(iam)
    for name in ("r", "R"):
        with pytest.raises(EntityAlreadyExists):
            await create(iam, EntityTarget(ROLE, name, f"arn:aws:iam::000000000000:role/{name}"))


async def test_a_damaged_role_keeps_its_name_until_the_owner_deletes_it(tmp_path: Path) -> None:
    async with open_node("sqlite", tmp_path) as node:
        store: Any = await node.open()
        iam = await open_iam(store)
        await create(iam)
        await iam.close()
        await store._database.write(lambda connection: connection.execute("UPDATE documents SET value = '{'"))
        iam = await open_iam(store)
        with pytest.raises(DocumentDamaged):
            await iam.find_role(ARN)
        with pytest.raises(EntityAlreadyExists):
            await create(iam)
        await iam.close()


async def test_a_role_that_others_change_all_the_time_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = MemoryDocuments()
    store, other = MemoryStore(documents), MemoryStore(documents)
    iam = await open_iam(store)
    await create(iam)
    write = store.write

    async def late(writes: Any) -> int:
        role, _ = (await other.get("iam/role/r")) or ({}, 0)
        await other.put("iam/role/r", role)
        return await write(writes)

    monkeypatch.setattr(store, "write", late)
    with pytest.raises(ConcurrentModification):
        await iam.roles.update_role(CALL, {"Description": "x"}, TARGET)
    await iam.close()
