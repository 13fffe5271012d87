"""IAM of several accounts: each has its own roles, whatever the region."""

import asyncio
import json
from typing import Any

import pytest

from hanabi.contracts.credentials import Principal
from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.keys import session_principal
from hanabi.services.iam import accounts as module
from hanabi.services.iam.accounts import IamAccounts
from hanabi.services.iam.entities import ROLE, EntityTarget
from hanabi.services.iam.execution_roles import ExecutionRoles
from hanabi.services.iam.service import IamService
from hanabi.store.scoped import ScopedStore
from hanabi.testing import ManualClock
from hanabi.testing.store import MemoryStore

ONE, OTHER = "000000000000", "111122223333"
STATEMENT = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
TRUST = json.dumps({"Version": "2012-10-17", "Statement": STATEMENT})
CALL: Any = None


def arn(account: str) -> str:
    return f"arn:aws:iam::{account}:role/r"


def open_accounts(store: MemoryStore, roles: ExecutionRoles) -> IamAccounts:
    def make(account: str) -> IamService:
        return IamService(ScopedStore(store, f"{account}/"), ManualClock(), AccountRegion(account, "us-east-1"), roles.changed)

    return IamAccounts(store, make)


async def test_each_account_has_its_own_roles_and_keeps_them() -> None:
    store, roles = MemoryStore(), ExecutionRoles(AccountRegion(ONE, "us-east-1"))
    accounts = open_accounts(store, roles)
    other = await accounts.at(AccountRegion(OTHER, "eu-west-1"))
    assert other is await accounts.at(AccountRegion(OTHER, "us-east-1"))
    await other.roles.create_role(CALL, {"RoleName": "r", "AssumeRolePolicyDocument": TRUST}, EntityTarget(ROLE, "r", arn(OTHER)))
    await accounts.of(ONE)
    assert await accounts.find_role(arn(OTHER)) is not None and await accounts.find_role(arn(ONE)) is None
    assert await accounts.find_role("r") is None and await accounts.find_role(arn("999999999999")) is None
    assert arn(OTHER) in roles.of(AccountRegion(OTHER, "eu-west-1")) and arn(ONE) not in roles
    assert accounts.find_identity(session_principal(arn(OTHER), "s")) is not None
    forged = Principal(account=ONE, arn=arn(OTHER), user_id="x", is_root=False, role=arn(OTHER))
    assert accounts.find_identity(forged) is None
    await accounts.close()
    again = open_accounts(store, ExecutionRoles(AccountRegion(ONE, "us-east-1")))
    await again.open()
    assert await again.find_role(arn(OTHER)) is not None
    await again.close()


async def test_accounts_that_are_made_up_at_once_are_opened_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACCOUNTS_MAX", 2)
    store = MemoryStore()
    accounts = open_accounts(store, ExecutionRoles(AccountRegion(ONE, "us-east-1")))
    segments = store.segments

    async def segments_later(prefix: str) -> tuple[str, ...]:
        await asyncio.sleep(0)
        return await segments(prefix)

    monkeypatch.setattr(store, "segments", segments_later)
    for round_ in range(5):
        opened = await asyncio.gather(*(accounts.of(f"{round_}{number:011}") for number in range(20)))
        assert len(set(map(id, opened))) == 20
    await accounts.close()
