"""`scripts/release`, on a copy of the repository with a stand-in for the build."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.structure.sources import ROOT

CHANGES = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-01-01\n\n- The first.\n"
WHEEL = r"""#!/bin/sh
version=$(sed -n 's/__version__ = "\(.*\)"/\1/p' hanabi/__init__.py)
mkdir -p dist && cp ../carried.whl "dist/hanabi-$version-py3-none-manylinux2014_$(uname -m).whl"
"""
CARRIED = ("hanabi/py.typed", "share/guest/build/hanabi-init", "share/guest/python/bootstrap.py", "share/guest/node/bootstrap.mjs")


def git(place: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    return subprocess.run(["git", *identity, *arguments], cwd=place, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "t")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "t@localhost")
    place = tmp_path / "copy"
    (place / "scripts").mkdir(parents=True)
    (place / "hanabi").mkdir()
    shutil.copy(ROOT / "scripts" / "release", place / "scripts")
    (place / "scripts" / "wheel").write_text(WHEEL)
    (place / "scripts" / "wheel").chmod(0o755)
    shutil.copy(ROOT / "hanabi" / "__init__.py", place / "hanabi")
    (place / "CHANGELOG.md").write_text(CHANGES)
    (place / ".gitignore").write_text("dist/\n")
    carry(tmp_path, *CARRIED)
    git(place, "init", "--quiet", "--initial-branch", "main")
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message", "all")
    return place


def carry(directory: Path, *names: str) -> None:
    with zipfile.ZipFile(directory / "carried.whl", "w") as wheel:
        for name in names:
            wheel.writestr(name, b"")


def release(place: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([place / "scripts" / "release", *arguments], cwd=place, capture_output=True, text=True, timeout=60)


def test_a_release(copy: Path) -> None:
    done = release(copy, "0.2.0")
    assert done.returncode == 0, done.stderr
    assert '__version__ = "0.2.0"' in (copy / "hanabi" / "__init__.py").read_text()
    changes = (copy / "CHANGELOG.md").read_text()
    assert changes.startswith("# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 20")
    assert changes.endswith("\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-01-01\n\n- The first.\n")
    assert git(copy, "tag", "--list", "-n9") == "v0.2.0          Hanabi 0.2.0\n    \n    ### Added\n    \n    - A thing."
    assert git(copy, "status", "--porcelain") == "" and git(copy, "log", "-1", "--format=%s") == "Release 0.2.0"


def test_what_is_in_the_way_is_said_and_nothing_is_changed(copy: Path, tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        done = release(copy, *arguments)
        assert done.returncode == 1 and git(copy, "tag") == "" and git(copy, "log", "--format=%s") == "all"
        return done.stderr

    assert "scripts/release 0.2.0" in refused() and "scripts/release 0.2.0" in refused("v2")
    (copy / "new").touch()
    assert "commit or stash" in refused("0.2.0")
    (copy / "new").unlink()
    git(copy, "switch", "--quiet", "--create", "other")
    assert "on main" in refused("0.2.0")
    git(copy, "switch", "--quiet", "main")
    carry(tmp_path, *CARRIED[1:])
    assert "lacks hanabi/py.typed" in refused("0.2.0")
    assert git(copy, "status", "--porcelain") == ""


def test_a_changelog_without_news_is_no_release(copy: Path) -> None:
    (copy / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-01\n\n- The first.\n")
    git(copy, "commit", "--quiet", "--all", "--message", "no news")
    assert "nothing under [Unreleased]" in release(copy, "0.2.0").stderr
