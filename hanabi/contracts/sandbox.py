"""The isolation interface: drivers, and the sandboxes that they make."""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hanabi.contracts.images import RuntimeImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """A process that a sandbox may start ahead of time: a bootstrap that waits for its function.

    A driver that waits until it has loaded starts it with the variables `announce` too: then it says `loaded` on the runtime channel.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    announce: Mapping[str, str]
    loaded: bytes
    cwd: str = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """The specification of a sandbox. It knows nothing of functions."""

    id: str  # [a-z0-9-]{1,40}
    image: RuntimeImage
    memory_mb: int  # cap on memory, processes' and page cache alike
    tmp_mb: int  # size of /tmp, on disk
    mounts: tuple[tuple[Path, str], ...] = ()  # (host directory, target), read-only, nosuid, nodev
    snapshot: Path | None = None  # a function's own: what `Sandbox.snapshot` wrote
    background: bool = False  # no invocation waits for it: where the driver can, it gets only idle CPU time, until `Sandbox.limit`
    preload: Preload | None = None  # what it may come with, as role "runtime"; `Sandbox.preloaded` says whether it did


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a process: `status` when it exited, `signal` when it was killed."""

    role: str
    status: int | None
    signal: int | None
    bytes_read: int | None = None  # of the runtime in a microVM: bytes of the runtime channel, since it was opened, that it has read


class Sandbox(Protocol):
    """One isolated sandbox; at first only the agent runs in it."""

    id: str
    runtime: socket.socket  # host end of the runtime channel (stream), owned by the channel once opened; the child has the other as fd 4
    logs: int  # read end, non-blocking, of the pipe that is the processes' stdout and stderr
    runtime_api: socket.socket  # listening socket: what is accepted here comes from inside, and only from there
    edge: socket.socket  # the same for the AWS endpoint
    runtime_api_address: str  # as seen inside: "127.0.0.1:9001"
    edge_address: str  # as seen inside: "127.0.0.1:9002"
    preloaded: bool  # whether the spec's `preload` runs already
    memory_limit_mb: int | None  # a function that needs more does not fit this sandbox; None: `limit` may set any
    copies_process: bool  # a `snapshot` is of its runtime's process alone, which stops itself for it; see `restore_process`
    task_root: str  # as seen inside: "/var/task", but in the `process` driver, which cannot mount
    on_exit: Callable[[Exit], None]  # set by the owner; called on the loop for each started process that ended;
    # role "sandbox" when the sandbox itself is gone

    async def start(self, role: str, argv: Sequence[str], environment: Mapping[str, str], cwd: str, *, output: int | None = None) -> None:
        """Start a process as the function's user. Raises `EntrypointError` when it cannot be executed.

        `output`: the write end of a pipe, for its stdout and stderr where the driver can hand it over; else they are `logs`.
        """

    async def connect(self, port: int) -> socket.socket:
        """Connect to a TCP port of 127.0.0.1 inside; non-blocking, the caller's. Raises `OSError`, `SandboxError`."""

    async def kill_processes(self) -> None:
        """SIGKILL every process but the agent; returns when all have ended."""

    async def reset(self) -> None:
        """Kill as `kill_processes`, and make `runtime` anew, so that no bytes of an earlier process stay in the channel.
        What is mounted, and /tmp, stay. Raises `SandboxError`."""

    def signal(self, role: str, signum: int) -> None:
        """Send a signal to a started process; one that has ended is no error."""

    def freeze(self) -> None:
        """Stop all CPU use. One write, no wait."""

    def thaw(self) -> None:
        """Undo `freeze`."""

    def limit(self, *, memory_mb: int, vcpus: float | None) -> None:
        """Set the memory cap and the CPU share (None: unthrottled)."""

    async def trim(self) -> None:
        """Give memory back to the host, as far as the driver can; called while idle, frozen or not. An invocation may arrive meanwhile."""

    def peak_memory(self) -> int:
        """Peak memory of its processes since the last `reset_peak`, bytes: files that they map included, whichever sandbox read them first;
        page cache alone is not. One pread, and more when it has grown."""

    def reset_peak(self) -> None: ...

    def cpu_usage(self) -> int:
        """CPU time used so far, microseconds."""

    def oom_kills(self) -> int:
        """How many processes the memory cap has killed so far."""

    async def mount(self, source: Path, target: str) -> None:
        """Mount a host directory read-only, nosuid, nodev into the running sandbox."""

    async def share(self, source: Path, target: str) -> None:
        """Mount a host directory read-write, nosuid, nodev on a new directory in /mnt; the function is its owner. Raises `SandboxError`."""

    async def reach(self, networks: Sequence[str]) -> None:
        """Open networks (CIDR) of the host to it, which are closed otherwise, until its end. Raises `SandboxError`."""

    async def snapshot(self, directory: Path) -> None:
        """Write a snapshot, running processes included, into a new directory; only `destroy` may follow. Raises `SandboxError`."""

    async def restore_process(self, directory: Path) -> None:
        """Start a copy of the process that `snapshot` wrote, as role "runtime". It runs no process yet, and has the same directories
        mounted as that one had. Raises `SnapshotUnusable`, `SandboxError`."""

    async def destroy(self) -> None:
        """Kill all processes and release mounts, cgroups and slots. Idempotent; never raises for what is gone already."""


class Driver(Protocol):
    """An isolation driver: `firecracker`, `oci`, `process`."""

    name: str
    overhead_mb: int  # of host memory that a sandbox takes besides its own
    pool_memory_mb: int  # of a sandbox that is made before its function is known
    can_snapshot: bool  # whether `Sandbox.snapshot` can work at any time, and `create` from what it wrote
    copies_processes: bool  # see `Sandbox.copies_process`
    shares_directories: bool  # whether `Sandbox.share` can work
    has_networks: bool  # whether `Sandbox.reach` can: each sandbox has a network of its own
    uses_roots: bool  # whether what runs inside sees its image's root; else container images cannot run, and the host's interpreters do

    def describe(self) -> str:
        """Describe the driver and why it was chosen, for the ready line."""

    async def why_unavailable(self, runtime: str) -> str:
        """Why a runtime's functions cannot run here, with the fix; empty: they can."""

    async def open(self) -> None:
        """Clean up after an earlier run, then make ready. Raises `IsolationUnavailable` with the fix."""

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox, unthrottled, with its agent running. Raises `SandboxError`."""

    async def prepare(self, image: RuntimeImage, preload: Preload | None) -> None:
        """Prepare what takes long for sandboxes of an image, ahead of time. Raises `SandboxError`."""

    async def prepare_directory(self, directory: Path) -> None:
        """Prepare a directory that will be mounted: a function's code, a layer."""

    async def close(self) -> None:
        """Release what `open` made. All sandboxes must have been destroyed."""
