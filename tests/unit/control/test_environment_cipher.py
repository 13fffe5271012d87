"""Environment variables on disk: encrypted, with a key of the data directory, and lost without it."""

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hanabi.control.environment_cipher import EnvironmentCipher
from hanabi.errors import DocumentDamaged, StateDamaged
from tests.unit.control.support import open_plane

SECRET = {"Variables": {"PASSWORD": "hunter2-ü"}}


@pytest.fixture
def cipher(tmp_path: Path) -> EnvironmentCipher:
    return EnvironmentCipher.open(tmp_path / "environment.key")


def on_disk(data: Path) -> bytes:
    return b"".join(file.read_bytes() for file in data.glob("state.db*"))


async def test_variables_are_encrypted_in_every_document(tmp_path: Path, cipher: EnvironmentCipher) -> None:
    async with open_plane(tmp_path, cipher=cipher) as plane:
        await plane.create(Environment=SECRET, Publish=True)
        await plane.create("with-key", Environment=SECRET, KMSKeyArn="arn:aws:kms:us-east-1:000000000000:key/k")
        plane.images.hold()
        await plane.deployment.update_settings("f", {"Environment": {"Variables": {"PASSWORD": "hunter3"}}})  # one is still served
        assert plane.functions.find("f").serving is not None
        plane.images.release()
        await plane.settle()
        await plane.create("none")
        await plane.create("empty", Environment={"Variables": {}})
    assert b"hunter" not in on_disk(tmp_path) and b"PASSWORD" not in on_disk(tmp_path)
    async with open_plane(tmp_path, cipher=EnvironmentCipher.open(tmp_path / "environment.key")) as plane:
        function = plane.functions.find("f")
        assert function.latest.settings.environment == {"PASSWORD": "hunter3"}
        assert function.versions["1"].settings.environment == plane.functions.find("with-key").latest.settings.environment
        assert function.versions["1"].settings.environment == SECRET["Variables"]
        assert [plane.functions.find(name).latest.settings.environment for name in ("none", "empty")] == [None, {}]


async def test_variables_of_before_are_encrypted_at_the_next_start(tmp_path: Path, cipher: EnvironmentCipher) -> None:
    async with open_plane(tmp_path) as plane:
        before = await plane.create(Environment=SECRET, Publish=True)
    async with open_plane(tmp_path, cipher=cipher) as plane:
        assert plane.functions.find("f") == before
    with sqlite3.connect(tmp_path / "state.db") as connection:
        documents = [row[0] for row in connection.execute("SELECT value FROM documents")]
    connection.close()
    assert len(documents) == 2 and not any("hunter" in document for document in documents)


async def test_without_its_key_a_function_is_damaged_until_that_is_back(tmp_path: Path, cipher: EnvironmentCipher) -> None:
    async with open_plane(tmp_path, cipher=cipher) as plane:
        made = await plane.create(Environment=SECRET)
    shutil.move(tmp_path / "environment.key", tmp_path / "kept")
    other = EnvironmentCipher.open(tmp_path / "environment.key")
    async with open_plane(tmp_path, cipher=other) as plane:
        with pytest.raises(DocumentDamaged, match=f"encrypted with the key {cipher.key_id}, and environment.key is {other.key_id}"):
            plane.functions.find("f")
    shutil.move(tmp_path / "kept", tmp_path / "environment.key")
    async with open_plane(tmp_path, cipher=EnvironmentCipher.open(tmp_path / "environment.key")) as plane:
        assert plane.functions.find("f") == made


def test_what_was_changed_or_moved_to_another_function_is_refused(cipher: EnvironmentCipher) -> None:
    document: dict[str, Any] = {"settings": {"environment": {"A": "1"}, "role": "r"}, "number": "1"}
    sealed = cipher.seal(document, "one")
    assert cipher.unseal(sealed, "one") == document and cipher.seal(document, "one") != sealed
    text: str = sealed["settings"]["environment"]
    for changed in (
        text[:-5] + "AAAA=",
        text.replace("1:", "2:", 1),
        text.partition(":")[0],
        f"1:{cipher.key_id}:AAAA",
        f"1:{cipher.key_id}:A",
    ):
        with pytest.raises(ValueError, match="has environment variables that"):
            cipher.unseal({"settings": {"environment": changed}}, "one")
    with pytest.raises(ValueError, match="were changed after they were encrypted"):
        cipher.unseal(sealed, "two")
    left: Any
    for left in (None, [], {}, {"settings": None}, {"settings": {"environment": None}}, document):
        assert cipher.unseal(left, "one") == left


def test_the_key_is_the_owners_and_a_file_that_is_none_stays(tmp_path: Path, cipher: EnvironmentCipher) -> None:
    file = tmp_path / "environment.key"
    assert file.stat().st_mode & 0o777 == 0o600 and EnvironmentCipher.open(file).key_id == cipher.key_id
    for content in (b"", b"short", json.dumps({}).encode(), b"\xff"):
        file.write_bytes(content)
        with pytest.raises(StateDamaged, match="environment.key"):
            EnvironmentCipher.open(file)
        assert file.read_bytes() == content


async def test_a_change_that_is_none_stays_none(tmp_path: Path, cipher: EnvironmentCipher) -> None:
    async with open_plane(tmp_path, cipher=cipher) as plane:
        function = await plane.create(Environment=SECRET)
        await plane.functions.change("f", lambda old: replace(old, tags={"a": "b"}))
        assert plane.functions.find("f") == replace(function, tags={"a": "b"})
