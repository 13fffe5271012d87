"""Roots from packages: which there are, which are built, and what goes when one is removed."""

from pathlib import Path

from hanabi.images.runtimes.package_roots import PackageRoots
from hanabi.images.runtimes.recipes import RUNTIMES
from tests.unit.images.runtimes.test_roots import build


def test_built_and_removed(tmp_path: Path) -> None:
    roots = PackageRoots(tmp_path, tmp_path)
    assert all(roots.has(runtime) and not roots.is_built(runtime) for runtime in RUNTIMES)
    assert not roots.has("dotnet8") and not roots.is_built("dotnet8") and not roots.remove("dotnet8")
    build(tmp_path, "provided.al2023")
    (tmp_path / "building").mkdir()
    assert roots.is_built("provided.al2") and roots.is_built("provided.al2023")  # one root for both
    assert roots.remove("provided.al2") and not roots.is_built("provided.al2023")
