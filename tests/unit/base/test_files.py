"""A file is written whole or not at all, and nothing is left beside it."""

import errno
import os
from pathlib import Path

import pytest

from hanabi.base.files import (
    empty_directory,
    make_open_directory,
    make_private_directory,
    remove_at_once,
    remove_tree,
    sync_path,
    write_whole,
)


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_is_replaced_whole(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "keys.json"
    write_whole(path, "one", sync=sync)
    assert path.read_text() == "one" and path.stat().st_mode & 0o777 == 0o600
    write_whole(path, b"two", mode=0o644, sync=sync)
    assert path.read_text() == "two" and path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["keys.json"]


def test_a_full_disk_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.json"
    write_whole(path, "one")

    def fail(fd: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, "two")
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["keys.json"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(OSError):
        sync_path(tmp_path / "link")
    write_whole(tmp_path / "link", "mine")
    assert not (tmp_path / "link").is_symlink()


def test_directories(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_open_directory(tmp_path / "a" / "open")
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "open").stat().st_mode & 0o777 == 0o755
    (tmp_path / "a" / "open" / "left").touch()
    private = empty_directory(tmp_path / "a" / "open")
    assert list(private.iterdir()) == [] and private.stat().st_mode & 0o777 == 0o700
    assert empty_directory(tmp_path / "new" / "deep").is_dir()


def test_a_private_directory_is_made_private_again(tmp_path: Path) -> None:
    for mode in (0o755, 0o700):
        (tmp_path / "code").mkdir(exist_ok=True)
        (tmp_path / "code").chmod(mode)
        make_private_directory(tmp_path / "code")
        assert (tmp_path / "code").stat().st_mode & 0o777 == 0o700
    make_private_directory(tmp_path / "new" / "deep")
    assert (tmp_path / "new" / "deep").stat().st_mode & 0o777 == 0o700


def test_trees_go(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "in").mkdir(parents=True)
        (tmp_path / name / "in" / "file").touch()
        (tmp_path / name / "in").chmod(0o500)
    remove_tree(tmp_path / "one")
    remove_tree(tmp_path / "absent")
    remove_at_once(tmp_path / "two", tmp_path / "building")
    assert os.listdir(tmp_path) == ["building"] and os.listdir(tmp_path / "building") == []
