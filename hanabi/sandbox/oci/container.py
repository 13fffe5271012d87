"""One sandbox of the OCI driver: a container with the agent, and its resources."""

import json
import os
import resource
import shutil
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from hanabi.base import linux
from hanabi.contracts.sandbox import SandboxSpec
from hanabi.errors import SandboxError, SnapshotImpossible, SnapshotUnusable
from hanabi.quotas import PROCESSES_MAX
from hanabi.sandbox.agent import AgentLink
from hanabi.sandbox.host import host_ids
from hanabi.sandbox.host.cgroup import Cgroup
from hanabi.sandbox.host.controllers import MB
from hanabi.sandbox.host.hosted import DriverContext, HostedSandbox, SandboxResources
from hanabi.sandbox.host.mounts import SHARED_PARENT, MountInjector
from hanabi.sandbox.host.network import NetworkSlot, make_channel
from hanabi.sandbox.host.runtime_command import OciRuntime
from hanabi.sandbox.host.shared_directory import SharedDirectory
from hanabi.sandbox.host.user_namespaces import UserNamespaces
from hanabi.sandbox.host.volume import Volume
from hanabi.sandbox.oci import bundle_config, process_snapshot
from hanabi.sandbox.oci.machine_view import SHARED, CpuAllocator, MachineView

HELLO_TIMEOUT_S = 10.0
_TIMEOUT_S = 5.0


def limit_processes(pids: Sequence[int], memory_mb: int) -> None:
    """Set RLIMIT_NPROC of processes, and of those that they start, as Lambda's kernel has it by the memory of its machine.

    Half of the threads that would fill an eighth of it: 742 were recorded on AWS at 128 MB. At most what "Lambda quotas" allows.
    """
    most = min(PROCESSES_MAX, 4 * memory_mb + 230)
    for pid in pids:
        with suppress(OSError):  # it may have ended; and only the privileged may raise it
            resource.prlimit(pid, resource.RLIMIT_NPROC, (most, most))


class ContainerHost(SandboxResources):
    """State shared by all containers of a driver."""

    def __init__(self, context: DriverContext, *, concurrent_starts: int, agent: Path) -> None:
        super().__init__(context, concurrent_starts=concurrent_starts)
        self.agent = agent
        self.injector = MountInjector()
        self.bind_mounts = context.host.bind_mounts
        self.user_namespaces = UserNamespaces()
        self.cpus = CpuAllocator()

    @property
    def bundles(self) -> Path:
        return self.run_dir / "bundles"


