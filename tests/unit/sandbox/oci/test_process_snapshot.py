"""Snapshots of containers: what is refused, and what the restorer is given. Real processes and copies are in `test_process_image`."""

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest

from hanabi.errors import SandboxError, SnapshotImpossible, SnapshotUnusable
from hanabi.sandbox.oci import process_snapshot


def test_only_a_process_that_is_alone_is_copied(tmp_path: Path) -> None:
    with pytest.raises(SnapshotImpossible, match="beside its runtime"):
        process_snapshot.write_snapshot(tmp_path, [11, 12], 1 << 20)
    assert list(tmp_path.iterdir()) == []


def test_it_says_why_no_process_can_be_copied_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert process_snapshot.why_missing(tmp_path) == "hanabi-restore was not built"
    (tmp_path / "hanabi-restore").touch()
    for known, said in ((True, ""), (False, "this kernel was built without CONFIG_CHECKPOINT_RESTORE")):
        monkeypatch.setattr("hanabi.base.linux.knows_thread_addresses", lambda known=known: known)
        assert process_snapshot.why_missing(tmp_path) == said
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert process_snapshot.why_missing(tmp_path) == "copies of processes are for x86-64"


def test_why_a_process_is_not_copied_comes_from_the_program_that_reads_it(tmp_path: Path) -> None:
    with pytest.raises(SnapshotImpossible, match="not one that Hanabi can copy"):
        process_snapshot.write_snapshot(tmp_path, [os.getpid()], 1 << 20)
    with pytest.raises(SandboxError, match="cannot be written: No such file"):
        process_snapshot.write_snapshot(tmp_path, [(1 << 22) + 1], 1 << 20)
    assert not (tmp_path / "about.json").exists()


@pytest.mark.parametrize("about", ["", "[]", "{}", json.dumps({"boot": "another"})])
def test_a_snapshot_of_another_boot_or_a_damaged_one_is_unusable(tmp_path: Path, about: str) -> None:
    (tmp_path / "about.json").write_text(about)
    with pytest.raises(SnapshotUnusable):
        process_snapshot.open_snapshot(tmp_path)


def test_an_incomplete_snapshot_is_unusable(tmp_path: Path) -> None:
    with pytest.raises(SnapshotUnusable):
        process_snapshot.open_snapshot(tmp_path)


async def test_the_restorer_says_that_it_is_the_copy() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        reading, writing = os.pipe()
        process_snapshot.send_files(ours, [reading])
        data, files, _, _ = socket.recv_fds(theirs, 1, 2)
        assert data == b"x"
        os.write(writing, b"!")
        assert os.read(files[0], 1) == b"!"
        for fd in (writing, *files):
            os.close(fd)
        waiting = asyncio.create_task(process_snapshot.await_copy(ours, 30))
        theirs.send(b"k")
        await waiting


@pytest.mark.parametrize("said", [b"", b"?"])
async def test_a_restorer_that_fails_makes_the_snapshot_unusable(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours:
        theirs.send(said)
        theirs.close()
        with pytest.raises(SnapshotUnusable):
            await process_snapshot.await_copy(ours, 30)


async def test_a_restorer_that_says_nothing_is_not_waited_for_long() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs, pytest.raises(SnapshotUnusable):
        await process_snapshot.await_copy(ours, 0.01)
