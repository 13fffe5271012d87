"""Every document, field and file of a data directory, damaged one by one: the loading names what is wrong, and the rest is served."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hanabi.edge.auth.keys import session_principal
from hanabi.errors import ApiError, DocumentDamaged, StateError
from hanabi.services.lambda_.describe import describe_alias, describe_url, describe_version
from tests.upgrades.node import ACCOUNT, REGION, VERSION_0, open_node, unpack

SEED = int(os.environ.get("HANABI_TEST_SEED", "0")) or random.randrange(1 << 32)
VALUES: list[Any] = [None, "", "x", -1, 1 << 80, 0.5, True, [], {}, [1], {"x": 1}, "é" * 5000]
FUNCTIONS = {"greet", "plain"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As today's code has written it: all files are there."""
    data = unpack(VERSION_0, tmp_path_factory.mktemp("whole") / "data")

    async def load() -> None:
        async with open_node(data) as node:
            for function in list(node.control.functions):
                await node.control.functions.change(
                    function.name, lambda old: type(old)(**{k: getattr(old, k) for k in old.__dataclass_fields__})
                )

    asyncio.run(load())
    return data


async def load(data: Path) -> tuple[set[str], str]:
    """(the functions that are served, the doubt there is), after all that is there was looked at."""

    async with open_node(data) as node:
        for function in node.control.functions:
            for version in (function.latest, *function.versions.values()):
                describe_version(function, version, function.arn)
            for alias in function.aliases.values():
                describe_alias(function, alias)
            for url in function.urls.values():
                describe_url(function, url, "http://x/")
            for qualifier in (None, *function.versions, *function.aliases):
                try:
                    node.control.catalog.resolve(function.name, qualifier)
                except ApiError:
                    continue
        node.control.references.code()
        node.control.references.images()
        node.control.references.snapshots()
        await node.logs.groups()
        for role in await node.roles():
            if role["Arn"].count(":") >= 5:
                with contextlib.suppress(DocumentDamaged):  # then IAM leaves it alone
                    node.iam.find_identity(session_principal(role["Arn"], "session"))
        return {function.name for function in node.control.functions}, node.why_incomplete


