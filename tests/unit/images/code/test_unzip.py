"""Unpacking zips: what users' packers make comes out as it went in; what attackers make is refused and writes nothing outside."""

import io
import os
import random
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hanabi.images.code import unzip
from hanabi.images.code.unzip import CANNOT, EMPTY, TOO_LARGE, TOO_MANY, BadZip, unpack
from tests.unit.images.archives import Entry, link, make, simple

DEFLATED = zipfile.ZIP_DEFLATED


def unpacked(directory: Path, archive: bytes) -> Path:
    (directory / "code.zip").write_bytes(archive)
    unpack(directory / "code.zip", directory / "task")
    return directory / "task"


def refused(directory: Path, archive: bytes) -> str:
    """Why; and nothing was written but below the target."""
    before = set(directory.parent.iterdir())
    with pytest.raises(BadZip) as caught:
        unpacked(directory, archive)
    assert set(directory.iterdir()) <= {directory / "code.zip", directory / "task"}
    assert set(directory.parent.iterdir()) == before
    return str(caught.value)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- what packers make --------------------------------------------------------------------------------------------------


def test_a_zip_comes_out_as_it_went_in(tmp_path: Path) -> None:
    task = unpacked(tmp_path, simple(**{"index__js": b"js", "lib/deep/er__txt": b"x" * 100_000, "empty": b""}))
    assert (task / "index.js").read_bytes() == b"js"
    assert (task / "lib/deep/er.txt").stat().st_size == 100_000
    assert (task / "empty").read_bytes() == b""


def test_everything_is_readable_and_execute_bits_are_kept(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        task = unpacked(
            tmp_path,
            make(
                [
                    Entry(name=b"private", mode=stat.S_IFREG | 0o600),
                    Entry(name=b"bootstrap", mode=stat.S_IFREG | 0o4750),
                    Entry(name=b"closed/", mode=stat.S_IFDIR | 0o700),
                    Entry(name=b"closed/x", mode=0),
                    Entry(name=b"unslashed", mode=stat.S_IFDIR | 0o1777),
                ]
            ),
        )
    finally:
        os.umask(umask)
    modes = {str(path.relative_to(tmp_path)): mode_of(path) for path in (task, *task.rglob("*"))}
    assert modes == {
        "task": 0o755,
        "task/private": 0o644,
        "task/bootstrap": 0o755,
        "task/closed": 0o755,
        "task/closed/x": 0o644,
        "task/unslashed": 0o755,
    }


def test_a_mode_counts_only_from_a_system_that_has_modes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("from-windows")
        info.create_system, info.external_attr = 0, (stat.S_IFCHR | 0o755) << 16
        archive.writestr(info, b"x")
    assert mode_of(unpacked(tmp_path, buffer.getvalue()) / "from-windows") == 0o644


def test_links_are_kept_wherever_they_point(tmp_path: Path) -> None:
    task = unpacked(tmp_path, make([link(b"lib.so", b"lib.so.1"), Entry(name=b"lib.so.1", data=b"elf"), link(b"out", b"/etc/passwd")]))
    assert os.readlink(task / "lib.so") == "lib.so.1"
    assert os.readlink(task / "out") == "/etc/passwd"
    assert (task / "lib.so").read_bytes() == b"elf"


def test_times_are_kept(tmp_path: Path) -> None:
    stamp = struct.pack("<HHBi", 0x5455, 5, 1, 1_700_000_001)
    task = unpacked(tmp_path, make([Entry(name=b"zip"), Entry(name=b"unix", extra=stamp)]))
    assert (task / "unix").stat().st_mtime == 1_700_000_001
    assert (task / "zip").stat().st_mtime == 1_767_225_600  # 2026-01-01


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        ("größe".encode(), 0x800, "größe"),
        ("größe".encode(), 0, "größe"),  # a packer that does not say that it writes UTF-8
        (b"gr\x94\xe1e", 0, "größe"),  # code page 437, as the format has it
        (b"a\\b", 0, "a\\b"),
        (b"./a//b/./c", 0, "a/b/c"),
    ],
)
def test_names(tmp_path: Path, name: bytes, flags: int, expected: str) -> None:
    task = unpacked(tmp_path, make([Entry(name=name, flags=flags, data=b"here")]))
    assert os.fsencode(task / expected) in {os.fsencode(path) for path in task.rglob("*")}
    assert (task / expected).read_bytes() == b"here"


