"""What sets up the microVM tests fails loudly when it cannot do what it should."""

from pathlib import Path

import pytest

from hanabi.errors import ImageError
from tests.microvm import binaries
from tests.microvm.kernel import EDITS, Edit, apply_edits


def lay_out(tree: Path) -> None:
    """Just the places that are changed."""
    for edit in EDITS:
        file = tree / edit.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((file.read_text() if file.exists() else "") + f"before\n{edit.old}\nafter\n")


def test_each_place_is_changed_once(tmp_path: Path) -> None:
    lay_out(tmp_path)
    apply_edits(tmp_path)
    for edit in EDITS:
        text = (tmp_path / edit.file).read_text()
        assert edit.new in text and text.count("before\n") == text.count("after\n") > 0
    with pytest.raises(ImageError, match="has 0 places to change, not one"):  # never twice
        apply_edits(tmp_path)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.why)
def test_another_source_is_refused(tmp_path: Path, edit: Edit) -> None:
    lay_out(tmp_path)
    file = tmp_path / edit.file
    file.write_text(file.read_text().replace(edit.old, "rewritten"))
    with pytest.raises(ImageError, match="has 0 places to change, not one"):
        apply_edits(tmp_path)


def test_a_directory_that_is_named_must_have_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANABI_FIRECRACKER_DIR", str(tmp_path))
    (tmp_path / "jailer").touch(0o755)
    with pytest.raises(ImageError, match="has no firecracker$"):
        binaries.ensure_firecracker()
    (tmp_path / "firecracker").touch(0o755)
    assert binaries.ensure_firecracker() == tmp_path


def test_the_pair_of_path_is_taken_when_it_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HANABI_FIRECRACKER_DIR", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in binaries.SHA256:
        (tmp_path / name).touch(0o755)
    assert binaries.ensure_firecracker() == tmp_path
