"""`hanabi keys` and whose key a command uses."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from hanabi.cli.commands import env, keys
from hanabi.cli.failure import Failure
from hanabi.cli.server import Server, find_server
from hanabi.edge.auth.keys import KeyRing
from hanabi.testing import ManualClock

OWN, OTHER = "000000000000", "111122223333"


def options(directory: Path, **more: Any) -> argparse.Namespace:
    return argparse.Namespace(data_dir=str(directory), port=1, **more)


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyRing:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_DEFAULT_REGION", "HANABI_PORT"):
        monkeypatch.delenv(name, raising=False)
    return KeyRing.open(tmp_path / "keys.json", region="us-east-1", account=OWN, clock=ManualClock())


def test_commands_use_the_key_of_the_environment_if_it_is_one_of_the_servers(
    ring: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ring.create_account_key(OTHER)
    assert find_server(options(tmp_path)).access_key == ring.root.access_key
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAANOTHERSYSTEMS")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert (find_server(options(tmp_path)).access_key, find_server(options(tmp_path)).region) == (ring.root.access_key, "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", made.access_key)
    found = find_server(options(tmp_path))
    assert (found.access_key, found.secret_key, found.account, found.region) == (made.access_key, made.secret_key, OTHER, "eu-west-1")
    assert find_server(options(tmp_path), owner=True).access_key == ring.root.access_key


def test_env_prints_the_key_of_an_account_and_a_region(ring: KeyRing, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ring.create_account_key(OTHER)
    assert env.run(options(tmp_path, account=OTHER, region="eu-west-1", json=True)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["AWS_ACCESS_KEY_ID"], printed["AWS_REGION"]) == (made.access_key, "eu-west-1")
    with pytest.raises(Failure, match="hanabi keys create --account 999999999999"):
        env.run(options(tmp_path, account="999999999999", region=None, json=True))
    with pytest.raises(Failure, match="not an AWS region"):
        env.run(options(tmp_path, account=None, region="nowhere", json=True))


def test_keys_are_listed_made_and_deleted(
    ring: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[tuple[str, Any]] = []

    def send(server: Server, method: str, path: str, body: Any) -> tuple[int, bytes]:
        assert server.access_key == ring.root.access_key
        sent.append((method, json.loads(body.read())))
        return 200, json.dumps({"access_key": "AKIAX", "secret_key": "s", "account": OTHER}).encode()

    listed = [{"access_key": "AKIAO", "account": OWN, "created": 0}, {"access_key": "AKIAX", "account": OTHER, "created": 1_795_000_000}]
    monkeypatch.setattr(Server, "send", send)
    monkeypatch.setattr(Server, "get", lambda *_: {"keys": listed})
    assert keys.run(options(tmp_path, action="create", key=None, account=OTHER, json=False)) == 0
    assert keys.run(options(tmp_path, action="delete", key="AKIAX", account=None, json=False)) == 0
    assert sent == [("POST", {"account": OTHER}), ("DELETE", {"access_key": "AKIAX"})]
    assert f"--account {OTHER}" in capsys.readouterr().out
    assert keys.run(options(tmp_path, action="list", key=None, account=OTHER, json=False)) == 0
    shown = capsys.readouterr().out
    assert "AKIAX" in shown and "AKIAO" not in shown and "2026-11-18" in shown
    for wrong in ({"action": "delete", "key": None}, {"action": "create", "key": "x"}, {"action": "create", "key": None}):
        with pytest.raises(Failure):
            keys.run(options(tmp_path, **{"account": None, "json": False, **wrong}))
