"""Building the guest kernel: the distribution's source, a tiny configuration, and the additions of `microvm.config`."""

import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.builders.programs import SEARCHED, ask, feed_file, run, run_with_output
from hanabi.images.builders.progress import ProgressReporter
from hanabi.images.kernels.bzimage import check_elf
from hanabi.images.runtimes.packages import Package, installed_version, offered, unpack_package

RELEASE = "6.12"  # long-term; supported Debian releases carry it
PACKAGE = f"linux-source-{RELEASE}"
REVISION = 1  # raise it when another kernel comes from the same source and fragments
FRAGMENT = Path(__file__).parent / "microvm.config"
TOOLS = {"make": "make", "gcc": "gcc", "ld": "binutils", "flex": "flex", "bison": "bison", "bc": "bc", "xz": "xz-utils", "perl": "perl"}
HEADERS = {"/usr/include/libelf.h": "libelf-dev"}
_SETTING = re.compile(r"(?:# )?(CONFIG_\w+)(?:=(.*)| is not set)")
# Reproducible builds: a kernel with its builder and build time would differ each time.
_ANONYMOUS = ("KBUILD_BUILD_TIMESTAMP=1970-01-01", "KBUILD_BUILD_USER=hanabi", "KBUILD_BUILD_HOST=hanabi", "KBUILD_BUILD_VERSION=1")


def find_source() -> Package:
    """Find the source package: the installed one, else the one that apt offers. Raises `ImageError`."""
    if (version := installed_version(PACKAGE)) and _installed_archive().is_file():
        return Package(PACKAGE, version)
    return offered(PACKAGE)


def _installed_archive() -> Path:
    return Path("/usr/src") / f"{PACKAGE}.tar.xz"


def digest_inputs(package: Package, fragments: Sequence[str], extra: str = "") -> str:
    """SHA-256 of all that goes into the kernel, the compiler's version included."""
    parts = [str(REVISION), platform.machine(), package.name, package.version, ask(["gcc", "-dumpfullversion"]) or "", extra]
    return hashlib.sha256("\0".join([*parts, *fragments]).encode()).hexdigest()


def need_tools() -> None:
    """Raise `ImageError` with the fix when a build tool is absent."""
    if missing := missing_packages():
        raise ImageError(f"what kernels are built with is not all there: sudo apt-get install {' '.join(missing)}")


def missing_packages() -> list[str]:
    """The packages of absent build tools."""
    missing = {package for program, package in TOOLS.items() if not shutil.which(program, path=SEARCHED)}
    return sorted(missing | {package for header, package in HEADERS.items() if not Path(header).is_file()})


def unpack_source(package: Package, downloads: Path, work: Path, lock: int, reporter: ProgressReporter) -> Path:
    """Unpack the source tree into `work` and return it. Raises `ImageError`."""
    archive = _installed_archive()
    if installed_version(PACKAGE) != package.version or not archive.is_file():
        laid = work / "package"
        unpack_package(package, downloads, laid, lock, reporter)
        archive = laid / "usr" / "src" / archive.name
    tree = work / "source"
    tree.mkdir()
    feed_file(
        archive, ["tar", "-x", "-J", "--strip-components=1", "-C", tree], lock=lock, counted=reporter.counter("unpacking the kernel source")
    )
    return tree


def configure(tree: Path, fragments: Sequence[str], lock: int) -> None:
    """Configure by `make tinyconfig` and the fragments; later ones override earlier ones.

    Raises `ImageError` when a setting does not come out as wanted.
    """
    run(["make", "tinyconfig"], cwd=tree, lock=lock)
    wanted = merge(fragments)
    lines = [f"{name}={value}" if value != "n" else f"# {name} is not set" for name, value in wanted.items()]
    with (tree / ".config").open("a") as config:  # the last word on a setting counts
        config.write("\n".join(["", *lines, ""]))
    run(["make", "olddefconfig"], cwd=tree, lock=lock)
    got = merge([(tree / ".config").read_text()])
    wrong = [f"{name} is {got.get(name, 'n')}, not {value}" for name, value in wanted.items() if got.get(name, "n") != value]
    if wrong:
        raise ImageError(f"the kernel's configuration does not come out as wanted: {'; '.join(wrong)}")


def merge(texts: Iterable[str]) -> dict[str, str]:
    """Merge configuration files to name -> value ("n": not set); later ones override earlier ones."""
    settings = {}
    for text in texts:
        for line in text.splitlines():
            if match := _SETTING.fullmatch(line):
                settings[match[1]] = match[2] or "n"
    return settings


def compile_kernel(tree: Path, made: Path, lock: int, reporter: ProgressReporter) -> None:
    """Compile, and write the stripped kernel to `made`. Raises `ImageError`."""
    count, counted = 0, reporter.counter("compiling the kernel", unit="files")

    def line(text: str) -> None:
        nonlocal count
        if text.startswith(("  CC ", "  AS ")):
            count += 1
            counted(count, None)

    jobs = len(os.sched_getaffinity(0))
    run_with_output(["nice", "make", f"-j{jobs}", *_ANONYMOUS, "vmlinux"], cwd=tree, lock=lock, line=line)
    run(["strip", "--strip-debug", "-o", made, tree / "vmlinux"], lock=lock)
    check_elf(made)
