"""One VMM process in its jail: start by the jailer, API, kill and clean-up."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hanabi.base import linux
from hanabi.base.clock import Clock
from hanabi.base.threads import ThreadPool
from hanabi.errors import SandboxError
from hanabi.sandbox.firecracker import jail_files
from hanabi.sandbox.firecracker.jail import API_SOCKET, LOG, METRICS, Jail
from hanabi.sandbox.firecracker.machine import VMM_OVERHEAD_MB, FirecrackerParts
from hanabi.sandbox.firecracker.vmm_api import FirecrackerApi
from hanabi.sandbox.firecracker.vmm_connection import TIMEOUT_S
from hanabi.sandbox.host import runtime_command
from hanabi.sandbox.host.cgroup import Cgroup, CgroupTree

JAILER_S = 10.0  # for the jailer to make its jail and be gone
START_S = 10.0  # from the jailer to an API that answers
CONTROLLERS = ("cpu", "cpuacct", "memory", "pids", "freezer")
DESCRIPTORS = 2048  # of a VMM: docs/jailer.md
_TIMEOUT_S = 5.0
_SAID = 4000  # bytes of what jailer and VMM said that are looked at
# The jailer moves into its cgroups by itself on hosts that have them all in one version; a shell does on any.
_ENTER = 'while [ "$1" != -- ]; do echo $$ >"$1" || exit 70; shift; done; shift; exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """A VMM's confinement besides its jail."""

    tree: CgroupTree
    network: str  # path of its network namespace
    memory_mb: int  # of its machine
    file_mb: int  # no file of it grows over this


