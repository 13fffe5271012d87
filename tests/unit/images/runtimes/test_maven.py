"""Archives of Maven repositories: by the user's own `mvn`, which is a script here, and only those that were meant."""

import hashlib
import os
from pathlib import Path

import pytest

from hanabi.errors import ImageError
from hanabi.images.builders import programs
from hanabi.images.runtimes.maven import fetch_archives

LOCK = os.open("/dev/null", os.O_RDONLY)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fake_mvn(directory: Path, archives: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`mvn` that brings the files of a directory, and keeps the project it was given."""
    program = directory / "bin/mvn"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        'for word; do case "$word" in\n'
        f'-DoutputDirectory=*) cp {archives}/* "${{word#*=}}";; *.xml) cp "$word" {directory}/asked.xml;; esac; done\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(programs, "SEARCHED", f"{program.parent}:{os.environ['PATH']}")
    return directory / "asked.xml"


def test_what_the_lock_file_names_is_fetched_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archives = tmp_path / "archives"
    archives.mkdir()
    (archives / "a-1.jar").write_bytes(b"a")
    (archives / "c-2-linux-x86_64.jar").write_bytes(b"c")
    lock_file = tmp_path / "some.txt"
    lock_file.write_text(f"g:a:1 {digest(b'a')}\ng:c:2:linux-x86_64 {digest(b'c')}\n")
    asked = fake_mvn(tmp_path, archives, monkeypatch)
    found = fetch_archives(lock_file, tmp_path / "all", LOCK)
    assert [path.name for path in found] == ["a-1.jar", "c-2-linux-x86_64.jar"] and [path.read_bytes() for path in found] == [b"a", b"c"]
    assert not (tmp_path / "all/pom.xml").exists()
    assert "<artifactId>c</artifactId><version>2</version><classifier>linux-x86_64</classifier>" in asked.read_text()
    assert [path.name for path in fetch_archives(lock_file, tmp_path / "one", LOCK, "linux-x86_64")] == ["c-2-linux-x86_64.jar"]
    with pytest.raises(ImageError, match="some is not to be had for linux-arm64"):
        fetch_archives(lock_file, tmp_path / "other", LOCK, "linux-arm64")
    (archives / "a-1.jar").write_bytes(b"another")
    with pytest.raises(ImageError, match=r"g:a:1 was not had, or is another one than it was: its SHA-256 is not"):
        fetch_archives(lock_file, tmp_path / "changed", LOCK)


def test_without_maven_the_fix_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SEARCHED", str(tmp_path))
    with pytest.raises(ImageError, match="mvn is not installed: sudo apt-get install maven"):
        fetch_archives(tmp_path / "some.txt", tmp_path / "target", LOCK)
