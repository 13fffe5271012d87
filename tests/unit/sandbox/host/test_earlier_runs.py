"""What a run directory says of its earlier places, believed or not."""

from pathlib import Path

import pytest

from hanabi.sandbox.host import earlier_runs
from hanabi.sandbox.host.earlier_runs import RunDirLock, tag_of


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"{}",
        b"null",
        b"[1, null, [], {}]",
        b'["", ".", "/", "relative/run"]',
        b'["/a\\u0000b"]',
        b'["/\\ud800"]',
        b"\xff",
    ],
)
def test_damage_names_no_place(tmp_path: Path, content: bytes) -> None:
    (tmp_path / earlier_runs.FILE).write_bytes(content)
    assert earlier_runs.places(tmp_path) == []


@pytest.mark.parametrize("content", [b"\xff", b"/sys\0/fs", b"/sys/fs/cgroup\xed\xa0\x80"])
def test_damage_names_no_groups(tmp_path: Path, content: bytes) -> None:
    (tmp_path / earlier_runs.GROUPS).write_bytes(content)
    assert earlier_runs.groups_in(tmp_path) == ""


def test_places_are_kept_until_they_are_clean(tmp_path: Path) -> None:
    strange = Path("/data/with\nline and \udcff")
    earlier_runs.note(tmp_path, [strange])
    assert earlier_runs.places(tmp_path) == [strange]
    for number in range(100):
        earlier_runs.note(tmp_path, [*earlier_runs.places(tmp_path), Path(f"/data/{number}")])
    assert len(earlier_runs.places(tmp_path)) == earlier_runs.PLACES - 1 and earlier_runs.places(tmp_path)[-1] == Path("/data/99")
    earlier_runs.note(tmp_path, [])
    assert earlier_runs.places(tmp_path) == []


def test_a_place_has_one_claim(tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    first = RunDirLock(locks, tag_of(tmp_path), wait=False)
    with pytest.raises(BlockingIOError):
        RunDirLock(locks, tag_of(tmp_path), wait=False)
    other = RunDirLock(locks, tag_of(tmp_path / "other"), wait=False)
    first.close()
    again = RunDirLock(locks, tag_of(tmp_path), wait=False)
    for each in (first, other, again):
        each.close()
    assert list(locks.iterdir()) == []
