"""`/_hanabi/keys`: the owner lists, makes and deletes keys of accounts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.support import ACCOUNT
from tests.unit.edge.accounts_world import OTHER, Accounts, open_accounts


async def ask(world: Accounts, method: str, **given: Any) -> tuple[int, Any]:
    return await world.own(world.keys.root, "keys", method, json.dumps(given).encode())


async def test_a_key_works_from_when_it_is_made_until_it_is_deleted(tmp_path: Path) -> None:
    async with open_accounts(tmp_path) as world:
        status, made = await ask(world, "POST", account=OTHER)
        assert status == 200 and made.keys() == {"access_key", "secret_key", "account"} and made["account"] == OTHER
        _, listed = await ask(world, "GET")
        assert [(each["access_key"], each["account"]) for each in listed["keys"]] == [
            (world.keys.root.access_key, ACCOUNT),
            (made["access_key"], OTHER),
        ]
        assert made["secret_key"] not in json.dumps(listed)
        key = world.keys.lookup(made["access_key"])
        assert b"111122223333" in (await world.ask(key, "sts", "GetCallerIdentity")).body
        assert (await ask(world, "DELETE", access_key=made["access_key"]))[0] == 200
        assert (await world.ask(key, "sts", "GetCallerIdentity")).code == "InvalidClientTokenId"
        assert (await ask(world, "DELETE", access_key=made["access_key"]))[0] == 404


@pytest.mark.parametrize("given", [{}, {"account": "1"}, {"account": 111122223333}, {"account": "11112222333x"}, {"account": "１" * 12}])
async def test_a_key_is_of_an_account(given: dict[str, Any], tmp_path: Path) -> None:
    async with open_accounts(tmp_path) as world:
        assert (await ask(world, "POST", **given))[0] == 400
        assert (await world.own(world.keys.root, "keys", "POST", b"[" * 100_000))[0] == 400
        assert (await world.own(world.keys.root, "keys", "POST", b"[]"))[0] == 400


async def test_the_owners_key_stays_and_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    async with open_accounts(tmp_path) as world:
        assert (await ask(world, "DELETE", access_key=world.keys.root.access_key))[0] == 400
        (tmp_path / "keys.json").write_text("{")
        status, answer = await ask(world, "POST", account=OTHER)
        assert status == 500 and "keys.json is damaged" in answer["message"]
        assert (tmp_path / "keys.json").read_text() == "{"
