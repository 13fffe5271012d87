"""hanabi signing-profiles."""

import json
from pathlib import Path
from typing import Any

import pytest

from hanabi.base.clock import SystemClock
from hanabi.cli import main
from hanabi.edge.auth.keys import KeyRing
from hanabi.images.code.signed_zip import digest_zip, read_signature
from hanabi.images.code.signing_keys import SigningProfiles
from tests.server import zip_of


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    KeyRing.open(tmp_path / "keys.json", region="us-east-1", account="000000000000", clock=SystemClock())
    return tmp_path


def test_a_key_is_made_and_signs(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> Any:
        assert main(["signing-profiles", *arguments, "--json", "--data-dir", str(data_dir)]) == 0
        return json.loads(capsys.readouterr().out)

    (made,) = run("create", "release")
    assert run("list") == [made]
    code = data_dir / "code.zip"
    code.write_bytes(zip_of({"app.py": "x"}))
    said = run("sign", "release", str(code))
    assert said["file"] == str(data_dir / "code-signed.zip") and said["profile"] == made["arn"]
    signature, profile = read_signature(Path(said["file"])), SigningProfiles(data_dir).find(made["arn"])
    assert signature is not None and profile is not None
    signature.check(profile.certificate, digest_zip(Path(said["file"])))
    Path(made["key"]).rename(data_dir / "moved.key")
    run("sign", "release", str(code), "-o", str(data_dir / "out.zip"), "--key", str(data_dir / "moved.key"))
    assert main(["signing-profiles", "revoke", "release", "--data-dir", str(data_dir)]) == 0
    capsys.readouterr()
    assert run() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create"], "which? The name of a signing profile"),
        (["create", "../x"], "is no name of a signing profile"),
        (["sign", "nobody", "x.zip"], "there is no such signing profile: make it with"),
        (["revoke", "nobody"], "there is no such signing profile"),
    ],
)
def test_mistakes(data_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["signing-profiles", *arguments, "--data-dir", str(data_dir)]) != 0
    assert said in capsys.readouterr().err


def test_before_the_first_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["signing-profiles", "create", "release", "--data-dir", str(tmp_path)]) == 1
    assert "start Hanabi with `hanabi up` first" in capsys.readouterr().err
