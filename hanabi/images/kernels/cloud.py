"""The distribution's kernel for virtual machines: its ELF image, and an archive of the modules that a microVM needs."""

import hashlib
import lzma
import re
from dataclasses import dataclass
from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.builders.progress import ProgressReporter
from hanabi.images.kernels.bzimage import ELF, MAX_BYTES, extract_kernel
from hanabi.images.kernels.initramfs import ArchiveEntry, write_archive
from hanabi.images.runtimes.packages import Package, depends, offered, unpack_package

METAPACKAGE = "linux-image-cloud-amd64"
REVISION = 1  # raise it when something else comes from the same package
BOOT_ARGS = "i8042.noaux i8042.nomux i8042.dumbkbd"  # it would look for a keyboard and a mouse
LIST = "/modules"  # in the archive: a text file, one absolute path a line, in the order in which the agent inserts them

# Inserted in this order: devices, vsock, then the file systems of roots and code. One that the kernel has built in is passed over.
WANTED = (
    "virtio_ring", "virtio", "virtio_mmio", "virtio_blk", "failover", "net_failover", "virtio_net", "virtio_balloon", "virtio-rng",
    "vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport", "overlay", "libcrc32c", "erofs", "squashfs",
)  # fmt: skip


def find_package() -> Package:
    """Find the newest such kernel that apt offers. Raises `ImageError`."""
    return offered(depends(METAPACKAGE, r"linux-image-\d[\w.+~-]*-cloud-amd64"))


def digest_inputs(package: Package) -> str:
    """SHA-256 of all that goes into the kernel and its archive."""
    return hashlib.sha256("\0".join([str(REVISION), package.name, package.version, package.sha256, *WANTED]).encode()).hexdigest()


def make(package: Package, downloads: Path, made: Path, work: Path, lock: int, reporter: ProgressReporter) -> None:
    """Write `vmlinux` and `modules.cpio` into `made`. Raises `ImageError`."""
    laid = work / "package"
    unpack_package(package, downloads, laid, lock, reporter)
    images = sorted((laid / "boot").glob("vmlinuz-*"))
    if len(images) != 1:
        raise ImageError(f"{package.name} carries {len(images)} kernels, not one")
    reporter.say("unpacking the kernel")
    extract_kernel(images[0], made / "vmlinux", work, lock)
    modules = order(find_modules(laid), WANTED)
    (made / "modules.cpio").write_bytes(archive(modules))


@dataclass(frozen=True, slots=True)
class KernelModule:
    """A kernel module, and the names of its dependencies."""

    name: str
    content: bytes
    needs: tuple[str, ...]


def find_modules(laid: Path) -> dict[str, Path]:
    """Find all modules of an unpacked package: name -> file. Names have underscores, as in the kernel."""
    folders = [folder for top in ("lib", "usr/lib") for folder in (laid / top / "modules").glob("*/kernel")]
    return {_name(path.name): path for folder in folders for path in folder.rglob("*.ko*") if path.is_file()}


def _name(file: str) -> str:
    return file.partition(".ko")[0].replace("-", "_")


def order(found: dict[str, Path], wanted: tuple[str, ...]) -> list[KernelModule]:
    """Order the wanted modules, each after its dependencies. Raises `ImageError` when none is found."""
    ordered: dict[str, KernelModule] = {}

    def add(name: str) -> None:
        file = found.get(name)
        if file is None or name in ordered:  # built in, or there already; modules never need each other in a circle
            return
        module = read_module(name, file)
        for each in module.needs:
            add(each)
        ordered[name] = module

    for name in wanted:
        add(_name(name))
    if not ordered:
        raise ImageError("the package carries none of the modules that a microVM needs")
    return list(ordered.values())


def read_module(name: str, file: Path) -> KernelModule:
    """Read a module and its .modinfo section. Raises `ImageError`."""
    content = file.read_bytes()
    try:
        if file.suffix == ".xz":  # as later releases pack them; the agent inserts plain ones
            content = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(content, MAX_BYTES)
    except lzma.LZMAError as error:
        raise ImageError(f"{file.name} does not unpack: {error}") from None
    match = re.search(rb"\0depends=([^\0]*)\0", content)
    if match is None or not content.startswith(ELF):
        raise ImageError(f"{file.name} is no kernel module")
    return KernelModule(name, content, tuple(_name(each) for each in match[1].decode("ascii", "replace").split(",") if each))


def archive(modules: list[KernelModule]) -> bytes:
    """Make an initramfs with the modules and their list."""
    paths = [f"/lib/modules/{module.name}.ko" for module in modules]
    entries = [ArchiveEntry(path, module.content) for path, module in zip(paths, modules, strict=True)]
    return write_archive([*entries, ArchiveEntry(LIST, "".join(f"{path}\n" for path in paths).encode())])
