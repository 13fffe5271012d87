"""What microVMs need beside a root, listed and removed."""

import json
from pathlib import Path

from hanabi.images.microvm_parts import MicroVmParts


def test_snapshots_are_listed_with_what_they_take_on_disk_and_removed(tmp_path: Path) -> None:
    place = tmp_path / "snapshots" / "abc"
    place.mkdir(parents=True)
    (place / "state").write_bytes(b"x" * 5000)
    with (place / "memory").open("wb") as memory:
        memory.truncate(1 << 30)  # a hole
    (place / "about.json").write_text(json.dumps({"runtime": "python3.13", "memory_mb": 512}))
    old, draft = tmp_path / "snapshots" / "old", tmp_path / "snapshots" / "draft-x"
    for each in (old, draft):
        each.mkdir()
    (old / "memory").touch()
    (tmp_path / "snapshots" / "abc.lock").touch()
    parts = MicroVmParts(tmp_path)
    rows = {row.digest: row for row in parts.list() if row.part == "snapshot"}
    assert {digest: row.name for digest, row in rows.items()} == {"abc": "python3.13 512 MB", "old": "unknown"}
    assert 5000 <= rows["abc"].size < 1 << 20
    assert parts.remove("snapshots") and not parts.remove("snapshots")
    assert [row for row in parts.list() if row.part == "snapshot"] == [] and draft.exists()
