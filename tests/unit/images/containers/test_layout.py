"""OCI layouts on this machine: a directory or a tar file, whoever wrote it."""

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from hanabi.errors import ImageError
from hanabi.images.containers import layout, paths, pull
from tests.unit.images.layouts import DOCKER, Image, archive_layout, digest, file, index_of, layer, write_layout

MACHINE = os.uname().machine


def image(text: str = "hello", **fields: Any) -> Image:
    return Image([layer([file("app", text)])], **fields)


def pull_image(directory: Path, reference: str) -> Path:
    resolved = pull.resolve(reference, [], MACHINE)
    pull.Puller(directory, resolved["image"], [], MACHINE, lambda line: None).pull()
    return paths.container_path(directory, resolved["digest"]) / "root"


def refused(kind: str, reference: str) -> str:
    with pytest.raises(ImageError) as caught:
        pull.resolve(reference, [], MACHINE)
    assert caught.value.kind == kind, caught.value
    return str(caught.value)


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_by_tag_by_digest_and_alone(tmp_path: Path, transport: str) -> None:
    one, two = image("one"), image("two", types=DOCKER)
    path = write_layout(tmp_path / "layout", {"1": one, "2": two})
    alone = write_layout(tmp_path / "alone", {"1": one})
    if transport == "oci-archive":
        path, alone = archive_layout(path, tmp_path / "layout.tar"), archive_layout(alone, tmp_path / "alone.tar")
    assert (pull_image(tmp_path / "images", f"{transport}:{path}:2") / "app").read_text() == "two"
    assert (pull_image(tmp_path / "images", f"{transport}:{path}@{one.digest}") / "app").read_text() == "one"
    assert pull.resolve(f"{transport}:{alone}", [], MACHINE)["image"] == f"{transport}:{alone}@{one.digest}"
    assert "more than one image" in refused("malformed", f"{transport}:{path}")
    assert "has no image 3" in refused("missing", f"{transport}:{path}:3")
    refused("missing", f"{transport}:{path}@sha256:{'0' * 64}")


def test_a_layout_with_an_index_in_it(tmp_path: Path) -> None:
    ours, theirs = image("ours"), image("theirs", architecture="arm64" if MACHINE == "x86_64" else "amd64")
    path = write_layout(tmp_path / "layout", {"1": ours, "2": theirs})
    index = index_of([theirs, ours])
    (path / "blobs/sha256" / digest(index).removeprefix("sha256:")).write_bytes(index)
    (path / "index.json").write_text(json.dumps({"manifests": [{"digest": digest(index), "size": len(index)}]}))
    assert pull.resolve(f"oci:{path}", [], MACHINE)["digest"] == ours.hex


def test_what_is_no_layout(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    with_fifo = write_layout(tmp_path / "with-fifo", {"1": image()})
    (with_fifo / "index.json").unlink()
    os.mkfifo(with_fifo / "index.json")  # nobody will ever write to it
    for place in ("missing", "file", "empty", "loop", "fifo", "with-fifo"):
        refused("missing", f"oci:{tmp_path / place}")
    for place, kind in (("missing", "missing"), ("file", "invalid"), ("empty", "missing"), ("loop", "missing"), ("fifo", "missing")):
        refused(kind, f"oci-archive:{tmp_path / place}")
    refused("missing", "oci:/proc/self")
    refused("missing", "oci:/dev/zero")
    refused("missing", "oci-archive:/dev/zero")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("", "invalid"), ("[]", "invalid"), ("{}", "invalid"), ('{"manifests": 1}', "invalid"), ('{"manifests": [1]}', "missing"),
        ('{"manifests": [{"digest": "sha256:x"}]}', "unsupported"), ('{"manifests": [{"digest": "../../x"}]}', "unsupported"),
        ("[" * 200_000, "invalid"), ("x" * (5 << 20), "invalid"),
    ],
)  # fmt: skip
def test_indexes_that_are_none(tmp_path: Path, content: str, kind: str) -> None:
    path = write_layout(tmp_path / "layout", {"1": image()})
    (path / "index.json").write_text(content)
    refused(kind, f"oci:{path}")


def test_blobs_are_what_they_are_said_to_be(tmp_path: Path) -> None:
    made = image()
    path = write_layout(tmp_path / "layout", {"1": made})
    name = digest(made.layers[0].blob).removeprefix("sha256:")
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * len(made.layers[0].blob))
    (path / "blobs/sha256" / name).unlink()
    (path / "blobs/sha256" / name).symlink_to(secret)
    with pytest.raises(ImageError) as caught:
        pull_image(tmp_path / "images", f"oci:{path}")
    assert caught.value.kind == "invalid" and not list((tmp_path / "images/blobs/sha256").glob(f"{name}*"))
    (path / "blobs/sha256" / made.hex).write_bytes(b"{}")
    refused("invalid", f"oci:{path}@{made.digest}")


def test_archives_with_links_and_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "oci-layout"
    secret.write_text('{"imageLayoutVersion": "1.0.0"}')
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        entry = tarfile.TarInfo("oci-layout")
        entry.type, entry.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(entry)
    refused("missing", f"oci-archive:{tmp_path / 'links.tar'}")
    monkeypatch.setattr(layout, "MEMBER_LIMIT", 10)
    with tarfile.open(tmp_path / "many.tar", "w") as archive:
        for number in range(20):
            archive.addfile(tarfile.TarInfo(f"f{number}"))
    assert "more than 10 members" in refused("invalid", f"oci-archive:{tmp_path / 'many.tar'}")
