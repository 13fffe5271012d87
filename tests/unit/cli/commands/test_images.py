"""`hanabi images` and `hanabi doctor` for what microVMs need: kernels and Firecracker."""

import io
import json
import os
import struct
from pathlib import Path

import pytest

from hanabi.cli import main
from hanabi.cli.progress import Progress, format_progress
from hanabi.images.builders.progress import ProgressCount, ProgressReporter, decode_count
from hanabi.images.firecracker import binaries
from tests.unit.images.firecracker.test_binaries import install, publish, release
from tests.unit.images.registries import liar
from tests.unit.images.runtimes.aws_images import serve_base_image
from tests.unit.images.web import serve

KERNEL = b"\x7fELF\x02\x01".ljust(16, b"\0") + struct.pack("<HH", 2, 62) + b"a kernel"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(binaries, "SEARCHED", str(tmp_path / "path"))
    for name in ("FIRECRACKER", "JAILER", "KERNEL"):
        monkeypatch.delenv(f"HANABI_{name}", raising=False)
    return ["--data-dir", str(tmp_path / "data")]


def test_a_kernel_of_ones_own_is_kept_listed_and_removed(tmp_path: Path, place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vmlinux").write_bytes(KERNEL)
    assert main(["images", "build", "kernel", "--from-file", str(tmp_path / "vmlinux"), *place]) == 0
    kept = tmp_path / "data/images/kernels"
    assert capsys.readouterr().out.startswith(f"kernel is ready: {kept}/file-")
    assert main(["images", "list", "kernel", *place]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "DIGEST", "STATE", "SOURCE", "SIZE"]
    assert row.split()[:3] == ["kernel", "file", "vmlinux"] and "used" in row
    assert main(["images", "list", "kernel", "--json", *place]) == 0
    assert [(each["part"], each["used"]) for each in json.loads(capsys.readouterr().out)] == [("kernel", True)]
    assert main(["images", "rm", "kernel", *place]) == 0
    assert main(["images", "rm", "kernel", *place]) == 0
    assert capsys.readouterr().out == "kernel is removed\nkernel was not built\n"


def test_what_is_no_kernel_is_refused_in_a_line(tmp_path: Path, place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bzImage").write_bytes(b"MZ" * 100)
    assert main(["images", "build", "kernel", "--from-file", str(tmp_path / "bzImage"), *place]) == 1
    error = capsys.readouterr().err
    assert "no 64-bit ELF file" in error and error.count("\n") == 1


def test_a_release_is_fetched_from_a_mirror(tmp_path: Path, place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with serve() as web:
        digest = publish(web, "1.17.0", release("1.17.0"), checksum="0" * 64)
        options = ["--version", "1.17.0", "--mirror", web.url, *place]
        assert main(["images", "build", "firecracker", *options]) == 1
        assert "wrong checksum" in capsys.readouterr().err
        assert main(["images", "build", "firecracker", "--sha256", digest, *options]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("firecracker is ready: ")
    assert "firecracker: fetching firecracker-v1.17.0-" in output.err and "100 %" in output.err
    assert main(["images", "list", "firecracker", *place]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["firecracker", "1.17.0"]
    assert main(["images", "rm", "firecracker", *place]) == 0
    assert capsys.readouterr().out == "firecracker is removed\n"


def test_offline_it_says_what_else_can_be_done(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with serve() as web:
        nowhere = web.url
    assert main(["images", "build", "firecracker", "--sha256", "0" * 64, "--mirror", nowhere, *place]) == 1
    error = capsys.readouterr().err
    assert "could not be fetched" in error and "--mirror URL" in error and "--firecracker PATH" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "python3.13", "--version", "1.16.1"], "--version is for `hanabi images build firecracker`"),
        (["build", "firecracker", "--from", "cloud"], "--from is for `hanabi images build kernel`"),
        (["list", "--from-file", "vmlinux"], "--from-file is for `hanabi images build kernel`"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    place: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["images", *arguments, *place]) == 2
    assert message in capsys.readouterr().err


def test_one_on_path_is_listed_until_one_is_fetched(tmp_path: Path, place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    install(tmp_path / "path", "1.16.1")
    assert main(["images", "list", "firecracker", *place]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["firecracker", "on", "PATH"]


def test_doctor_fails_closed(tmp_path: Path, place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--require", "firecracker", *place]) == 1
    output = capsys.readouterr().out
    assert "FAIL firecracker" in output and "-> hanabi images build firecracker" in output
    assert "FAIL guest kernel" in output and "-> hanabi images build kernel" in output
    assert "FAIL microvm" in output and "not tried" in output
    assert not (tmp_path / "data").exists()


def test_doctor_names_what_is_there_and_its_faults(tmp_path: Path, place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    pair = install(tmp_path / "pair", "1.12.1")
    (tmp_path / "vmlinux").write_bytes(KERNEL)
    options = ["--firecracker", str(pair / "firecracker"), "--kernel", str(tmp_path / "vmlinux"), *place]
    status = main(["doctor", "--require", "firecracker", "--json", *options])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert {"kvm", "user", "cgroups", "network", "firecracker", "jailer", "guest kernel", "microvm"} <= checks.keys()
    assert not checks["microvm"]["ok"] and checks["microvm"]["fix"]  # it is no Firecracker, and this no kernel
    assert checks["firecracker"]["detail"].startswith(f"1.12.1, {pair}/firecracker\nknown fault: ")
    assert all(checks[name]["ok"] for name in ("firecracker", "jailer", "guest kernel"))
    assert checks["user"]["ok"] is (os.geteuid() == 0)
    assert status == 1


# --- progress ---------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_count_survives_its_way() -> None:
    for count in (ProgressCount("fetching a", 1, 2, "bytes"), ProgressCount("compiling", 7, None, "files")):
        assert decode_count(count.encode()) == count
    for line in ("text", "a\tb\tc\td", "a\t1\t2\tbytes\tmore", "a\t-1\t2\tbytes"):
        assert decode_count(line) is None


def test_a_bar_where_the_whole_is_known_and_a_counter_elsewhere() -> None:
    assert format_progress(ProgressCount("fetching", 3 << 20, 12 << 20, "bytes")) == "fetching [######..................] 25 %  3.0 MB"
    assert format_progress(ProgressCount("compiling", 421, None, "files")) == "compiling: 421 files"
    assert format_progress(ProgressCount("fetching", 0, 0, "bytes")) == "fetching: 0 bytes"


def test_a_terminal_has_one_line_that_moves() -> None:
    terminal = Terminal()
    progress = Progress(terminal)
    for done in (10, 20):
        progress.show("kernel", ProgressCount("compiling", done, None, "files").encode())
    progress.show("kernel", "done")
    assert terminal.getvalue() == "\r\x1b[Kkernel: compiling: 10 files\r\x1b[Kkernel: compiling: 20 files\nkernel: done\n"


def test_elsewhere_there_are_plain_lines_and_few_of_them() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    for done in range(101):
        progress.show("kernel", ProgressCount("unpacking", done, 100, "files").encode())
    lines = stream.getvalue().splitlines()
    assert lines[0] == "kernel: unpacking, 10 %  10 files" and lines[-1] == "kernel: unpacking, 100 %  100 files"
    assert len(lines) == 10


def test_counts_are_told_a_few_times_a_second_and_at_the_end() -> None:
    said, now = list[str](), 0.0
    counted = ProgressReporter(said.append, lambda: now).counter("fetching")
    for done in range(1, 11):
        counted(done, 10)
        now += 0.0625
    assert [decode_count(line) for line in said] == [ProgressCount("fetching", done, 10, "bytes") for done in (1, 5, 9, 10)]


def test_awss_base_images_are_pulled_ahead_listed_and_removed(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with liar() as registry:
        image = serve_base_image(registry, "aws/lambda/java", "21")
        mirror = ["--registry-mirror", f"{registry.host}/aws"]
        assert main(["images", "list", "java21", "--runtimes", "aws", *mirror, *place]) == 0
        assert "can be pulled aws" in " ".join(capsys.readouterr().out.split())
        assert main(["images", "pull", "java21", *mirror, *place]) == 0
        output = capsys.readouterr()
        assert output.out.startswith("java21 is ready: ") and "java21: pulling AWS's base image: fetching layer 1 of 1" in output.err
    assert main(["images", "list", "--json", *place]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["digest"], row["source"], row["built"]) for row in rows if row.get("runtime") == "java21"] == [
        (image.hex[:16], "aws", True)
    ]
    assert not any("image" in row for row in rows)  # nor is it a container image of the user's
    assert main(["images", "rm", "java21", *place]) == 0
    assert capsys.readouterr().out == "java21 is removed\n"
    assert main(["images", "list", "java21", *place]) == 0
    assert "pulled aws" not in " ".join(capsys.readouterr().out.split())
