"""What lies in an images directory and cannot be read is named, or shown as it is: it stops nothing else."""

import json
from pathlib import Path

import pytest

from hanabi.errors import ImageError
from hanabi.images import identity
from hanabi.images.containers import paths
from hanabi.images.firecracker import binaries
from hanabi.images.kernels import paths as kernels
from hanabi.images.microvm_parts import MicroVmParts
from hanabi.images.paths import ABOUT, root_path
from hanabi.images.runtimes.listing import list_runtimes
from hanabi.images.runtimes.recipes import RUNTIMES
from hanabi.images.runtimes.roots import RuntimeImages
from hanabi.images.trash import Trash
from hanabi.testing import ManualClock

DAMAGES = [
    b"",
    b"{",
    b"[]",
    b"{}",
    b"null",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"size": "x", "blobs": 1, "sha256": [], "image": 1, "environment": 0}',
]


def damaged(place: Path, content: bytes) -> Path:
    place.mkdir(parents=True)
    (place / ABOUT).write_bytes(content)
    return place


@pytest.mark.parametrize("content", DAMAGES)
def test_what_cannot_be_read_is_named_or_shown(tmp_path: Path, content: bytes) -> None:
    paths.prepare(tmp_path)
    digest = "ab" * 32
    image = damaged(paths.container_path(tmp_path, digest), content)
    root = damaged(root_path(tmp_path, RUNTIMES["python3.13"].recipe), content)
    kernel = damaged(tmp_path / "kernels" / "own-0123456789abcdef", content)
    fetched = damaged(tmp_path / "firecracker" / "1.15.0-0123456789abcdef", content)
    damaged(tmp_path / "firecracker" / "odd-name", content)
    snapshot = damaged(tmp_path / "snapshots" / "key", content)
    (snapshot / "memory").write_bytes(b"")
    kernels.choose(tmp_path, kernel)

    (kept,) = paths.list_kept(tmp_path)
    assert kept.digest == digest and str(image) in kept.image
    with pytest.raises(ImageError, match=f"{image}.*made again"):
        paths.about_of(image)
    listing = next(each for each in list_runtimes(RuntimeImages(tmp_path, tmp_path), tmp_path) if each.runtime == "python3.13")
    assert listing.built and listing.size is None and str(root) in listing.how
    for look in (kernels.verify_chosen, kernels.list_kernels):
        with pytest.raises(ImageError, match=f"{kernel}.*images rm kernel"):
            look(tmp_path)
    with pytest.raises(ImageError, match=str(fetched)):
        binaries.find_firecracker(tmp_path)
    assert binaries.list_fetched(tmp_path) == [fetched]
    assert [finding.ok for finding in MicroVmParts(tmp_path).inspect(None, None, None)] == [False] * 3
    paths.sweep(tmp_path, Trash(tmp_path / "containers", ManualClock()), 0.0)
    assert image.is_dir()


def test_a_name_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    paths.prepare(tmp_path)
    path = tmp_path / "names" / "mine.json"
    for content in ("", "[]", "{}", "null"):
        path.write_text(content)
        with pytest.raises(ImageError, match=r"mine\.json is damaged.*add the name again"):
            paths.read_name(tmp_path, "mine")


def test_notes_of_owners_that_cannot_be_read_count_as_notes(tmp_path: Path) -> None:
    paths.prepare(tmp_path)
    owner, digest = identity.ImageOwner("me", tmp_path / "data"), "cd" * 32
    paths.refer(tmp_path, digest, owner, 1.0)
    for content in (b"", b"{", b"\xff", json.dumps({"at": 1}).encode()):
        (tmp_path / "containers" / "refs" / digest / "me").write_bytes(content)
        paths.refer(tmp_path, digest, owner, 1.0)
