"""Guest kernels: what is taken out of packages, how the chosen one is kept and found, and what is refused."""

import gzip
import lzma
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from hanabi.errors import ImageError
from hanabi.images.kernels import cloud, kernel_source
from hanabi.images.kernels.builder import KernelBuilder
from hanabi.images.kernels.bzimage import check_elf, extract_kernel
from hanabi.images.kernels.initramfs import ArchiveEntry, write_archive
from hanabi.images.kernels.paths import describe_kernel, find_kernel, install_initrd, list_kernels, remove_kernels

KERNEL = b"\x7fELF\x02\x01".ljust(16, b"\0") + struct.pack("<HH", 2, 62) + b"a kernel" * 100


def unpack_archive(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Name -> (mode, content), in order, of a newc archive, as the kernel reads it."""
    found, at = {}, 0
    while at < len(data):
        assert data[at : at + 6] == b"070701" and at % 4 == 0
        numbers = [int(data[at + 6 + 8 * index : at + 14 + 8 * index], 16) for index in range(13)]
        size, length = numbers[6], numbers[11]
        name = data[at + 110 : at + 110 + length - 1].decode()
        assert data[at + 110 + length - 1] == 0
        begin = (at + 110 + length + 3) // 4 * 4
        if name != "TRAILER!!!":
            found[name] = (numbers[1], data[begin : begin + size])
        at = (begin + size + 3) // 4 * 4
    return found


def bzimage(payload: bytes, *, version: int = 0x20F) -> bytes:
    """A bzImage that is right as far as it goes, with `payload` as its kernel."""
    header = bytearray(1024 + 512)
    header[0x1F1] = 2  # sectors of the setup after the first
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", header, 0x206, version)
    struct.pack_into("<II", header, 0x248, 64, len(payload) + 4)
    return bytes(header) + b"\0" * 64 + payload + struct.pack("<I", len(KERNEL))


# --- the fragment -----------------------------------------------------------------------------------------------------


def test_every_group_of_the_configuration_has_its_reason() -> None:
    """A group begins with a comment, and no setting is there twice."""
    text = kernel_source.FRAGMENT.read_text()
    groups = text.strip().split("\n\n")[1:]  # the first says what the file is
    assert len(groups) > 10
    settings = [name for group in groups for name in kernel_source.merge([group])]
    assert len(settings) == len(set(settings))
    for group in groups:
        first, *rest = group.splitlines()
        assert first.startswith("# ") and not first.startswith("# CONFIG_"), first
        assert rest and len(kernel_source.merge([group])) == len(rest), group


def test_a_later_setting_wins() -> None:
    assert kernel_source.merge(["CONFIG_A=y\nCONFIG_B=y\n# words\n", '# CONFIG_A is not set\nCONFIG_C="x"\n']) == {
        "CONFIG_A": "n",
        "CONFIG_B": "y",
        "CONFIG_C": '"x"',
    }


def test_a_setting_that_does_not_come_out_as_wanted_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("tinyconfig:\n\techo CONFIG_A=n >.config\nolddefconfig:\n\tsed -i '/CONFIG_B/d' .config\n")
    with pytest.raises(ImageError, match="CONFIG_B is n, not y$"):
        kernel_source.configure(tmp_path, ["CONFIG_A=y\nCONFIG_B=y\n"], lock=1)
    kernel_source.configure(tmp_path, ["CONFIG_A=y\n"], lock=1)


def test_all_that_a_build_needs_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_source, "TOOLS", {"sh": "dash", "no-such-program": "b-package", "nor-this": "a-package"})
    monkeypatch.setattr(kernel_source, "HEADERS", {"/nonexistent.h": "c-package"})
    with pytest.raises(ImageError, match="sudo apt-get install a-package b-package c-package$"):
        kernel_source.need_tools()


# --- what is in packages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "packed",
    [KERNEL, gzip.compress(KERNEL), lzma.compress(KERNEL), lzma.compress(KERNEL, lzma.FORMAT_ALONE)],
    ids=["as it is", "gzip", "xz", "lzma"],
)
def test_the_kernel_is_taken_out_of_a_bzimage(tmp_path: Path, packed: bytes) -> None:
    (tmp_path / "vmlinuz").write_bytes(bzimage(packed))
    extract_kernel(tmp_path / "vmlinuz", tmp_path / "vmlinux", tmp_path, lock=1)
    assert (tmp_path / "vmlinux").read_bytes() == KERNEL


@pytest.mark.parametrize(("program", "options"), [("lz4", ["-l"]), ("zstd", [])])
def test_a_kernel_that_programs_unpack(tmp_path: Path, program: str, options: list[str]) -> None:
    if not shutil.which(program):
        pytest.skip(f"needs {program}")
    packed = subprocess.run([program, *options, "-c"], input=KERNEL, capture_output=True, check=True).stdout
    (tmp_path / "vmlinuz").write_bytes(bzimage(packed))
    extract_kernel(tmp_path / "vmlinuz", tmp_path / "vmlinux", tmp_path, lock=1)
    assert (tmp_path / "vmlinux").read_bytes() == KERNEL


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no bzImage"),
        (b"\0" * 4096, "no bzImage"),
        (bzimage(KERNEL)[:1600], "cut short"),
        (bzimage(KERNEL, version=0x200), "boot protocol 0x200"),
        (bzimage(b"????" + KERNEL), "unknown way: 3f3f3f3f"),
        (bzimage(gzip.compress(KERNEL)[:10] + b"x" * 99), "does not unpack"),
        (bzimage(gzip.compress(b"no ELF" * 100)), "no 64-bit ELF file"),
    ],
)
def test_what_is_no_bzimage_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "vmlinuz").write_bytes(content)
    with pytest.raises(ImageError, match=message):
        extract_kernel(tmp_path / "vmlinuz", tmp_path / "vmlinux", tmp_path, lock=1)


def test_only_a_kernel_of_this_machine_will_do(tmp_path: Path) -> None:
    (tmp_path / "arm").write_bytes(KERNEL[:18] + struct.pack("<H", 183) + KERNEL[20:])
    with pytest.raises(ImageError, match="no executable for x86_64"):
        check_elf(tmp_path / "arm")


def module(name: str, *needs: str) -> bytes:
    return b"\x7fELF" + b"\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=" + name.encode() + b"\0"


def test_modules_come_after_those_that_they_need(tmp_path: Path) -> None:
    folder = tmp_path / "lib/modules/6.1/kernel/drivers"
    folder.mkdir(parents=True)
    (folder / "virtio_blk.ko").write_bytes(module("virtio_blk", "virtio", "virtio-core"))
    (folder / "virtio.ko").write_bytes(module("virtio", "virtio_core"))
    (folder / "virtio-core.ko.xz").write_bytes(lzma.compress(module("virtio_core")))
    (folder / "of_no_use.ko").write_bytes(module("of_no_use"))
    found = cloud.find_modules(tmp_path)
    modules = cloud.order(found, ("virtio-blk", "built_in", "virtio"))
    assert [each.name for each in modules] == ["virtio_core", "virtio", "virtio_blk"]
    files = unpack_archive(cloud.archive(modules))
    paths = [f"/lib/modules/{each.name}.ko" for each in modules]
    assert files["modules"] == (0o100644, "".join(f"{path}\n" for path in paths).encode())
    assert files[paths[0].lstrip("/")] == (0o100644, module("virtio_core"))
    with pytest.raises(ImageError, match="none of the modules"):
        cloud.order(found, ("built_in",))


def test_what_is_no_module_is_refused(tmp_path: Path) -> None:
    for name, content in (("a.ko", b"\x7fELF nothing"), ("a.ko.xz", b"no xz"), ("a.ko.zst", module("a")[4:])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=name):
            cloud.read_module("a", tmp_path / name)


def test_an_archive_has_the_directories_of_its_files() -> None:
    files = unpack_archive(
        write_archive([ArchiveEntry("/a/b/c", b"12345", 0o755), ArchiveEntry("/a/d", None, 0o700), ArchiveEntry("/e", b"")])
    )
    assert list(files.items()) == [
        ("a", (0o40755, b"")),
        ("a/b", (0o40755, b"")),
        ("a/b/c", (0o100755, b"12345")),
        ("a/d", (0o40700, b"")),
        ("e", (0o100644, b"")),
    ]


# --- the kernel that is used --------------------------------------------------------------------------------------------


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    (tmp_path / "agent").write_bytes(b"the agent")
    return tmp_path / "agent"


def build_file(images: Path, content: bytes) -> Path:
    images.parent.mkdir(exist_ok=True)
    given = images.parent / "given"
    given.write_bytes(content)
    return KernelBuilder(images, print).build_file(given)


def test_the_last_one_that_was_asked_for_is_used(tmp_path: Path, agent: Path) -> None:
    images = tmp_path / "images"
    with pytest.raises(ImageError, match="there is no guest kernel: hanabi images build kernel"):
        find_kernel(images, agent)
    first, second = build_file(images, KERNEL), build_file(images, KERNEL + b"2")
    assert find_kernel(images, agent).image == second / "vmlinux"
    assert build_file(images, KERNEL) == first
    kernel = find_kernel(images, agent)
    assert (kernel.name, kernel.image, kernel.initrd, kernel.boot_args_extra) == ("file", first / "vmlinux", None, "")
    assert kernel.image.read_bytes() == KERNEL and len(kernel.digest) == 64
    assert [row.chosen for row in list_kernels(images)] == [True, False]
    assert describe_kernel(images) == f"file given in {first}"
    assert remove_kernels(images) and not remove_kernels(images)
    assert list_kernels(images) == [] and not list((images / "building").iterdir())


def test_a_kernel_that_was_changed_is_not_used(tmp_path: Path, agent: Path) -> None:
    place = build_file(tmp_path / "images", KERNEL)
    (place / "vmlinux").write_bytes(KERNEL[:-1] + b"!")
    with pytest.raises(ImageError, match="was changed or is damaged"):
        find_kernel(tmp_path / "images", agent)
    (place / "about.json").write_text("{")
    with pytest.raises(ImageError, match="is damaged"):
        find_kernel(tmp_path / "images", agent)


def test_a_file_may_be_named_instead(tmp_path: Path, agent: Path) -> None:
    (tmp_path / "mine").write_bytes(KERNEL)
    kernel = find_kernel(tmp_path / "images", agent, tmp_path / "mine")
    assert kernel.image == tmp_path / "mine" and not (tmp_path / "images").exists()
    for given, message in ((tmp_path / "none", "there is no guest kernel"), (agent, "no 64-bit ELF")):
        with pytest.raises(ImageError, match=message):
            find_kernel(tmp_path / "images", agent, given)


def test_the_initramfs_is_made_for_each_agent(tmp_path: Path, agent: Path) -> None:
    modules = write_archive([ArchiveEntry("/modules", b"")])
    first = install_initrd(tmp_path / "images", agent, modules)
    assert install_initrd(tmp_path / "images", agent, modules) == first
    assert unpack_archive(first.read_bytes()) == {"modules": (0o100644, b""), "init": (0o100755, b"the agent")}
    agent.write_bytes(b"another agent")
    second = install_initrd(tmp_path / "images", agent, modules)
    assert second != first
    second.write_bytes(b"half")  # as a power cut might leave it
    assert unpack_archive(install_initrd(tmp_path / "images", agent, modules).read_bytes())["init"] == (0o100755, b"another agent")


def test_what_killed_builders_left_is_swept(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name in ("own-dead/work/source", "own-alive"):
        (images / "building" / name).mkdir(parents=True)
    (images / "locks").mkdir()
    (images / "locks/own-dead").touch()
    holder = subprocess.Popen(
        ["flock", images / "locks/own-alive", "sh", "-c", "echo held; exec sleep 300"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    try:
        build_file(images, KERNEL)
        assert [path.name for path in (images / "building").iterdir()] == ["own-alive"]
    finally:
        os.killpg(holder.pid, 9)
        holder.wait(10)
        holder.stdout.close()


def test_the_builder_says_in_a_line_why_it_failed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hanabi.images.kernels.builder", str(tmp_path / "images")]
    for arguments, message in ((["file", "/nonexistent"], "is no file of at most"), (["other"], "there is no kernel other")):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