class Container(HostedSandbox):
    """A `contracts.Sandbox`."""

    def __init__(self, host: ContainerHost, wanted: SandboxSpec, slot: NetworkSlot) -> None:
        super().__init__(host, wanted, slot)
        self.memory_limit_mb: int | None = None
        self.copies_process = True
        self._memory_mb = wanted.memory_mb
        self._host = host
        self._background = wanted.background
        self._processes_limited = False
        self._bundle = host.bundles / wanted.id
        self._view = MachineView(host.run_dir / "views" / wanted.id, host.cpus)
        self._group: Cgroup | None = None
        self._link: AgentLink | None = None
        self._control: socket.socket | None = None
        self._pid = 0
        self._pidfd = -1
        self._volume: Volume | None = None
        self._oci_runtime: OciRuntime | None = None

    @property
    def link(self) -> AgentLink | None:
        return self._link

    # --- making

    async def open(self, oci_runtime: OciRuntime) -> None:
        """Make the container, up to the agent's hello."""
        self._oci_runtime = oci_runtime
        async with self._host.starts:
            await self._host.threads.run(lambda: self._start(oci_runtime))
        assert self._control is not None
        self._link = AgentLink(self._control, self._host.clock)
        self._link.on_exit = lambda exit: self.on_exit(exit)
        self._link.on_close = lambda reason: self._kill()
        self._loop.add_reader(self._pidfd, self._gone)
        self.runtime_api, self.edge = await self._link.hello(HELLO_TIMEOUT_S)
        if self._background:  # not before: other starts must not wait for one that gets no CPU half-way
            self.group.cpu.yield_to_others(True)
        linux.refuse_rights(self._control)  # hello was the one message with descriptors
        self.runtime_api_address, self.edge_address = (f"127.0.0.1:{each.getsockname()[1]}" for each in (self.runtime_api, self.edge))
        self._start_relay()
        if (bootstrap := self._wanted.image.bootstrap_dir) is not None:
            await self.mount(bootstrap, bundle_config.BOOTSTRAP_TARGET)
        for source, target in self._wanted.mounts:
            await self.mount(source, target)

    def _start(self, oci_runtime: OciRuntime) -> None:
        """The blocking part of `open`."""
        ids = host_ids.ids(self.slot.number)
        tmp = self._bundle / "tmp"
        tmp.mkdir(parents=True)
        self._group = Cgroup(self._host.tree, self.id)
        self._group.limit(self._wanted.memory_mb, None)
        self._view.open(self._wanted.memory_mb)
        self._volume = self._host.volumes.mount(self.id, self._wanted.tmp_mb, tmp, ids.root)
        (self._bundle / "config.json").write_text(json.dumps(bundle_config.make(self._layout(ids, tmp))))
        self._control, control = make_channel(self.slot)
        channel, runtime = make_channel(self.slot)
        self.runtime = self._prepared(channel)
        self.logs, log = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.logs, False)
        os.fchown(log, *ids.function)  # else /dev/stdout could not be opened by name
        try:
            self._pid = oci_runtime.start(self.id, self._bundle, (control.fileno(), runtime.fileno(), log))
        finally:
            control.close()
            runtime.close()
            os.close(log)
        self._pidfd = os.pidfd_open(self._pid)
        if self._pid not in self._host.tree.pids(self.id):  # it ended, and the number may be another's
            raise SandboxError("the agent ended at once")
        self._group.peak_memory.agent = self._pid
        self._view.confine([self._pid])
        self._forget_start()

    def _layout(self, ids: host_ids.IdMapping, tmp: Path) -> bundle_config.ContainerLayout:
        image, run_dir = self._wanted.image, self._host.run_dir
        shown = {**self._view.files, **{name: run_dir / name for name in SHARED}}
        return bundle_config.ContainerLayout(
            root=self._show_tree(image.root, "root"),
            runtime_dir=self._show_tree(image.runtime_dir, "runtime") if image.runtime_dir else None,
            agent=self._show(self._host.agent, "agent"),
            tmp=self._show(tmp, "tmp"),
            resolv_conf=self._show(run_dir / "resolv.conf", "resolv.conf"),
            hosts=self._show(run_dir / "hosts", "hosts"),
            proc={name: self._show(path, f"proc-{name}") for name, path in shown.items()},
            hostname=self.slot.hostname,
            network=self.slot.path,
            cgroup=self._group.runtime_path if self._group else "",
            uids=ids.uids,
            gids=ids.gids,
        )

    def _show(self, path: Path, name: str) -> Path:
        """Where the container's users can access a path."""
        return self._host.bind_mounts.bind(path, f"{self.id}/{name}") if self._host.bind_mounts else path

    def _show_tree(self, path: Path, name: str) -> Path:
        """As `_show`, of a directory of root's, which is to be the container's root's."""
        if self._host.bind_mounts is not None:
            return self._show(path, name)
        return self._host.user_namespaces.mount(self.slot.number, path, self._bundle / name)

    def _forget_start(self) -> None:
        """Release what only the start needed. The container keeps its directories mounted itself."""
        if self._host.bind_mounts is not None:
            self._host.bind_mounts.unbind(self.id)
        for name in ("tmp", "root", "runtime"):
            with suppress(OSError):  # not mounted
                linux.unmount(str(self._bundle / name))
        shutil.rmtree(self._bundle, ignore_errors=True)
        if self._oci_runtime is not None:
            self._oci_runtime.forget(self.id)

    # --- processes

    async def start(self, role: str, argv: Sequence[str], environment: Mapping[str, str], cwd: str, *, output: int | None = None) -> None:
        if output is not None:
            os.fchown(output, *host_ids.ids(self.slot.number).function)  # else /dev/stdout could not be opened by name
        await self._agent().start(role, argv, environment, cwd, output=output)

    async def kill_processes(self) -> None:
        await self._agent().kill_processes()

    async def reset(self) -> None:
        agent = self._agent()
        await agent.kill_processes()
        ours, theirs = await self._host.threads.run(lambda: make_channel(self.slot))
        with theirs:
            try:
                await self._agent().renew_runtime(theirs)
                self._agent()
            except BaseException:
                ours.close()
                raise
        self.runtime.close()
        self.runtime = self._prepared(ours)

    @staticmethod
    def _prepared(channel: socket.socket) -> socket.socket:
        linux.refuse_rights(channel)
        channel.setblocking(False)
        return channel

    def _agent(self) -> AgentLink:
        if self._link is None or self._end is not None:
            raise SandboxError(f"sandbox {self.id} has gone")
        return self._link

    # --- physics

    @property
    def group(self) -> Cgroup:
        if self._group is None or self._end is not None:
            raise SandboxError(f"sandbox {self.id} has gone")
        return self._group

    def freeze(self) -> None:
        self.group.freezer.freeze()

    def thaw(self) -> None:
        self.group.freezer.thaw()

    def limit(self, *, memory_mb: int, vcpus: float | None) -> None:
        try:
            if self._background:
                self._background = False
                self.group.cpu.yield_to_others(False)
            self.group.limit(memory_mb, vcpus)
            self._memory_mb = memory_mb
            if not self._processes_limited:  # now only: later a pid may have become another process's
                self._processes_limited = True
                limit_processes(self.group.memory.pids(), memory_mb)
            self._view.resize(memory_mb, self.group.memory.pids)
        except OSError as error:
            raise SandboxError(f"cannot set the limits of sandbox {self.id}: {error.strerror}") from None

    async def trim(self) -> None:
        """Drop its page cache where memory is in cgroup v2; do nothing in version 1 (`controllers.MemoryV1`).

        Reclaim works on pages, not on processes: a frozen group stays frozen.
        """
        await self._host.threads.run(self.group.memory.reclaim)

    def peak_memory(self) -> int:
        return self.group.peak_memory.peak()

    def reset_peak(self) -> None:
        self.group.peak_memory.reset_peak()

    def cpu_usage(self) -> int:
        return self.group.usage.microseconds()

    def oom_kills(self) -> int:
        return self.group.memory.oom_kills()

    async def mount(self, source: Path, target: str) -> None:
        self._agent()
        await self._loop.run_in_executor(self._host.injector.executor, self._mount, source, target)

    def _mount(self, source: Path, target: str) -> None:
        try:
            with ExitStack() as opened:
                namespace, users = (os.open(f"/proc/{self._pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("mnt", "user"))
                opened.callback(os.close, namespace)
                opened.callback(os.close, users)
                if linux.has_exited(self._pidfd):  # else the pid, and so the namespaces, were its own
                    raise SandboxError(f"sandbox {self.id} has gone")
                self._host.injector.mount(namespace, users, source, target)
        except OSError as error:
            raise SandboxError(f"cannot mount {source} on {target}: {error.strerror}") from None

    async def share(self, source: Path, target: str) -> None:
        self._agent()
        await self._loop.run_in_executor(self._host.injector.executor, self._share, source, target)

    def _share(self, source: Path, target: str) -> None:
        try:
            with suppress(FileExistsError):  # a root is read-only inside: what it lacks is made outside
                os.mkdir(f"{self._wanted.image.root}{SHARED_PARENT}", 0o755)
            namespace = os.open(f"/proc/{self._pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if linux.has_exited(self._pidfd):  # else the pid, and so the namespace, was its own
                    raise SandboxError(f"sandbox {self.id} has gone")
                self._host.injector.share(namespace, SharedDirectory(source), host_ids.ids(self.slot.number), target)
            finally:
                os.close(namespace)
        except OSError as error:
            raise SandboxError(f"cannot mount {source} on {target}: {error.strerror}") from None

    # --- the end

    def _gone(self) -> None:
        """Handle the end of the first process, and with it of all others."""
        self._loop.remove_reader(self._pidfd)
        self._report_end(linux.reap(self._pidfd) or 0)

    def _kill(self) -> None:
        """SIGKILL the first process, and thaw the group."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if self._group is not None and self._end is None:
            self._group.freezer.thaw()

    async def snapshot(self, directory: Path) -> None:
        if not self._wanted.image.clonable:
            raise SnapshotImpossible("in a container only Hanabi's own Python runtime can be copied")
        limit_bytes = self._memory_mb * MB
        pids = set(self.group.memory.pids()) - {self._pid}
        await self._host.threads.run(lambda: process_snapshot.write_snapshot(directory, pids, limit_bytes))

    async def restore_process(self, directory: Path) -> None:
        agent = self._agent()
        if not self._wanted.image.clonable:
            raise SnapshotUnusable("it was made with another runtime image")
        files = await self._host.threads.run(lambda: process_snapshot.open_snapshot(directory))
        process_snapshot.send_files(self.runtime, files)
        bootstrap = self._wanted.image.command[-1]
        await agent.start("runtime", [os.path.join(os.path.dirname(bootstrap), process_snapshot.RESTORER)], {}, "/")
        await process_snapshot.await_copy(self.runtime, _TIMEOUT_S)

    def _detach(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
        if self._link is None and self._control is not None:
            self._control.close()

    async def _release(self) -> None:
        await self._host.threads.run(self._remove_all)

    def _remove_all(self) -> None:
        """The blocking clean-up: processes, cgroup, mounts, loop device, files. A failing step stops no other; may be run again."""
        with ExitStack() as last_first:
            last_first.callback(self._await_volume)
            last_first.callback(self._view.remove)
            last_first.callback(self._forget_start)
            if self._group is not None:
                last_first.callback(self._group.remove)
            last_first.callback(self._end_process)

    def _end_process(self) -> None:
        if self._group is not None:
            self._group.kill()
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            linux.has_exited(self._pidfd, _TIMEOUT_S)
            linux.reap(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _await_volume(self) -> None:
        if self._volume is not None and not self._volume.await_end():
            raise SandboxError(f"the volume {self._volume.device} of sandbox {self.id} is still in use")
