"""Signing profiles of a data directory."""

import json
from pathlib import Path

import pytest

from hanabi.images.code.signing_keys import SigningProfiles

ACCOUNT, REGION = "000000000000", "us-east-1"


def test_a_life(tmp_path: Path) -> None:
    profiles = SigningProfiles(tmp_path)
    assert list(profiles) == [] and profiles.newest("release") is None
    first = profiles.create("release", ACCOUNT, REGION)
    second = profiles.create("release", ACCOUNT, REGION)
    assert first.arn.startswith(f"arn:aws:signer:{REGION}:{ACCOUNT}:/signing-profiles/release/") and first.arn != second.arn
    assert {each.arn for each in profiles} == {first.arn, second.arn}
    assert profiles.find(first.arn) == first and profiles.newest("release") == second
    assert first.key_path.stat().st_mode & 0o077 == 0 and first.key_path.parent.stat().st_mode & 0o077 == 0
    assert profiles.revoke("release", first.arn.rpartition("/")[2]) and not profiles.revoke("release", "0123456789")
    assert profiles.find(first.arn) is None and not first.key_path.exists()
    assert profiles.revoke("release") and list(profiles) == []


@pytest.mark.parametrize("name", ["", "a", "../x", "a/b", "x" * 65, "ä_ö"])
def test_names(tmp_path: Path, name: str) -> None:
    profiles = SigningProfiles(tmp_path)
    with pytest.raises(ValueError, match="is no name of a signing profile"):
        profiles.create(name, ACCOUNT, REGION)
    assert profiles.newest(name) is None and not profiles.revoke(name)


def test_an_arn_finds_no_other_file(tmp_path: Path) -> None:
    profiles = SigningProfiles(tmp_path)
    made = profiles.create("release", ACCOUNT, REGION)
    for arn in (made.arn.replace(ACCOUNT, "111111111111"), made.arn.rpartition("/")[0], f"{made.arn}/..", "../../keys.json", ""):
        assert profiles.find(arn) is None
    made.key_path.with_suffix(".json").write_text(json.dumps({"arn": 1}))
    assert profiles.find(made.arn) is None and list(profiles) == []
