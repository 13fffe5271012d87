"""Each kind of guest kernel boots, with its modules where it has any, and can what a microVM needs: in QEMU's `microvm`, emulated.

QEMU tells its devices as Firecracker does, by ACPI or by the command line. That a kernel boots under Firecracker takes KVM.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from hanabi.errors import ImageError
from hanabi.images.kernels import cloud, kernel_source
from hanabi.images.kernels.builder import KernelBuilder
from hanabi.images.kernels.paths import find_kernel, install_initrd, kernel_path
from hanabi.images.paths import is_whole
from tests.microvm import kernel as test_kernel
from tests.microvm.cache import CACHE

IMAGES = CACHE / "images"
BOOT_S = 600.0
CLOCK = "tsc_early_khz=2100000"  # with ACPI this machine has no timer to measure the clock by; KVM would tell the kernel
MOUNTED = ("proc", "sysfs", "cgroup2", "erofs", "squashfs", "ext4", "tmpfs", "overlay")
pytestmark = [
    pytest.mark.skipif(
        not shutil.which("qemu-system-x86_64"), reason="needs qemu-system-x86_64: kernels are booted in an emulated machine"
    ),
    pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc: the guest's first process is compiled"),
]


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("init") / "init"
    subprocess.run(["gcc", "-static", "-O2", "-Wall", "-Werror", "-o", program, Path(__file__).with_name("init.c")], check=True)
    return program


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One file system of each kind, with the same file."""
    directory = tmp_path_factory.mktemp("drives")
    (directory / "tree").mkdir()
    (directory / "tree/hello").write_text("hello\n")
    made = [directory / name for name in ("erofs", "squashfs", "ext4")]
    commands: tuple[list[str | Path], ...] = (
        ["mkfs.erofs", "-zlz4hc", made[0], directory / "tree"],
        ["mksquashfs", directory / "tree", made[1], "-comp", "zstd", "-quiet"],
        ["mke2fs", "-q", "-t", "ext4", "-d", directory / "tree", made[2], "8M"],
    )
    for command in commands:
        program = shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
        if program is None:
            pytest.skip(f"needs {command[0]}")
        subprocess.run([program, *command[1:]], check=True, stdout=subprocess.DEVNULL)
    return made


def boot(kernel: Path, initrd: Path, drives: list[Path], *, acpi: bool, arguments: str) -> list[str]:
    """What the guest says until it restarts, which ends the machine."""
    machine = f"microvm,acpi={'on' if acpi else 'off'},rtc=on"
    command: list[str | Path] = ["qemu-system-x86_64", "-M", machine, "-accel", "tcg", "-cpu", "max", "-m", "256", "-nodefaults"]
    command += ["-no-user-config", "-nographic", "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd]
    command += ["-append", f"console=ttyS0 reboot=t panic=-1 quiet {CLOCK} {arguments}"]
    for number, drive in enumerate(drives):
        command += ["-drive", f"id=d{number},file={drive},format=raw,if=none,readonly=on"]
        command += ["-device", f"virtio-blk-device,drive=d{number}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BOOT_S)
    assert done.returncode == 0, done.stderr
    return [line.rstrip() for line in done.stdout.splitlines()]


def check(said: list[str]) -> None:
    """The guest has all that a microVM needs."""
    for kind in MOUNTED:
        assert f"mount {kind}: ok" in said, "\n".join(said)
    for place in ("erofs", "squashfs", "ext4", "merged"):
        assert f"{place}/hello: hello" in said, "\n".join(said)
    controllers = next(line for line in said if line.startswith("/sys/fs/cgroup/cgroup.controllers: ")).split()[1:]
    assert {"cpu", "memory", "pids"} <= set(controllers)
    assert "vsock: ok" in said and "inet: ok" in said and said[-1] != "", "\n".join(said)


def test_the_distributions_kernel_with_its_modules(init: Path, drives: list[Path]) -> None:
    try:
        KernelBuilder(IMAGES, print).build_cloud()
    except ImageError as error:
        pytest.skip(f"the distribution's kernel cannot be had: {error}")
    kernel = find_kernel(IMAGES, init)
    assert kernel.initrd
    said = boot(kernel.image, kernel.initrd, drives, acpi=True, arguments=kernel.boot_args_extra)
    inserted = [line for line in said if line.startswith("/lib/modules/")]
    assert len(inserted) == len(cloud.WANTED) and all(line.endswith(": ok") for line in inserted), inserted
    check(said)


def test_our_own_kernel(init: Path, drives: list[Path]) -> None:
    try:
        digest = kernel_source.digest_inputs(kernel_source.find_source(), [kernel_source.FRAGMENT.read_text()])
    except ImageError as error:
        pytest.skip(f"its source cannot be had: {error}")
    place = kernel_path(IMAGES, "own", digest)
    if not is_whole(place):
        pytest.skip(f"it takes minutes to build: hanabi images build kernel --images-dir {IMAGES}")
    for acpi in (True, False):
        check(boot(place / "vmlinux", install_initrd(IMAGES, init), drives, acpi=acpi, arguments=""))


def test_the_kernel_for_tests(init: Path, drives: list[Path]) -> None:
    place = test_kernel.kernel_path()
    if place is None or not is_whole(place):
        pytest.skip("it takes minutes to build: python -m tests.microvm.kernel")
    check(boot(place / "vmlinux", install_initrd(IMAGES, init), drives, acpi=False, arguments=""))