def test_names_differ_by_case(tmp_path: Path) -> None:
    task = unpacked(tmp_path, make([Entry(name=b"A", data=b"1"), Entry(name=b"a", data=b"2")]))
    assert ((task / "A").read_bytes(), (task / "a").read_bytes()) == (b"1", b"2")


def test_the_last_of_two_entries_of_a_name_counts(tmp_path: Path) -> None:
    task = unpacked(tmp_path, make([Entry(name=b"a", data=b"1"), Entry(name=b"./a", data=b"2")]))
    assert (task / "a").read_bytes() == b"2"


def test_a_self_extracting_zip_with_a_comment(tmp_path: Path) -> None:
    archive = make([Entry(name=b"a", data=b"1", method=DEFLATED)], prefix=b"#!/bin/sh\nexit\n", comment=b"a comment")
    assert (unpacked(tmp_path, archive) / "a").read_bytes() == b"1"


def test_zip64(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("big", "w", force_zip64=True) as file:
        file.write(b"x")
    assert (unpacked(tmp_path, buffer.getvalue()) / "big").read_bytes() == b"x"


# --- what attackers make ------------------------------------------------------------------------------------------------

HOSTILE = {
    "climbs": [Entry(name=b"../evil")],
    "climbs from below": [Entry(name=b"a/../../evil")],
    "climbs and comes back": [Entry(name=b"a/../b")],
    "absolute": [Entry(name=b"/tmp/evil")],
    "below a link": [link(b"a", b"/tmp"), Entry(name=b"a/evil")],
    "below a link that comes later": [Entry(name=b"a/evil"), link(b"a", b"/tmp")],
    "below a link under another spelling": [link(b"./a", b".."), Entry(name=b"a//evil")],
    "a directory that is a link": [link(b"a", b".."), Entry(name=b"a/b/", mode=stat.S_IFDIR | 0o755)],
    "below a file": [Entry(name=b"a"), Entry(name=b"a/b")],
    "a device": [Entry(name=b"null", mode=stat.S_IFCHR | 0o666)],
    "a disk": [Entry(name=b"sda", mode=stat.S_IFBLK | 0o666)],
    "a fifo": [Entry(name=b"pipe", mode=stat.S_IFIFO | 0o666)],
    "a socket": [Entry(name=b"socket", mode=stat.S_IFSOCK | 0o666)],
    "a link to nowhere": [link(b"a", b"")],
    "a link with a NUL": [link(b"a", b"/etc\0/passwd")],
    "a link of 1 MB": [link(b"a", b"x" * 1_000_000)],
    "a NUL in a name": [Entry(name=b"a.py\0.txt")],
    "a name of 300 bytes": [Entry(name=b"x" * 300)],
    "a name of 60,000 bytes": [Entry(name=b"x/" * 30_000)],
    "101 levels": [Entry(name=b"x/" * 101 + b"y")],
    "a name that is not the UTF-8 it says": [Entry(name=b"\xff\xfe", flags=0x800)],
    "encrypted": [Entry(name=b"a", data=b"x" * 20, flags=0x1)],
    "strongly encrypted": [Entry(name=b"a", data=b"x" * 20, flags=0x41)],
    "bzip2": [Entry(name=b"a", data=b"BZh9", method=zipfile.ZIP_BZIP2)],
    "lzma": [Entry(name=b"a", data=b"x", method=zipfile.ZIP_LZMA)],
    "an unknown method": [Entry(name=b"a", data=b"x", method=97)],
    "a wrong checksum": [Entry(name=b"a", data=b"x", crc=1)],
    "more than it declares": [Entry(name=b"a", data=b"x" * 100_000, size=10, method=DEFLATED)],
    "less than it declares": [Entry(name=b"a", data=b"x", size=10, method=DEFLATED)],
    "bytes used twice": [Entry(name=b"a", data=b"x"), Entry(name=b"b", data=b"x", offset=0)],
    "bytes of the index": [Entry(name=b"a", data=b"x"), Entry(name=b"b", data=b"x", offset=31)],
    "an extra field cut short": [Entry(name=b"a", extra=b"\x01\x00\xff\xff")],
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_entries_are_refused(tmp_path: Path, entries: list[Entry]) -> None:
    place = tmp_path / "in"
    place.mkdir()
    assert refused(place, make(entries)) == CANNOT


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    block = Entry(name=b"", data=bytes(1_000_000), method=DEFLATED)
    entries = [Entry(name=b"%d" % number, data=block.data, method=DEFLATED) for number in range(3)]
    entries.append(Entry(name=b"bomb", data=block.data, size=262_144_000 - 3_000_000, method=DEFLATED))
    assert refused(tmp_path, make(entries)) == TOO_LARGE
    assert not (tmp_path / "task").exists()


def test_the_limit_is_what_the_message_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unzip, "UNZIPPED_CODE_BYTES", 1000)
    assert (unpacked(tmp_path, make([Entry(name=b"a", data=b"x" * 999)])) / "a").stat().st_size == 999
    (tmp_path / "2").mkdir()
    assert refused(tmp_path / "2", make([Entry(name=b"a", data=b"x" * 1000)])) == TOO_LARGE


def test_directories_that_are_only_implied_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unzip, "NODE_LIMIT", 500)
    entries = [Entry(name=b"%d/" % number + b"x/" * 90 + b"y") for number in range(10)]
    assert refused(tmp_path, make(entries)) == TOO_MANY


