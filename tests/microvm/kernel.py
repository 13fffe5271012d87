"""The kernel for microVM tests on a host whose KVM is nested in software: `python -m tests.microvm.kernel` makes it and prints its path.

There an unmodified kernel does not boot, so this one has three small changes, made here to the unpacked source. It is the product's
kernel otherwise (`hanabi/images/kernels/microvm.config` with `nested.config` over it), and never shipped.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hanabi.cli.progress import Progress
from hanabi.errors import ImageError
from hanabi.images.builders.progress import ProgressReporter
from hanabi.images.builders.staging import staged_directory
from hanabi.images.kernels import kernel_source
from hanabi.images.paths import describe, is_whole
from hanabi.images.runtimes.packages import Package
from tests.microvm.cache import CACHE, place

FRAGMENTS = (kernel_source.FRAGMENT, Path(__file__).parent / "nested.config")
BOOT_ARGS = (
    "console=ttyS0 reboot=k panic=1 8250.nr_uarts=1 random.trust_cpu=on mitigations=off tsc=reliable no_timer_check lpj=4000000 quiet "
    "lapic=notscdeadline noxsave clearcpuid=popcnt,smap"
)
# PUT /cpu-config: leaf 1, ecx without CX16 (13), POPCNT (23) and XSAVE (26).
CPU_TEMPLATE = {
    "kvm_capabilities": [],
    "cpuid_modifiers": [
        {
            "leaf": "0x1",
            "subleaf": "0x0",
            "flags": 0,
            "modifiers": [{"register": "ecx", "bitmap": "0bxxxxx0xx0xxxxxxxxx0xxxxxxxxxxxxx"}],
        }
    ],
    "msr_modifiers": [],
}
# The guest's kernel saves no AVX state, which its processes would find and use: in the environment of each of them.
GLIBC_TUNABLES = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load,-XSAVE,-XSAVEC,-ERMS,-FSRM"

PATIENCE = 10  # such a guest runs its kernel some hundred times slower, and others use the host meanwhile


@dataclass(frozen=True, slots=True)
class Edit:
    """One place of the source that is changed; `old` is there exactly once."""

    file: str
    old: str
    new: str
    why: str


EDITS = (
    Edit(
        "arch/x86/kernel/alternative.c",
        "\tint3_selftest();\n",
        "\t(void)int3_selftest;\n",
        "the emulator has no int3",
    ),
    Edit(
        "arch/x86/mm/fault.c",
        "\tprefetchw(&current->mm->mmap_lock);\n\n\t/*\n\t * KVM uses #PF vector",
        """\tif (unlikely(user_mode(regs) && address == (unsigned long)entry_SYSCALL_64 && regs->ip == address)) {
\t\tint nr = (int)regs->ax;

\t\tregs->ip = regs->cx;
\t\tregs->flags = regs->r11;
\t\tregs->orig_ax = regs->ax;
\t\tregs->ax = -ENOSYS;
\t\tdo_syscall_64(regs, nr);
\t\treturn;
\t}

\tprefetchw(&current->mm->mmap_lock);\n\n\t/*\n\t * KVM uses #PF vector""",
        "SYSCALL arrives as the page fault of a user who jumped to its entry",
    ),
    Edit(
        "arch/x86/kernel/fpu/core.c",
        'asm volatile("1: fwait\\n"',
        'asm volatile("1: nop\\n"',
        "the emulator has no fwait",
    ),
    Edit(
        "arch/x86/kernel/fpu/core.c",
        '\t\t\t"fnclex\\n\\t"\n\t\t\t"emms\\n\\t"',
        '\t\t\t"emms\\n\\t"',
        "nor fnclex, which some processors' kernels need when they save state",
    ),
)


def apply_edits(tree: Path) -> None:
    """Raises `ImageError` when a place to change is not found: the source is another one than this was written for."""
    for edit in EDITS:
        file = tree / edit.file
        text = file.read_text()
        if text.count(edit.old) != 1:
            raise ImageError(f"{edit.file} has {text.count(edit.old)} places to change, not one ({edit.why}): {edit.old.strip()[:60]!r}")
        file.write_text(text.replace(edit.old, edit.new))


def ensure_kernel(progress: Callable[[str], None] = print) -> Path:
    """The kernel, from the cache or built now (five minutes on two cores). Raises `ImageError` with what is missing."""
    install_packages(progress)
    package, fragments = kernel_source.find_source(), [path.read_text() for path in FRAGMENTS]
    made_for = _place(package, fragments)
    if not is_whole(made_for):
        reporter, started = ProgressReporter(progress), time.monotonic()
        with staged_directory(CACHE, made_for, progress) as (made, lock):
            if made is not None:
                work = made / "work"
                work.mkdir()
                tree = kernel_source.unpack_source(package, CACHE / "downloads", work, lock, reporter)
                apply_edits(tree)
                kernel_source.configure(tree, fragments, lock)
                kernel_source.compile_kernel(tree, made / "vmlinux", lock, reporter)
                shutil.rmtree(work)
                describe(made, version=package.version)
                progress(f"{package.version} built in {time.monotonic() - started:.0f} s")
    write_profile(made_for)
    return made_for / "vmlinux"


def write_profile(made_for: Path) -> None:
    """What Hanabi must be told of this kernel, where it looks for it: `hanabi up --kernel` of a file with a profile beside it."""
    profile = {
        "boot_args": BOOT_ARGS,
        "cpu_template": CPU_TEMPLATE,
        "environment": {"GLIBC_TUNABLES": GLIBC_TUNABLES},
        "patience": PATIENCE,
    }
    draft = made_for / f"profile-{os.getpid()}"
    draft.write_text(json.dumps(profile))
    draft.rename(made_for / "vmlinux.json")


def kernel_path() -> Path | None:
    """Where the kernel is or would be; None when its source cannot be had."""
    try:
        return _place(kernel_source.find_source(), [path.read_text() for path in FRAGMENTS])
    except ImageError:
        return None


def _place(package: Package, fragments: list[str]) -> Path:
    return place("kernel", kernel_source.digest_inputs(package, fragments, repr(EDITS)))


def install_packages(progress: Callable[[str], None]) -> None:
    """What the build needs, when root and when something is missing."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    if missing := kernel_source.missing_packages():
        progress(f"installing {' '.join(missing)}")
        command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
        subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, timeout=600)


if __name__ == "__main__":
    print(ensure_kernel(partial(Progress(sys.stderr).show, "test kernel")))
