"""Downloads: gone on from after a cut, verified, bounded."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanabi.errors import ImageError
from hanabi.images.builders.download import fetch, fetch_text, parse_sha256
from tests.unit.images.web import Web, serve

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as web:
        web.files["/file"] = CONTENT
        yield web


def get(web: Web, target: Path, sha256: str = DIGEST, largest: int = 2 << 20) -> list[tuple[int, int | None]]:
    counts: list[tuple[int, int | None]] = []
    fetch(f"{web.url}/file", target, sha256, lambda done, total: counts.append((done, total)), largest=largest)
    return counts


def test_a_file_is_fetched_once(web: Web, tmp_path: Path) -> None:
    target = tmp_path / "file"
    counts = get(web, target)
    assert counts[-1] == (len(CONTENT), len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert get(web, target) == [] and len(web.asked) == 1
    target.write_bytes(b"changed")
    get(web, target)
    assert target.read_bytes() == CONTENT


def test_a_cut_is_gone_on_from(web: Web, tmp_path: Path) -> None:
    target = tmp_path / "file"
    web.cut_after = 300_000
    for begun in (0, 300_000, 600_000):
        with pytest.raises(ImageError, match=f"cut after {begun + 300_000} of {len(CONTENT)} bytes"):
            get(web, target)
        assert not target.exists()
    get(web, target)
    assert target.read_bytes() == CONTENT
    assert [each for _, each in web.asked] == ["", "bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_server_without_ranges_sends_it_all_again(web: Web, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    web.ranges = False
    get(web, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"the beginning of another file", CONTENT + b"too long", b"x" * len(CONTENT)])
def test_what_was_left_of_another_file_does_no_harm(web: Web, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "file.part").write_bytes(left)
    get(web, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_all_of_it_may_be_there_already(web: Web, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)  # killed before it was renamed
    get(web, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT and len(web.asked) == 1


def test_the_wrong_file_never_appears(web: Web, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=f"wrong checksum: SHA-256 {DIGEST}, expected {'0' * 64}"):
        get(web, tmp_path / "file", "0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tell", [True, False])
def test_a_file_without_end_is_refused(web: Web, tmp_path: Path, tell: bool) -> None:
    web.tell_length = tell
    with pytest.raises(ImageError, match="too large"):
        get(web, tmp_path / "file", largest=500_000)
    assert not (tmp_path / "file").exists()


def test_a_server_that_is_not_there(web: Web, tmp_path: Path) -> None:
    web.files.clear()
    with pytest.raises(ImageError, match="answers 404"):
        get(web, tmp_path / "file")
    with pytest.raises(ImageError, match="could not be fetched"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", DIGEST, lambda done, total: None)
    with pytest.raises(ImageError, match="answers 404"):
        fetch_text(f"{web.url}/file")


def test_checksums_as_people_give_them() -> None:
    assert parse_sha256(f"{DIGEST.upper()}  firecracker.tgz\n") == DIGEST
    for given in ("", "abc", "<html>", DIGEST + "0"):
        with pytest.raises(ImageError, match="is no SHA-256"):
            parse_sha256(given)
