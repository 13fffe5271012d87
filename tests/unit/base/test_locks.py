"""A lock is held by one descriptor at a time, and ends with it."""

import os
from pathlib import Path

from hanabi.base import locks


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = locks.try_lock(path)
    assert first is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert locks.try_lock(path) is None
    os.close(first)
    second = locks.try_lock(path)
    assert second is not None
    os.close(second)


def test_it_is_held_for_a_block(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locks.hold(path) as held:
        assert held
        with locks.hold(path, wait=False) as again:
            assert not again
        with locks.hold(path, wait=False, shared=True) as again:
            assert not again
    with locks.hold(path, shared=True), locks.hold(path, shared=True):
        with locks.hold(path, wait=False) as again:
            assert not again
    with locks.hold(path, wait=False) as held:
        assert held


def test_a_descriptor_is_not_cut_off_from_its_path_unseen(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    fd = locks.open_lock(path)
    locks.acquire(fd)
    assert locks.is_at(fd, path)
    path.unlink()
    assert not locks.is_at(fd, path)
    path.touch()
    assert not locks.is_at(fd, path)
    os.close(fd)
