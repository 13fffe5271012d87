"""Firecracker and its jailer: found, fetched from a server of our own, and known for what they are."""

import hashlib
import io
import platform
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanabi.errors import ImageError
from hanabi.images.firecracker import binaries
from hanabi.images.firecracker.binaries import find_firecracker, known_bugs
from hanabi.images.firecracker.release import PINNED, SHA256, fetch_release
from tests.unit.images.web import Web, serve

MACHINE = platform.machine()


@pytest.fixture(autouse=True)
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "SEARCHED", str(tmp_path / "path"))


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as web:
        yield web


def script(name: str, version: str) -> bytes:
    return f"#!/bin/sh\necho '{name.capitalize()} v{version}'\necho\necho 'exiting successfully. exit_code=0'\n".encode()


def install(directory: Path, version: str, names: tuple[str, ...] = binaries.NAMES) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_bytes(script(name, version))
        (directory / name).chmod(0o755)
    return directory


def release(version: str, says: str = "", leave_out: str = "") -> bytes:
    """An archive laid out as the official ones are."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name in ("firecracker", "jailer", "seccompiler-bin"):
            if name != leave_out:
                content = script(name, says or version)
                member = tarfile.TarInfo(f"release-v{version}-{MACHINE}/{name}-v{version}-{MACHINE}")
                member.size, member.mode = len(content), 0o755
                tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def publish(web: Web, version: str, archive: bytes, checksum: str | None = None) -> str:
    """Put a release on the server; its checksum."""
    path, digest = f"/v{version}/firecracker-v{version}-{MACHINE}.tgz", hashlib.sha256(archive).hexdigest()
    web.files[path] = archive
    web.files[f"{path}.sha256.txt"] = f"{checksum or digest}  {path.rpartition('/')[2]}\n".encode()
    return digest


# --- finding ----------------------------------------------------------------------------------------------------------


def test_without_any_the_way_to_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="on PATH: hanabi images build firecracker, or name them by --firecracker and --jailer"):
        find_firecracker(tmp_path)


def test_given_wins_over_fetched_and_fetched_over_path(tmp_path: Path, web: Web) -> None:
    install(tmp_path / "path", "1.12.1")
    found = find_firecracker(tmp_path)
    assert found.version == (1, 12, 1) and found.firecracker == tmp_path / "path/firecracker"
    for version in ("1.9.0", "1.17.0", "1.16.1"):
        fetch_release(tmp_path, version, publish(web, version, release(version)), web.url, print)
    found = find_firecracker(tmp_path)
    assert found.version == (1, 17, 0) and found.jailer.parent == found.firecracker.parent
    given = install(tmp_path / "given", "1.13.0")
    assert find_firecracker(tmp_path, firecracker=given / "firecracker").jailer == given / "jailer"
    assert find_firecracker(tmp_path, jailer=given / "jailer").version == (1, 13, 0)


def test_a_pair_must_be_one(tmp_path: Path) -> None:
    old, new = install(tmp_path / "old", "1.12.1"), install(tmp_path / "new", "1.16.1")
    with pytest.raises(ImageError, match=r"is version 1\.12\.1 and .* is 1\.16\.1: they belong together"):
        find_firecracker(tmp_path, firecracker=old / "firecracker", jailer=new / "jailer")
    (old / "jailer").unlink()
    with pytest.raises(ImageError, match="name both by --firecracker and --jailer"):
        find_firecracker(tmp_path, firecracker=old / "firecracker")


def test_one_that_is_too_old_is_refused(tmp_path: Path) -> None:
    assert find_firecracker(tmp_path, firecracker=install(tmp_path / "a", "1.10.0") / "firecracker").version == (1, 10, 0)
    with pytest.raises(ImageError, match=r"version 1\.9\.9, and 1\.10\.0 is the oldest"):
        find_firecracker(tmp_path, firecracker=install(tmp_path / "b", "1.9.9") / "firecracker")


@pytest.mark.parametrize("content", [b"#!/bin/sh\necho hello\n", b"#!/bin/sh\necho 'Firecracker v1.16.1'; exit 1\n", b"no program", b""])
def test_what_does_not_tell_its_version_is_refused(tmp_path: Path, content: bytes) -> None:
    given = install(tmp_path / "given", "1.16.1")
    (given / "firecracker").write_bytes(content)
    with pytest.raises(ImageError, match="does not tell its version|does not run"):
        find_firecracker(tmp_path, firecracker=given / "firecracker")


def test_one_that_hangs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = install(tmp_path / "given", "1.16.1")
    (given / "firecracker").write_bytes(b"#!/bin/sh\nexec sleep 300\n")
    monkeypatch.setattr(binaries, "ASK_S", 0.2)
    with pytest.raises(ImageError, match="does not run"):
        find_firecracker(tmp_path, firecracker=given / "firecracker")


def test_the_faults_of_versions() -> None:
    def about(version: binaries.Version, word: str) -> bool:
        return any(word in bug for bug in known_bugs(version))

    assert len(known_bugs((1, 12, 1))) == len(binaries.BUGS)
    assert about((1, 14, 0), "3 GiB") and not about((1, 15, 0), "3 GiB")
    assert about((1, 15, 9), "monotonic") and not about((1, 16, 0), "monotonic")
    assert about((1, 16, 0), "connections from the guest") and not about((1, 16, 1), "connections from the guest")
    assert [bug for bug in known_bugs((1, 16, 1)) if "#6100" not in bug] == []


# --- fetching ---------------------------------------------------------------------------------------------------------


def test_a_release_is_fetched_once_with_its_checksum(tmp_path: Path, web: Web) -> None:
    publish(web, "1.17.0", release("1.17.0"))
    place = fetch_release(tmp_path, "1.17.0", "", web.url, print)
    assert sorted(path.name for path in place.iterdir()) == ["about.json", "firecracker", "jailer"]
    assert place.parent == tmp_path / "firecracker"
    assert find_firecracker(tmp_path).firecracker == place / "firecracker"
    assert not list((tmp_path / "downloads").iterdir()) and not list((tmp_path / "building").iterdir())
    asked = len(web.asked)
    assert fetch_release(tmp_path, "1.17.0", "", web.url, print) == place
    assert [path for path, _ in web.asked[asked:]] == [f"/v1.17.0/firecracker-v1.17.0-{MACHINE}.tgz.sha256.txt"]


def test_a_cut_release_is_gone_on_from(tmp_path: Path, web: Web) -> None:
    digest = publish(web, "1.17.0", release("1.17.0"))
    web.cut_after = 100
    with pytest.raises(ImageError, match="cut after 100"):
        fetch_release(tmp_path, "1.17.0", digest, web.url, print)
    web.cut_after = None
    fetch_release(tmp_path, "1.17.0", digest, web.url, print)
    assert web.asked[-1][1] == "bytes=100-"


def test_the_pinned_release_must_be_the_known_one(tmp_path: Path, web: Web) -> None:
    if MACHINE != "x86_64":
        pytest.skip("the pin is of x86_64")
    publish(web, PINNED, release(PINNED))
    with pytest.raises(ImageError, match=f"expected {SHA256[PINNED, 'x86_64']}"):
        fetch_release(tmp_path, PINNED, "", web.url, print)
    assert f"/v{PINNED}/firecracker-v{PINNED}-{MACHINE}.tgz.sha256.txt" not in [path for path, _ in web.asked]
    assert not list((tmp_path / "firecracker").iterdir())


def test_a_checksum_that_came_in_the_clear_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="give --sha256"):
        fetch_release(tmp_path, "1.17.0", "", "http://mirror.invalid/", print)


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"no archive", "is no release of Firecracker"),
        (release("1.17.0", leave_out="jailer"), "is no release of Firecracker"),
        (release("1.17.0")[:-200], "is no release of Firecracker"),
        (release("1.17.0", says="1.3.0"), "the firecracker in .* says that it is 1.3.0"),
    ],
    ids=["no archive", "no jailer", "cut off", "another version"],
)
def test_what_is_no_release_is_not_kept(tmp_path: Path, web: Web, archive: bytes, message: str) -> None:
    digest = publish(web, "1.17.0", archive)
    with pytest.raises(ImageError, match=message):
        fetch_release(tmp_path, "1.17.0", digest, web.url, print)
    assert not list((tmp_path / "firecracker").iterdir()) and not list((tmp_path / "building").iterdir())


@pytest.mark.parametrize("version", ["1.16", "v1.16.1", "../1.16.1", "latest"])
def test_a_version_is_three_numbers(tmp_path: Path, web: Web, version: str) -> None:
    with pytest.raises(ImageError, match="is no version of Firecracker"):
        fetch_release(tmp_path, version, "", web.url, print)
    assert web.asked == []


def test_one_that_was_changed_is_not_used(tmp_path: Path, web: Web) -> None:
    place = fetch_release(tmp_path, "1.17.0", publish(web, "1.17.0", release("1.17.0")), web.url, print)
    (place / "jailer").write_bytes(script("jailer", "1.17.0") + b"# and more\n")
    with pytest.raises(ImageError, match="was changed or is damaged"):
        find_firecracker(tmp_path)