class Vmm:
    """A VMM process: `start`, then `api`, then `release`. `on_exit` gets the status, on the loop, when the VMM ends by itself."""

    def __init__(self, parts: FirecrackerParts, jail: Jail, confinement: Confinement, threads: ThreadPool, clock: Clock) -> None:
        self.jail = jail
        self.on_exit: Callable[[int], None] = lambda status: None
        self.api = FirecrackerApi(jail.root / API_SOCKET, clock=clock, timeout_s=TIMEOUT_S * parts.kernel.timeout_factor)
        self.group: Cgroup | None = None
        self._parts = parts
        self._confinement = confinement
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._pidfd = -1
        self._killed: list[int] = []  # descriptors of processes that are to be reaped
        self._watched = False
        self._spawning = threading.Lock()
        self._released = False

    async def start(self) -> None:
        """Start the VMM. Raises `SandboxError`; `explain` adds the output of jailer and VMM."""
        spawning = asyncio.ensure_future(self._threads.run(self._spawn))
        spawning.add_done_callback(lambda done: done.cancelled() or done.exception())  # mark the exception as retrieved
        try:
            await asyncio.shield(spawning)
        except asyncio.CancelledError:
            self._released = True
            self._kill_group()  # a jailer that hangs is not waited for
            await asyncio.wait([spawning])
            raise
        if self._released:
            raise SandboxError("the VMM was destroyed while it started")
        self._loop.add_reader(self._pidfd, self._ended)
        self._watched = True
        await self.api.connect(START_S * self._parts.kernel.timeout_factor, self.alive)
        self.api.on_disconnected(lambda error: self.kill())

    def _spawn(self) -> None:
        """The blocking part of `start`."""
        with self._spawning:
            if not self._released:
                self._start_jailer()

    def _start_jailer(self) -> None:
        jail, parts, confinement = self.jail, self._parts, self._confinement
        group = self.group = Cgroup(confinement.tree, jail.id)
        group.limit(confinement.memory_mb + VMM_OVERHEAD_MB, None)
        directories = dict.fromkeys(confinement.tree.directory(name) / jail.id for name in CONTROLLERS)
        owner = str(jail.owner)
        # fmt: off
        command = [
            "/bin/sh", "-c", _ENTER, "sh", *(str(each / "cgroup.procs") for each in directories), "--",
            str(parts.jailer), "--id", jail.id, "--exec-file", str(parts.firecracker), "--uid", owner, "--gid", owner,
            "--chroot-base-dir", str(jail.base), "--netns", confinement.network, "--new-pid-ns",
            "--resource-limit", f"no-file={DESCRIPTORS}", "--resource-limit", f"fsize={confinement.file_mb * 1024 * 1024}",
            "--", "--log-path", f"/{LOG}", "--level", "Warning", "--metrics-path", f"/{METRICS}",
        ]
        # fmt: on
        if self._released:
            raise SandboxError("the VMM was destroyed before it started")
        console = os.open(self.console, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            status = runtime_command.run(command, output=console, timeout_s=JAILER_S * parts.kernel.timeout_factor)
        finally:
            os.close(console)
        if status:
            raise SandboxError(f"the jailer ended with status {status}")
        try:
            pid = int((jail.root / f"{parts.firecracker.name}.pid").read_text())
            self._pidfd = os.pidfd_open(pid)
        except (OSError, ValueError) as error:
            raise SandboxError(f"the jailer did not say what it started: {error}") from None
        if pid not in confinement.tree.pids(jail.id):  # it ended, and the number may be another's
            raise SandboxError("the VMM ended at once")

    @property
    def console(self) -> Path:
        """The output of jailer and VMM, and of a guest with a serial port."""
        return self.jail.directory / "console"

    def _said(self) -> str:
        texts = [jail_files.read_tail(self.console, _SAID), self.jail.tail(LOG, _SAID)]
        said = [[line for line in text.decode("utf-8", "replace").splitlines() if line.strip()][-3:] for text in texts]
        return " | ".join(line for lines in said for line in lines)

    def explain(self, error: SandboxError) -> SandboxError:
        """Add to an error the VMM's last output, and whether it has ended."""
        ended = "the VMM has ended" if self._pidfd >= 0 and not self.alive() else ""
        said = ": ".join(each for each in (ended, self._said()) if each)
        return SandboxError(f"{error} ({said})") if said else error

    def alive(self) -> bool:
        return self._pidfd >= 0 and not linux.has_exited(self._pidfd)

    def kill(self) -> None:
        """Send SIGKILL; `release` cleans up."""
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def end(self) -> None:
        """Send SIGKILL and wait for the end; blocks."""
        self.kill()
        if not linux.has_exited(self._pidfd, _TIMEOUT_S):
            raise SandboxError("the VMM does not end")

    def _ended(self) -> None:
        self._unwatch()
        self.api.close()
        self.on_exit(linux.reap(self._pidfd) or 0)

    def _unwatch(self) -> None:
        if self._watched:
            self._loop.remove_reader(self._pidfd)
            self._watched = False

    async def release(self) -> None:
        """Kill the VMM and remove everything made for it. Idempotent."""
        self._released = True
        self._unwatch()
        self.api.close()
        await self._threads.run(self._remove)

    def _remove(self) -> None:
        self._kill_group()  # a jailer that still runs, too: so the lock is soon free
        with self._spawning:
            try:
                self._end_processes()
                if self.group is not None:
                    self.group.remove()
                    self.group = None
                else:
                    self._confinement.tree.remove(self.jail.id)  # what was made of it before it failed
            finally:
                self.jail.remove()

    def _kill_group(self) -> int:
        """SIGKILL every process started here, each by its pidfd. A process that outlives its jailer becomes a child of this one."""
        killed = 0
        for pid in self._confinement.tree.pids(self.jail.id):
            with suppress(ProcessLookupError):
                self._killed.append(pidfd := os.pidfd_open(pid))
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                killed += 1
        return killed

    def _end_processes(self) -> None:
        give_up = time.monotonic() + _TIMEOUT_S
        self.kill()
        if self._pidfd >= 0:
            self._killed.append(self._pidfd)
            self._pidfd = -1
        killed, self._killed = self._killed, []
        try:
            for pidfd in killed:
                linux.has_exited(pidfd, max(0.0, give_up - time.monotonic()))
            while self._kill_group() and time.monotonic() < give_up:
                killed += self._killed
                self._killed = []
                for pidfd in killed:
                    linux.has_exited(pidfd, max(0.0, give_up - time.monotonic()))
            for pidfd in killed:
                linux.reap(pidfd)
        finally:
            for pidfd in killed + self._killed:
                os.close(pidfd)
            self._killed = []
