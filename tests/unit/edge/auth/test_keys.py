"""Whose session an environment's credentials are."""

import json
from pathlib import Path

import pytest

from hanabi.edge.auth import keys as module
from hanabi.edge.auth.keys import KeyRing
from hanabi.errors import StateDamaged
from hanabi.testing import ManualClock


@pytest.mark.parametrize(("function", "session"), [("f", "f@lambda_function"), ("zz", "zz"), ("G" * 64, "G" * 64)])
def test_the_session_of_a_function_has_its_name(tmp_path: Path, function: str, session: str) -> None:
    """As recorded on AWS: a session's name has two characters at least, so a shorter one is lengthened."""
    keys = KeyRing.open(tmp_path / "keys.json", region="us-east-1", account="0" * 12, clock=ManualClock())
    issued = keys.issue("arn:aws:iam::000000000000:role/service-role/deep/r", function)
    key = keys.lookup(issued.access_key)
    assert key is not None and key.principal.arn == f"arn:aws:sts::000000000000:assumed-role/r/{session}"
    assert key.principal.user_id.partition(":")[2] == session


OWN, OTHER = "0" * 12, "111122223333"


def open_ring(path: Path, account: str = OWN) -> KeyRing:
    return KeyRing.open(path, region="us-east-1", account=account, clock=ManualClock())


def test_keys_of_accounts_are_kept_and_belong_to_their_account(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = open_ring(path)
    made, second = keys.create_account_key(OTHER), keys.create_account_key(OTHER)
    again = open_ring(path)
    for ring in (keys, again):
        assert [(key.access_key, key.account) for key in ring.account_keys()] == [
            (keys.root.access_key, OWN),
            (made.access_key, OTHER),
            (second.access_key, OTHER),
        ]
        found = ring.lookup(made.access_key)
        assert found is not None and found.secret_key == made.secret_key
        assert (found.principal.arn, found.principal.is_root) == (f"arn:aws:iam::{OTHER}:root", True)
        assert ring.is_root(made.access_key) and ring.is_root(keys.root.access_key) and not ring.is_root("AKIAX")
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.delete_account_key(made.access_key) and not keys.delete_account_key(made.access_key)
    assert not keys.delete_account_key(keys.root.access_key)
    assert keys.lookup(made.access_key) is None and open_ring(path).lookup(made.access_key) is None
    assert keys.lookup(second.access_key) is not None and open_ring(path).root.secret_key == keys.root.secret_key


def test_keys_are_not_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACCOUNT_KEYS_MAX", 1)
    keys = open_ring(tmp_path / "keys.json")
    keys.create_account_key(OTHER)
    with pytest.raises(module.TooManyKeys):
        keys.create_account_key(OTHER)


@pytest.mark.parametrize(
    "more",
    [
        {},
        [1],
        [{"access_key": "AKIAX", "secret_key": "s", "account": "1"}],
        [{"access_key": "", "secret_key": "s", "account": OTHER}],
        [{"access_key": "AKIAX", "secret_key": "s\n", "account": OTHER}],
        [{"access_key": "AKIAX", "secret_key": "s", "account": OTHER}] * 2,
    ],
)
def test_a_file_with_a_key_that_cannot_be_is_refused_and_left_alone(tmp_path: Path, more: object) -> None:
    path = tmp_path / "keys.json"
    open_ring(path)
    damaged = json.dumps(json.loads(path.read_text()) | {"keys": more})
    path.write_text(damaged)
    with pytest.raises(StateDamaged, match=r"keys\.json is damaged"):
        open_ring(path)
    assert path.read_text() == damaged
