"""Images that sandboxes start from: runtime images, guest kernels, Firecracker."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeImage:
    """A runtime root, ready to run. Built once, read-only, shared by all environments and drivers."""

    runtime: str  # "python3.11"; "image" for a container image of the user's
    digest: str
    root: Path  # read-only root directory with empty /var/task, /var/task/lib, /opt, /opt/lib, /var/runtime, /tmp, /dev, /proc
    runtime_dir: Path | None  # becomes /var/runtime: the bundled bootstrap; None: /var/runtime is the root's own
    bootstrap_dir: Path | None = None  # becomes /.hanabi: the bundled bootstrap, where /var/runtime is the root's own
    command: tuple[str, ...]  # starts the bundled bootstrap; empty: OS-only, run /var/task/bootstrap (or /opt/bootstrap), or ...
    own_bootstrap: str = ""  # ... this program of the root, which speaks HTTP to the Runtime API and knows of wrapper scripts
    environment: Mapping[str, str]  # LANG, PATH, LD_LIBRARY_PATH, TZ, AWS_EXECUTION_ENV, ...
    version_arn: str  # for INIT_START; empty: there is none
    clonable: bool = False  # its bootstrap may be part of a snapshot: it makes itself another one in each clone
    for_copies: "RuntimeImage | None" = (
        None  # the same with a bootstrap whose process can be copied (SnapStart in containers), if its own cannot
    )
    heap_sized: bool = False  # its interpreter takes the size of its heap at its start, so it is started for one size of memory
    entry_point: tuple[str, ...] = ()  # of a container image: what is started unless the function says otherwise ...
    arguments: tuple[str, ...] = ()  # ... with these words after it ...
    working_directory: str = "/"  # ... in this directory


@dataclass(frozen=True, slots=True)
class GuestKernel:
    """The kernel that a microVM boots: an ELF kernel, and, if it needs modules, an initramfs with them and the agent as /init.

    In that initramfs the text file /modules lists modules by absolute path, one a line, in the order in which they are inserted.
    """

    name: str  # "own", "cloud" or "file": how it came
    version: str  # for people: the package's
    digest: str  # SHA-256 of all the bytes that boot, in hexadecimal
    image: Path
    initrd: Path | None
    boot_args_extra: str  # added to the command line; may be empty


@dataclass(frozen=True, slots=True)
class Firecracker:
    """The pair of programs that run microVMs, of one version."""

    version: tuple[int, int, int]
    firecracker: Path
    jailer: Path