HOME = f"{ACCOUNT}/{REGION}/"


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is in a document."""
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from paths(each, (*at, key))


def mutations(text: str, dice: random.Random) -> Iterator[tuple[str, Any]]:
    """(what was done, the new text): each field removed, and with a value of another type; fields that nobody knows."""
    for path in paths(json.loads(text)):
        for what in ("remove", "add", *dice.sample(VALUES, 2)):
            document = json.loads(text)
            place = document
            for key in path[:-1]:
                place = place[key]
            if what == "remove":
                del place[path[-1]]
            elif what == "add":
                if not isinstance(place[path[-1]], dict):
                    continue
                place[path[-1]]["unheard of"] = 1
            else:
                place[path[-1]] = what
            yield f"{'.'.join(map(str, path))}: {what!r:.30}", json.dumps(document)
    for length in dice.sample(range(len(text)), 3):
        yield f"cut at {length}", text[:length]
    for position in dice.sample(range(len(text)), 6):
        flipped = bytearray(text.encode())
        flipped[position] ^= 1 << dice.randrange(8)
        yield f"flipped at {position}", bytes(flipped)


def copy(whole: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(whole, target)
    return target


@pytest.mark.parametrize(
    "key", [f"{HOME}functions/greet", f"{HOME}functions/plain", f"{HOME}versions/greet/1", f"{ACCOUNT}/iam/role/worker", "node/identity"]
)
async def test_a_document_costs_itself_only(whole: Path, tmp_path: Path, key: str) -> None:
    print(f"HANABI_TEST_SEED={SEED}")
    dice = random.Random(f"{SEED} {key}")
    connection = sqlite3.connect(whole / "state.db")
    (text,) = connection.execute("SELECT value FROM documents WHERE key = ?", (key,)).fetchone()
    connection.close()
    owner = key.split("/")[3] if key.startswith(HOME) else ""
    found = list(mutations(text, dice))
    data = copy(whole, tmp_path / "data")
    for what, new in dice.sample(found, min(len(found), int(os.environ.get("HANABI_TEST_MUTATIONS", "40")))):
        connection = sqlite3.connect(data / "state.db")
        value = "CAST(? AS TEXT)" if isinstance(new, bytes) else "?"
        connection.execute(f"UPDATE documents SET value = {value} WHERE key = ?", (new, key))
        connection.commit()
        connection.close()
        try:
            served, why_incomplete = await load(data)
        except Exception as error:
            raise AssertionError(f"{key}, {what}: {error!r} (HANABI_TEST_SEED={SEED})") from error
        assert served >= FUNCTIONS - {owner}, f"{key}, {what} (HANABI_TEST_SEED={SEED})"
        assert served == FUNCTIONS or why_incomplete, f"{key}, {what} (HANABI_TEST_SEED={SEED})"
        connection = sqlite3.connect(data / "state.db")
        connection.text_factory = bytes
        rows = [row[0] for row in connection.execute("SELECT value FROM documents WHERE key = ? OR key LIKE 'quarantine/%'", (key,))]
        connection.close()
        expected = new if isinstance(new, bytes) else new.encode()
        assert expected in rows or served == FUNCTIONS, f"{key}, {what}: its text is lost (HANABI_TEST_SEED={SEED})"


FILES = ["state.db", "record.db", "events.db", "keys.json", "identity", "state.db.revision", "events.db.revision"]


@pytest.mark.parametrize("name", FILES)
async def test_a_file_is_named_or_done_without(whole: Path, tmp_path: Path, name: str) -> None:
    """What can be opened in spite of it is served; else the error names the file, and the file is as it was."""
    print(f"HANABI_TEST_SEED={SEED}")
    dice = random.Random(f"{SEED} {name}")
    content = (whole / name).read_bytes()
    damages: dict[str, bytes | None] = {"absent": None, "empty": b"", "text": b"what is this? " * 300, "zeros": bytes(len(content))}
    for length in dice.sample(range(1, len(content)), min(4, len(content) - 1)):
        damages[f"cut at {length}"] = content[:length]
    for position in [*dice.sample(range(min(100, len(content))), 4), *dice.sample(range(len(content)), 8)]:
        flipped = bytearray(content)
        flipped[position] ^= 1 << dice.randrange(8)
        damages[f"flipped at {position}"] = bytes(flipped)
    for what, new in damages.items():
        data = copy(whole, tmp_path / "data")
        if new is None:
            (data / name).unlink()
        else:
            (data / name).write_bytes(new)
        try:
            served, why_incomplete = await load(data)
        except (StateError, sqlite3.DatabaseError) as error:
            assert name in str(error), f"{name}, {what}: {error} (HANABI_TEST_SEED={SEED})"
            assert new is not None and (data / name).read_bytes()[100:] == new[100:], f"{name}, {what} (HANABI_TEST_SEED={SEED})"
        except Exception as error:
            raise AssertionError(f"{name}, {what}: {error!r} (HANABI_TEST_SEED={SEED})") from error
        else:
            assert served == FUNCTIONS or why_incomplete, f"{name}, {what}: {served} (HANABI_TEST_SEED={SEED})"


@pytest.mark.parametrize(
    "column", ["due_ms", "accepted_ms", "attempts", "refusals", "request_id", "function", "qualifier", "trace", "payload"]
)
async def test_an_odd_event_stops_nobody(whole: Path, tmp_path: Path, column: str) -> None:
    data = copy(whole, tmp_path / "data")
    connection = sqlite3.connect(data / "events.db")
    fields = "due_ms, accepted_ms, attempts, refusals, request_id, function, qualifier, client_context, trace, size, payload"
    for value in ("'x'", "x'ff'", "-1", "1e300", "CAST(x'ff' AS TEXT)", "''"):
        values = "0, 0, 0, 0, 'id', 'plain', NULL, '', '', 2, x'7b7d'".split(", ")
        values[fields.split(", ").index(column)] = value
        connection.execute(f"INSERT INTO events ({fields}) VALUES ({', '.join(values)})")
    connection.commit()
    connection.close()
    assert (await load(data))[0] == FUNCTIONS
