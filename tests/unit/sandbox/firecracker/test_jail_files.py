"""A VMM that was taken over and plays with the names in its jail: nothing outside is read, changed or waited for."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from hanabi.sandbox.firecracker import jail_files

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives files away")


@pytest.fixture
def jail(tmp_path: Path) -> Path:
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "outside").chmod(0o600)
    (tmp_path / "jail").mkdir()
    return tmp_path / "jail"


def link(path: Path) -> None:
    path.symlink_to(path.parents[1] / "outside")


def into_nothing(path: Path) -> None:
    path.symlink_to("nothing")


TRICKS: list[Callable[[Path], None]] = [link, into_nothing, os.mkfifo, Path.mkdir]


@pytest.mark.parametrize("trick", TRICKS)
def test_tricks(jail: Path, trick: Callable[[Path], None]) -> None:
    trick(jail / "state")
    assert jail_files.read_tail(jail / "state", 100) == b""
    with pytest.raises(OSError):
        jail_files.take(jail / "state", jail.parent / "taken")
    with pytest.raises(OSError):
        jail_files.create(jail / "state", (0, 0))
    assert not (jail.parent / "taken").exists()
    outside = jail.parent / "outside"
    assert outside.read_text() == "secret"
    assert stat.S_IMODE(outside.stat().st_mode) == 0o600


def test_a_directory_that_is_a_link(jail: Path) -> None:
    (jail / "run").symlink_to(jail.parent)
    assert jail_files.read_tail(jail / "run" / "outside", 100) == b""


def test_the_end_of_a_file(jail: Path) -> None:
    (jail / "log").write_bytes(b"0123456789")
    assert jail_files.read_tail(jail / "log", 4) == b"6789"
    assert jail_files.read_tail(jail / "log", 100) == b"0123456789"
    assert jail_files.read_tail(jail / "none", 100) == b""


@needs_root
def test_a_file_is_made_and_taken(jail: Path) -> None:
    jail_files.create(jail / "state", (31001, 31002))
    facts = (jail / "state").stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (31001, 31002, 0o600)
    (jail / "state").write_text("content")
    jail_files.take(jail / "state", jail.parent / "taken")
    facts = (jail.parent / "taken").stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (0, 0, 0o444)
    assert (jail.parent / "taken").read_text() == "content"
    assert not (jail / "state").exists()
