"""What earlier versions wrote is read by this one, and nothing of it is missing."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from hanabi.base.key_file import read_key
from hanabi.errors import DatabaseDamaged, DocumentDamaged, HanabiError, ResourceConflict, ResourceNotFound, StateDamaged, StateTooNew
from tests.upgrades.node import ACCOUNT, VERSION_0, Node, open_node, unpack

HOME = "000000000000/us-east-1/"  # where the documents of a fixture are now
LIVE_URL = "4xoo1hknvekfhp72n4e0g1ejjck5t2hz"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return unpack(VERSION_0, tmp_path / "data")


def documents(data: Path) -> dict[str, tuple[bytes, int]]:
    with sqlite3.connect(data / "state.db") as connection:
        rows = {row[0]: row[1:] for row in connection.execute("SELECT key, CAST(value AS BLOB), version FROM documents")}
    connection.close()
    return rows


def files_of(data: Path, prefix: str) -> list[Path]:
    return sorted(data.glob(f"{prefix}*"))


def alter(data: Path, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(data / "state.db")
    connection.execute(statement, values)
    connection.commit()
    connection.close()


async def check_all_is_there(node: Node) -> None:
    greet, plain = node.control.functions.find("greet"), node.control.functions.find("plain")
    assert [each.name for each in node.control.functions] == ["greet", "plain"]
    assert [*greet.versions] == ["1", "2"] and greet.last_version == 2 and greet.versions["2"].settings.description == "the second"
    assert greet.latest.settings.environment == {"COLOUR": "red"} and greet.latest.settings.memory_mb == 256
    assert greet.latest.code.sha256 != greet.versions["1"].code.sha256 and greet.latest.state == plain.latest.state == "Active"
    alias = greet.aliases["live"]
    assert (alias.version, alias.other, alias.weight, alias.description) == ("2", "1", 0.25, "what is live")
    url = node.control.urls.lookup(LIVE_URL)
    assert url is not None and url.function == "greet" and url.cors == {"AllowOrigins": ["https://example.com"]}
    assert [statement["Sid"] for statement in greet.policies["$LATEST"]] == ["everybody"]
    assert greet.tags == {"team": "blue"} and greet.reserved == 5 and greet.provisioned["1"].requested == 1
    for qualifier in (None, "1", "2", "live"):
        code = node.control.catalog.resolve("greet", qualifier).version.code
        assert code is not None and (code / "app.py").is_file()
    (role,) = await node.roles()
    assert role["RoleName"] == "worker" and role["Policies"].keys() == {"work"} and len(role["Attached"]) == 1
    (group,) = await node.logs.groups()
    assert group.name == "/aws/lambda/greet" and group.stored_bytes > 0
    count = await node.record.read(lambda connection: connection.execute("SELECT count(*) FROM ledger").fetchone()[0])
    assert count == 5
    assert [invocation.payload for _, invocation in node.invoker.seen] == [b'{"sleep": 20, "waiting": true}']
    assert node.health.problems == [] and not node.why_incomplete


async def test_the_first_one_is_read_whole_and_its_waiting_event_runs(data: Path) -> None:
    kept = read_key(data / "keys.json")

    async with open_node(data) as node:
        await check_all_is_there(node)
        assert not any(b"COLOUR" in value for value, _ in documents(data).values())
        assert node.keys.root.secret_key == kept.secret_key
    async with open_node(data) as node:  # and again, now that it is today's
        assert [each.name for each in node.control.functions] == ["greet", "plain"] and not node.why_incomplete
        assert node.invoker.seen == []
    assert (data / "state.db.before-v2").is_file()
    assert json.loads((data / "keys.json").read_text())["version"] == 2


async def test_the_copy_from_before_can_be_put_back(data: Path) -> None:
    async with open_node(data) as node:
        await node.control.deployment.delete("greet")
    for file in files_of(data, "state.db-"):
        file.unlink()
    shutil.copy(data / "state.db.before-v2", data / "state.db")
    async with open_node(data) as node:
        assert [each.name for each in node.control.functions] == ["greet", "plain"]
        assert (
            "has lost changes" in node.store.why_incomplete
            and "state.db.lost" in node.store.why_incomplete
            and node.identity.why_incomplete
        )
    for name in ("state.db.revision", "state.db.lost", "identity"):  # as docs/upgrades.md says
        (data / name).unlink()
    async with open_node(data) as node:
        assert not node.why_incomplete and node.health.problems == []
    assert (data / "state.db.before-v2-2").is_file()


async def test_what_is_written_today_has_todays_version(data: Path) -> None:
    async with open_node(data) as node:
        await node.control.functions.change("plain", lambda function: function.__class__(**{**_fields(function), "tags": {"a": "b"}}))
    value, version = documents(data)[f"{HOME}functions/plain"]
    assert version == 2 and b"path" not in value
    assert (
        documents(data)[f"{HOME}functions/greet"][1] == 2 and documents(data)[f"{HOME}versions/greet/1"][1] == 2
    )  # its variables are encrypted now
    assert documents(data)[f"{ACCOUNT}/iam/role/worker"][1] == 0  # not written, so as it was


def _fields(function: Any) -> dict[str, Any]:
    return {name: getattr(function, name) for name in function.__dataclass_fields__}


# --- one damaged document ---------------------------------------------------------------------------------------------

DAMAGES = {
    "broken JSON": "UPDATE documents SET value = substr(value, 1, 100) WHERE key = ?",
    "another type": "UPDATE documents SET value = '[]' WHERE key = ?",
    "not UTF-8": "UPDATE documents SET value = CAST(x'7bff7d' AS TEXT) WHERE key = ?",
    "a newer version": "UPDATE documents SET version = 99 WHERE key = ?",
    "an unknown field": "UPDATE documents SET value = json_set(value, '$.latest.settings.durable', 1) WHERE key = ?",
    "a missing field": "UPDATE documents SET value = json_remove(value, '$.latest.generation') WHERE key = ?",
    "a wrong type": "UPDATE documents SET value = json_set(value, '$.reserved', 'many') WHERE key = ?",
    "a version that is gone": "DELETE FROM documents WHERE key = '000000000000/us-east-1/versions/greet/1' AND ?1 != ''",
    "a damaged version": "UPDATE documents SET value = '{' WHERE key = '000000000000/us-east-1/versions/greet/1' AND ?1 != ''",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_function_is_left_alone_and_the_others_are_served(data: Path, damage: str) -> None:
    async with open_node(data):
        pass
    alter(data, DAMAGES[damage], f"{HOME}functions/greet")
    before = documents(data)
    async with open_node(data) as node:
        assert [each.name for each in node.control.functions] == ["plain"]
        assert node.control.catalog.resolve("plain", None).version.name == "plain"
        with pytest.raises(DocumentDamaged, match=r"functions/greet in state\.db"):
            node.control.functions.find("greet")
        with pytest.raises(DocumentDamaged):
            node.control.catalog.resolve("greet", "live")
        with pytest.raises(DocumentDamaged):
            await node.control.functions.change("greet", lambda function: function)
        with pytest.raises(ResourceConflict, match="DeleteFunction quarantines it"):
            await node.control.deployment.create("greet", CREATE)
        assert "greet" in node.why_incomplete
        assert any("greet" in problem.text for problem in node.health.problems)
    assert documents(data) == before
    async with open_node(data) as node:
        await node.control.deployment.delete("greet")
        with pytest.raises(ResourceNotFound):
            node.control.functions.find("greet")
        await node.control.deployment.create("greet", CREATE)
        assert [each.name for each in node.control.functions] == ["greet", "plain"] and not node.why_incomplete
        assert node.health.problems == []
    kept = {key.split("/", 2)[2]: row for key, row in documents(data).items() if key.startswith("quarantine/")}
    assert kept == {key: row for key, row in before.items() if "greet" in key}


CREATE = {
    "FunctionName": "greet",
    "Runtime": "python3.13",
    "Handler": "app.handler",
    "Role": f"arn:aws:iam::{ACCOUNT}:role/worker",
    "Code": {"ZipFile": (Path(__file__).parent / "fixtures" / "empty.zip").read_bytes()},
}


async def test_a_damaged_role_is_left_alone(data: Path) -> None:
    await scenario_of_nothing(data)
    alter(data, "UPDATE documents SET value = json_remove(value, '$.Arn') WHERE key = '000000000000/iam/role/worker'")
    async with open_node(data) as node:
        assert await node.roles() == [] and f"{ACCOUNT}/iam/role/worker" in node.why_incomplete
        assert len([*node.control.functions]) == 2
        with pytest.raises(DocumentDamaged):
            await node.store.get(f"{ACCOUNT}/iam/role/worker")
        assert [problem.key for problem in node.health.problems] == [f"document {ACCOUNT}/iam/role/worker"]


async def scenario_of_nothing(data: Path) -> None:
    async with open_node(data):
        pass


# --- acknowledged and gone --------------------------------------------------------------------------------------------


async def test_a_wal_that_was_cut_is_found(data: Path) -> None:
    """A kill, and then only state.db is copied, or its WAL is cut: what was acknowledged is not there."""

    async with open_node(data) as node:
        known = {path.name: path.read_bytes() for path in files_of(data, "state.db")}
        await node.control.deployment.delete("plain")
        cut = {path.name: path.read_bytes() for path in files_of(data, "state.db")}
    for path in files_of(data, "state.db"):
        path.unlink()
    for name, content in {**cut, "state.db-wal": known["state.db-wal"], "state.db": known["state.db"]}.items():
        if not name.endswith("-shm"):
            (data / name).write_bytes(content)
    for _ in range(2):  # it stands until somebody has taken note
        async with open_node(data) as node:
            assert [each.name for each in node.control.functions] == ["greet", "plain"]
            assert "has lost changes" in node.why_incomplete
            (problem,) = node.health.problems
            assert problem.key == "lost writes of state.db" and "revision 21" in problem.text and "at 20" in problem.text


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 64, b"00000000000000000099 00000000\n"])
async def test_a_damaged_watermark_is_made_anew(data: Path, content: bytes) -> None:
    async with open_node(data):
        pass
    (data / "state.db.revision").write_bytes(content)
    async with open_node(data) as node:
        assert not node.why_incomplete
    assert (data / "state.db.revision").read_bytes().startswith(b"0" * 18)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["state.db", "events.db", "record.db"])
async def test_a_newer_database_is_refused_by_name(data: Path, name: str) -> None:
    connection = sqlite3.connect(data / name)
    connection.execute("PRAGMA user_version = 77")
    connection.close()
    with pytest.raises(StateTooNew, match=rf"{name} has version 77"):
        await scenario_of_nothing(data)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"access_key": 5}', '{"version": 3}', '{"version": 2}'])
async def test_a_key_file_is_never_written_over(data: Path, content: str) -> None:
    (data / "keys.json").write_text(content)
    with pytest.raises((StateDamaged, StateTooNew), match=r"keys\.json"):
        await scenario_of_nothing(data)
    assert (data / "keys.json").read_text() == content


def test_errors_are_named_ones() -> None:
    assert issubclass(DatabaseDamaged, HanabiError) and issubclass(DocumentDamaged, HanabiError)
