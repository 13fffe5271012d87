"""What a killed server left under another server's numbers goes, unless that server runs again and sees to it itself."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hanabi.base import locks
from hanabi.sandbox.host import abandoned
from hanabi.sandbox.host.cgroup import CgroupTree
from hanabi.sandbox.host.earlier_runs import RunDirLock, tag_of
from hanabi.sandbox.host.host import SandboxHost
from hanabi.sandbox.host.host_ids import LOCKS
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: cgroups of its own")
GROUP = "sandbox"


@contextmanager
def host_of(run_dir: Path) -> Iterator[SandboxHost]:
    """A server's part on this host, open. Its directory is nobody else's to enter, which does not matter here."""
    host = SandboxHost(run_dir, slots=1, allow_net=(), network=False)
    host.open()
    try:
        yield host
    finally:
        host.close()


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("hanabi.sandbox.host.host.check_traversable", lambda directory, flag: None)
    return tmp_path / "run"


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that a killed server left under numbers that are now another's."""
    tag = tag_of(tmp_path / "killed")
    tree = CgroupTree(tag)
    tree.prepare()
    process = subprocess.Popen(["sleep", "600"])
    monkeypatch.setattr(abandoned, "tags", lambda blocks, own: {tag})
    try:
        (tree.directory("pids") / GROUP).mkdir()
        (tree.directory("pids") / GROUP / "cgroup.procs").write_text(str(process.pid))
        yield process
    finally:
        process.kill()
        process.wait()
        tree.remove(GROUP)
        tree.close()


def test_what_is_left_under_these_numbers_goes(run_dir: Path, tmp_path: Path, left: "subprocess.Popen[bytes]") -> None:
    with host_of(run_dir):
        assert left.wait(10) < 0
        assert not any(each.exists() for each in CgroupTree(tag_of(tmp_path / "killed")).directories())


def test_what_runs_again_is_left_alone(run_dir: Path, tmp_path: Path, left: "subprocess.Popen[bytes]") -> None:
    again = RunDirLock(LOCKS, tag_of(tmp_path / "killed"), wait=False)
    try:
        with host_of(run_dir):
            assert left.poll() is None
            assert CgroupTree(tag_of(tmp_path / "killed")).groups() == {GROUP}
    finally:
        again.close()


def test_a_start_waits_while_another_one_cleans(run_dir: Path) -> None:
    opened = threading.Event()

    def start() -> None:
        with host_of(run_dir):
            opened.set()

    LOCKS.mkdir(parents=True, exist_ok=True)
    fd = locks.open_lock(LOCKS / "host.lock")
    thread = threading.Thread(target=start)
    try:
        assert locks.acquire_within(fd, 60)
        thread.start()
        wait_for((run_dir / "places").exists)
        assert not opened.wait(0.2)
        assert not any(each.exists() for each in CgroupTree(tag_of(run_dir)).directories())
    finally:
        os.close(fd)
    assert opened.wait(60)
    thread.join()
