"""Snapshots at rest: their holes, and which are taken for whole. Sizes and command lines of machines."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hanabi.errors import SandboxError
from hanabi.sandbox.firecracker import snapshot_files
from hanabi.sandbox.firecracker.machine import MIB, SIZES, FirecrackerParts, Kernel, MachineSize, boot_args, size_for
from hanabi.sandbox.firecracker.snapshot_files import Snapshot, describe, is_whole, punch_holes, read_snapshot

PAGE = os.sysconf("SC_PAGESIZE")
PARTS = FirecrackerParts(
    firecracker=Path("/firecracker"), jailer=Path("/jailer"), version=(1, 16, 1), kernel=Kernel(image=Path("/vmlinux"), digest="k")
)
SIZE = MachineSize(512, 1)


def test_holes_are_dug_where_pages_are_zero(tmp_path: Path) -> None:
    file = tmp_path / "memory"
    page = bytes(PAGE - 1) + b"x"
    content = page + bytes(PAGE) * 5 + page * 2 + bytes(2 * MIB) + b"tail" + bytes(3 * MIB) + page + bytes(100)
    file.write_bytes(content)
    if not holes_are_possible(tmp_path):
        pytest.skip("the file system has no holes")
    punch_holes(file)
    assert file.read_bytes() == content
    assert file.stat().st_blocks * 512 <= 6 * PAGE
    before = file.stat().st_blocks
    punch_holes(file)  # again: nothing is left to dig
    assert (file.read_bytes(), file.stat().st_blocks) == (content, before)


def holes_are_possible(directory: Path) -> bool:
    probe = directory / "probe"
    with probe.open("wb") as file:
        file.truncate(MIB)
    return probe.stat().st_blocks * 512 < MIB


@pytest.mark.parametrize("content", [b"", b"x", bytes(10), bytes(PAGE), bytes(MIB), b"x" * (MIB + 1), bytes(MIB) + b"x"])
def test_files_of_any_size(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "memory"
    file.write_bytes(content)
    punch_holes(file)
    assert file.read_bytes() == content


def test_a_file_system_without_holes_keeps_the_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    punched: list[int] = []
    monkeypatch.setattr(snapshot_files, "_punch", lambda fd, start, size: punched.append(start))
    (tmp_path / "memory").write_bytes(bytes(4 * MIB))
    punch_holes(tmp_path / "memory")
    assert punched == [0]  # one try
    assert (tmp_path / "memory").stat().st_size == 4 * MIB


# --- templates


@pytest.mark.parametrize(
    ("state", "memory", "whole"), [(1, 608, True), (0, 608, False), (1, 607, False), (1, 609, False), (None, 608, False)]
)
def test_what_counts_as_a_whole_template(tmp_path: Path, state: int | None, memory: int, whole: bool) -> None:
    snapshot = Snapshot(directory=tmp_path, size=SIZE, root=tmp_path / "root", preloaded=False)
    if state is not None:
        (tmp_path / "state").write_bytes(bytes(state))
    with (tmp_path / "memory").open("wb") as file:
        file.truncate(memory * MIB)
    assert is_whole(snapshot) is whole
    (tmp_path / "memory").unlink()
    (tmp_path / "memory").symlink_to("/dev/zero")
    assert not is_whole(snapshot)


# --- functions' own


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    place, drives = tmp_path / "kept", tmp_path / "drives"
    for directory in (place, drives):
        directory.mkdir()
    for name in ("state", "memory", "tmp"):
        (place / name).write_bytes(name.encode() * 100)
    for name in ("root", "code"):
        (drives / name).write_bytes(name.encode() * 50)
    held = {name: os.open(drives / file, os.O_PATH | os.O_CLOEXEC) for name, file in (("root", "root"), ("task", "code"))}
    try:
        describe(place, PARTS, SIZE, held)
    finally:
        for fd in held.values():
            os.close(fd)
    return place


def test_a_kept_snapshot_is_complete_in_itself(kept: Path) -> None:
    snapshot = read_snapshot(kept, PARTS)
    assert snapshot == Snapshot(directory=kept, size=SIZE, root=kept / "root", own=True, mounted={"task": kept / "task"})
    assert (kept / "task").read_bytes() == b"code" * 50
    assert (snapshot.state, snapshot.memory, snapshot.tmp) == (kept / "state", kept / "memory", kept / "tmp")


@pytest.mark.parametrize("name", ["state", "memory", "tmp", "root", "task"])
@pytest.mark.parametrize("damage", ["short", "long", "gone", "link"])
def test_a_kept_snapshot_that_is_not_whole(kept: Path, name: str, damage: str) -> None:
    size = (kept / name).stat().st_size
    if damage in ("short", "long"):
        os.truncate(kept / name, size + (1 if damage == "long" else -1))
    else:
        (kept / name).unlink()
    if damage == "link":
        other = kept.parent / "other"
        other.write_bytes(bytes(size))
        (kept / name).symlink_to(other)
    with pytest.raises(SandboxError, match=f"the snapshot kept is not whole: {name}"):
        read_snapshot(kept, PARTS)


def change(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda about: {**about, **fields}


@pytest.mark.parametrize(
    "edit",
    [
        lambda about: None,
        lambda about: [],
        lambda about: 7,
        lambda about: {},
        change(size=[512]),
        change(size=["big", 1]),
        change(size=None),
        change(mounted=7),
        change(mounted=[7]),
        change(mounted=["../../etc/passwd"]),
        change(mounted=["state"]),
        change(bytes={}),
        change(bytes=[]),
    ],
)
def test_what_is_said_about_a_kept_snapshot_is_checked(kept: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    about = kept / "about.json"
    about.write_text(json.dumps(edit(json.loads(about.read_text()))))
    with pytest.raises(SandboxError, match="the snapshot kept (cannot be read|is not whole)"):
        read_snapshot(kept, PARTS)


@pytest.mark.parametrize("text", [None, "", "{", "\0", "[" * 100_000])
def test_nothing_sensible_is_said_about_it(kept: Path, text: str | None) -> None:
    (kept / "about.json").unlink() if text is None else (kept / "about.json").write_text(text)
    with pytest.raises(SandboxError, match="the snapshot kept cannot be read"):
        read_snapshot(kept, PARTS)


@pytest.mark.parametrize(
    "parts",
    [
        replace(PARTS, version=(1, 16, 2)),
        replace(PARTS, kernel=replace(PARTS.kernel, digest="another")),
        replace(PARTS, kernel=replace(PARTS.kernel, boot_args="quiet")),
        replace(PARTS, kernel=replace(PARTS.kernel, cpu_template={"msr_modifiers": []})),
    ],
)
def test_a_snapshot_of_another_host_is_refused(kept: Path, parts: FirecrackerParts) -> None:
    with pytest.raises(SandboxError, match="another Firecracker, kernel or processor"):
        read_snapshot(kept, parts)


def test_one_of_another_processor_too(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_files, "_processor", lambda: "i486")
    with pytest.raises(SandboxError, match="another Firecracker, kernel or processor"):
        read_snapshot(kept, PARTS)


# --- machines


@pytest.mark.parametrize(
    ("memory_mb", "size"), [(128, 0), (512, 0), (513, 1), (1769, 1), (1770, 2), (3538, 2), (3539, 3), (7076, 3), (7077, 4), (10_240, 4)]
)
def test_the_smallest_machine_that_fits(memory_mb: int, size: int) -> None:
    assert size_for(memory_mb) is SIZES[size]
    assert SIZES[size].machine_mb > memory_mb


def test_vcpus_are_what_memory_buys() -> None:
    """AWS Lambda: 1,769 MB are one vCPU, six at most."""
    for size in SIZES:
        assert size.vcpus == min(6, max(1, -(-size.memory_mb // 1769)))


def test_the_command_line(tmp_path: Path) -> None:
    line = boot_args(replace(PARTS.kernel, boot_args="quiet panic=1"), "erofs")
    before, _, after = line.partition(" -- ")
    assert before == "quiet panic=1 rootfstype=erofs init=/.hanabi/init"
    assert after.split() == ["--vsock", "5000", "--machine", "--uid", "993", "--gid", "990"]