def test_too_many_files(tmp_path: Path) -> None:
    entries = [Entry(name=b"%d" % number) for number in range(3)]
    archive = make(entries)
    assert (unpacked(tmp_path, archive) / "2").exists()
    many = make(Entry(name=b"%d" % number) for number in range(unzip.NODE_LIMIT + 1))
    (tmp_path / "many").mkdir()
    assert refused(tmp_path / "many", many.replace(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff", b"PK\x05\x06\0\0\0\0\1\0\1\0")) == TOO_MANY


@pytest.mark.parametrize("archive", [make([]), make([Entry(name=b"only/", mode=stat.S_IFDIR | 0o755)])], ids=["no entry", "no file"])
def test_an_empty_zip(tmp_path: Path, archive: bytes) -> None:
    assert refused(tmp_path, archive) == EMPTY


@pytest.mark.parametrize(
    "archive", [b"", b"x", b"PK\x03\x04", b"def handler(): pass\n" * 100], ids=["nothing", "a byte", "a start", "text"]
)
def test_what_is_no_zip(tmp_path: Path, archive: bytes) -> None:
    assert refused(tmp_path, archive) == CANNOT


def test_damage_anywhere_is_refused_or_harmless(tmp_path: Path) -> None:
    """A thousand zips, each with a few bytes changed: either they unpack below the target or they are a `BadZip`."""
    chance = random.Random(20260101)
    good = make([Entry(name=b"a/b", data=b"x" * 50, method=DEFLATED), link(b"l", b"a/b"), Entry(name=b"c", data=b"y" * 50)])
    outcomes = set()
    for number in range(1000):
        damaged = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        place = tmp_path / str(number)
        place.mkdir()
        try:
            unpacked(place, bytes(damaged))
        except BadZip as error:
            outcomes.add(str(error))
        else:
            outcomes.add("unpacked")
    assert outcomes >= {"unpacked", CANNOT}
    assert {path.name for path in tmp_path.iterdir()} == {str(number) for number in range(1000)}


# --- as a command -------------------------------------------------------------------------------------------------------


def run_command(directory: Path, archive: bytes) -> "subprocess.CompletedProcess[str]":
    (directory / "code.zip").write_bytes(archive)
    command = [sys.executable, "-I", "-S", unzip.__file__, str(directory / "code.zip"), str(directory / "task")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_command_unpacks(tmp_path: Path) -> None:
    done = run_command(tmp_path, simple(a__py=b"x"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "task/a.py").read_bytes() == b"x"


def test_the_command_says_why_not(tmp_path: Path) -> None:
    done = run_command(tmp_path, make(HOSTILE["climbs"]))
    assert (done.returncode, done.stderr.strip()) == (BadZip.EXIT, CANNOT)
