"""One sandbox of the Firecracker driver: a microVM with the agent as its first process, booted or restored."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import SandboxSpec
from hanabi.errors import SandboxError, VmmError
from hanabi.sandbox.firecracker import machine, snapshot_files, vsock
from hanabi.sandbox.firecracker.jail import Jail
from hanabi.sandbox.firecracker.machine import FirecrackerParts, MachineSize
from hanabi.sandbox.firecracker.machine_agent import GuestLink, Network, Ports
from hanabi.sandbox.firecracker.snapshot_files import Snapshot
from hanabi.sandbox.firecracker.vmm import Confinement, Vmm
from hanabi.sandbox.firecracker.vmm_api import RateLimiter, TokenBucket
from hanabi.sandbox.host import host_ids
from hanabi.sandbox.host.cgroup import Cgroup
from hanabi.sandbox.host.hosted import DriverContext, HostedSandbox, SandboxResources
from hanabi.sandbox.host.network import TAP, NetworkSlot

MIB = 1024 * 1024
BOOT_S = 120.0  # for hosts without hardware virtualisation; with it, a fraction of a second
ATTACH_S = 20.0
CONNECT_S = 5.0  # for a connection into the guest, once its agent has made it
STALE_MAX = 64  # connections that are closed at a time
TRIM_S = 2.0  # for the guest to give up what it can spare
SPARE_MB = 32  # of a machine whose memory is given back
_CONTROL, _RUNTIME, _LOG, _RUNTIME_API, _EDGE, _INBOUND = range(machine.PORT, machine.PORT + 6)
_WRITTEN = ("new-state", "new-memory")  # in the jail: a clone's own snapshot is there already, and others map it
_EMPTY = 4096  # bytes of a drive that nothing is on yet

# 625 Mbps an environment: AWS Lambda developer guide, "Lambda quotas". Of disks it says nothing: none may starve the others.
_NETWORK = RateLimiter(bandwidth=TokenBucket(size=78_125_000 // 10, refill_time=100, one_time_burst=64 * MIB))
_DISK = RateLimiter(
    bandwidth=TokenBucket(size=50 * MIB, refill_time=100, one_time_burst=256 * MIB),
    ops=TokenBucket(size=2_000, refill_time=100, one_time_burst=10_000),
)


class Drives(Protocol):
    """Read-only drives, packed once from unchanging directories."""

    file_system: str

    async def of_image(self, image: RuntimeImage) -> Path:
        """The drive of a runtime root, with its bootstrap and the agent."""

    async def of_directory(self, directory: Path) -> Path:
        """The drive of a function's code, or of a layer."""

    async def close(self) -> None:
        """Stop running packers."""


class MicroVmHost(SandboxResources):
    """State shared by all microVMs of a driver."""

    def __init__(self, context: DriverContext, *, concurrent_starts: int, parts: FirecrackerParts, drives: Drives) -> None:
        super().__init__(context, concurrent_starts=concurrent_starts, tap_owner=host_ids.machine_uid)
        self.parts = parts
        self.drives = drives
        self.first_try = FirstTryTimeout()

    @property
    def microvms(self) -> "list[MicroVm]":
        return [each for each in self.sandboxes if isinstance(each, MicroVm)]

    @property
    def jails(self) -> Path:
        return self.run_dir / "jails"

    @property
    def empty_drive(self) -> Path:
        return self.run_dir / "empty"

    def make_empty_drive(self) -> None:
        self.empty_drive.write_bytes(bytes(_EMPTY))
        self.empty_drive.chmod(0o444)


class FirstTryTimeout:
    """The timeout of the first connection attempt, from how fast this host's guests answer: giving up too early costs time."""

    def __init__(self) -> None:
        self.timeout_s = 0.05

    def record(self, seconds: float) -> None:
        self.timeout_s = min(2.0, max(0.05, 3 * seconds))


class MicroVm(HostedSandbox):
    """A `contracts.Sandbox`."""

    def __init__(self, host: MicroVmHost, wanted: SandboxSpec, slot: NetworkSlot, size: MachineSize) -> None:
        super().__init__(host, wanted, slot)
        self._connecting = asyncio.Lock()
        self.memory_limit_mb: int | None = size.memory_mb
        self.size = size
        self._host = host
        self.timeout_factor = host.parts.kernel.timeout_factor
        jail = Jail(host.jails, host.parts.firecracker, wanted.id, host_ids.machine_uid(slot.number))
        confinement = Confinement(
            tree=host.tree, network=slot.path, memory_mb=size.machine_mb, file_mb=wanted.tmp_mb + size.machine_mb + 64
        )
        self.vmm = Vmm(host.parts, jail, confinement, host.threads, host.clock)
        self.vmm.on_exit = self._report_end
        self._link: GuestLink | None = None
        self._drives: dict[str, int] = {}  # root and what is mounted, held open: where they came from may go meanwhile
        self._frozen = False  # as its owner wants it
        self._paused = False  # as the VMM was last told
        self._vcpus: float | None = None

    @property
    def link(self) -> GuestLink | None:
        return self._link

    # --- making

    async def boot(self, root: Path) -> None:
        """Boot a machine up to the agent's hello, to make a snapshot of it."""
        kernel, host = self._host.parts.kernel, self._host

        def lay_out(jail: Jail) -> None:
            jail.bind(kernel.image, machine.KERNEL)
            if kernel.initrd is not None:
                jail.bind(kernel.initrd, machine.INITRD)
            jail.bind(root, machine.ROOT)
            for name in machine.LETTERS:
                jail.copy(host.empty_drive, name)

        await self._start_vmm(lay_out)
        api = self.vmm.api
        if kernel.cpu_template is not None:
            await api.cpu_config(kernel.cpu_template)
        await api.machine_config(vcpu_count=self.size.vcpus, mem_size_mib=self.size.machine_mb)
        initrd = None if kernel.initrd is None else f"/{machine.INITRD}"
        await api.boot_source(f"/{machine.KERNEL}", boot_args=machine.boot_args(kernel, host.drives.file_system), initrd_path=initrd)
        await api.drive(machine.ROOT, f"/{machine.ROOT}", is_root_device=True, rate_limiter=_DISK)
        for name in machine.LETTERS:
            await api.drive(name, f"/{name}", is_read_only=name != machine.TMP, rate_limiter=_DISK)
        await api.network_interface("eth0", TAP, rx_rate_limiter=_NETWORK, tx_rate_limiter=_NETWORK)
        await api.vsock(guest_cid=machine.GUEST_CID, uds_path=f"/{machine.VSOCK}")
        await api.balloon(amount_mib=0, deflate_on_oom=True, stats_polling_interval_s=0)
        await api.start()
        await self._attach(BOOT_S * self.timeout_factor)

    async def restore(self, snapshot: Snapshot) -> None:
        """Restore a machine from a snapshot, with its own identity and /tmp."""
        host = self._host
        self.preloaded = snapshot.preloaded
        own_tmp = snapshot.tmp if snapshot.own else await host.threads.run(lambda: host.volumes.template(self._wanted.tmp_mb))

        def lay_out(jail: Jail) -> None:
            jail.bind(snapshot.state, "state")
            jail.bind(snapshot.memory, "memory")
            jail.bind(snapshot.root, machine.ROOT)
            for name in (machine.TASK, machine.OPT):
                mounted = snapshot.mounted.get(name)
                jail.bind(mounted or host.empty_drive, f"{name}-drive" if mounted else name)  # as the snapshot has it
            jail.copy(own_tmp, machine.TMP)
            for name, drive in {machine.ROOT: snapshot.root, **snapshot.mounted}.items():
                self._drives[name] = os.open(drive, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)

        await self._start_vmm(lay_out)
        api = self.vmm.api
        await api.snapshot_load(snapshot_path="/state", memory_path="/memory", resume=False, timeout_s=ATTACH_S * self.timeout_factor)
        await api.patch_drive(machine.TMP, f"/{machine.TMP}")
        await api.resume()
        await self._attach(ATTACH_S * self.timeout_factor)
        if snapshot.preloaded or snapshot.own:
            self._agent().adopt("runtime")
        if not snapshot.own:
            await self._mount_drive(machine.TMP, "/tmp", "ext4", own_tmp)

    async def _start_vmm(self, lay_out: Callable[[Jail], None]) -> None:
        def prepare() -> None:
            jail = self.vmm.jail
            jail.make()
            lay_out(jail)
            owner = (jail.owner, jail.owner)
            self.runtime_api = vsock.listen(jail.root / machine.VSOCK, _RUNTIME_API, owner)
            self.edge = vsock.listen(jail.root / machine.VSOCK, _EDGE, owner)
            self.inbound = vsock.listen(jail.root / machine.VSOCK, _INBOUND, owner)

        async with self._host.starts:
            await self._host.threads.run(prepare)
            await self.vmm.start()

    async def _attach(self, deadline_s: float) -> None:
        """Connect the three channels, and give the machine its identity before any function code runs."""
        link, ports = await self._introduce(deadline_s)
        self._link = link
        link.on_exit = lambda exit: self.on_exit(exit)
        link.on_close = lambda reason: self.vmm.kill()
        if link.closed:  # meanwhile
            raise SandboxError("the agent has gone")
        self.runtime_api_address, self.edge_address = (f"127.0.0.1:{port}" for port in ports)
        for outcome in await asyncio.gather(self._open_runtime(), self._open_logs(), return_exceptions=True):
            if outcome is not None:  # and the other one has ended, too: it would connect for nobody
                raise outcome
        self._start_relay()

    async def _introduce(self, deadline_s: float) -> tuple[GuestLink, Ports]:
        """Open the control channel and identify the machine. A connection that breaks first, as a clone's may, is made again."""
        clock = self._host.clock
        give_up, network = clock.monotonic() + deadline_s, None
        if self.slot.interface:
            network = Network(host_ids.inside_address(self.slot.number), host_ids.host_address(self.slot.number))
        while True:
            link, ports = await self._reach_agent(give_up - clock.monotonic())
            try:
                await link.identify(time_ns=time.time_ns(), hostname=self.slot.hostname, network=network)
                return link, ports
            except BaseException as error:
                link.close()
                if not (isinstance(error, SandboxError) and link.lost and clock.monotonic() < give_up and self.vmm.alive()):
                    raise

    async def _reach_agent(self, deadline_s: float) -> tuple[GuestLink, Ports]:
        """Open the control channel and wait for hello. An early connection to a clone may be lost silently: retry with growing timeouts."""
        clock = self._host.clock
        give_up, timeout_factor = clock.monotonic() + deadline_s, self._host.first_try.timeout_s
        left, failure = deadline_s, SandboxError("the VMM has ended")
        while left > 0 and self.vmm.alive():
            began = clock.monotonic()
            timeout_factor = min(timeout_factor, left)
            try:
                control = await self._connect(_CONTROL, left)
            except SandboxError as error:
                raise (error if left == deadline_s else failure) from None  # why the first ones were in vain says more
            link = GuestLink(control, clock, timeout_factor=self.timeout_factor)
            try:
                ports = await link.greet(timeout_factor)
            except SandboxError as error:
                link.close()
                timeout_factor, left, failure = 2 * timeout_factor, give_up - clock.monotonic(), error
            except BaseException:
                link.close()
                raise
            else:
                self._host.first_try.record(clock.monotonic() - began)
                return link, ports
        raise failure

    async def _open_runtime(self) -> None:
        self.runtime = await self._connect(_RUNTIME, ATTACH_S * self.timeout_factor)

    async def _open_logs(self) -> None:
        self.logs = (await self._connect(_LOG, ATTACH_S * self.timeout_factor)).detach()

    async def _connect(self, port: int, deadline_s: float) -> socket.socket:
        path = self.vmm.jail.root / machine.VSOCK
        first = self._host.first_try.timeout_s
        return await vsock.connect(path, port, clock=self._host.clock, deadline_s=deadline_s, first_timeout_s=first, alive=self.vmm.alive)

    # --- processes

    async def start(self, role: str, argv: Sequence[str], environment: Mapping[str, str], cwd: str, *, output: int | None = None) -> None:
        await self._agent().start(role, argv, {**self._host.parts.kernel.environment, **environment}, cwd, timeout_s=ATTACH_S)

    async def connect(self, port: int) -> socket.socket:
        """As the base's: the agent dials the host, which takes what comes there. One at a time."""
        async with self._connecting:
            with suppress(BlockingIOError):
                for _ in range(STALE_MAX):  # of earlier requests that were given up; a guest may dial as often as it likes
                    self.inbound.accept()[0].close()
            await self._agent().open_connection(port)
            return await vsock.accept(self.inbound, clock=self._host.clock, timeout_s=CONNECT_S)

    async def kill_processes(self) -> None:
        await self._agent().kill_processes(timeout_s=ATTACH_S)

    async def reset(self) -> None:
        self._group.cpu.limit(None)  # it is our work, not the function's
        await self.kill_processes()
        await self._agent().renew_runtime(timeout_s=ATTACH_S)
        self.runtime.close()
        await self._open_runtime()
        if self._end is not None:  # meanwhile, and it has closed the one before
            self.runtime.close()
            raise SandboxError(f"sandbox {self.id} has gone")
        self._group.cpu.limit(self._vcpus)

    def _agent(self) -> GuestLink:
        if self._link is None or self._end is not None:
            raise SandboxError(f"sandbox {self.id} has gone")
        return self._link

    # --- physics

    @property
    def _group(self) -> Cgroup:
        if self.vmm.group is None or self._end is not None:
            raise SandboxError(f"sandbox {self.id} has gone")
        return self.vmm.group

    def freeze(self) -> None:
        """Pause the machine. Open connections survive; new ones from the host might not (Firecracker #6100), and none are made."""
        self._frozen = True
        self._pause(True)

    def thaw(self) -> None:
        self._frozen = False
        self._pause(False)

    def _pause(self, paused: bool) -> None:
        """Pause or resume unless requested already: a running machine refuses to be resumed."""
        if paused != self._paused:
            self._paused = paused
            (self.vmm.api.pause_nowait if paused else self.vmm.api.resume_nowait)(self._settled)

    def _settled(self, error: VmmError | None) -> None:
        if error is not None:  # a machine that does not pause would go on at its owner's cost; one that does not resume is dead
            self.vmm.kill()

    def limit(self, *, memory_mb: int, vcpus: float | None) -> None:
        if memory_mb > self.size.memory_mb:
            raise SandboxError(f"sandbox {self.id} is a machine for functions of up to {self.size.memory_mb} MB, not {memory_mb}")
        self._agent().limit_memory(memory_mb * MIB)
        self._vcpus = vcpus
        try:
            self._group.cpu.limit(vcpus)
        except OSError as error:
            raise SandboxError(f"cannot set the limits of sandbox {self.id}: {error.strerror}") from None

    def peak_memory(self) -> int:
        """Peak memory as the guest's kernel counts it. The agent reports it before each answer, so received messages are up to date."""
        link = self._agent()
        link.catch_up()
        return link.memory_peak_bytes

    def reset_peak(self) -> None:
        self._agent().reset_peak()

    def cpu_usage(self) -> int:
        return self._group.usage.microseconds()

    def oom_kills(self) -> int:
        return self._agent().oom_kills

    async def check(self) -> None:
        """Check the VMM: one that does not answer in time is ended."""
        if self.vmm.api.connected and self._end is None:
            with suppress(VmmError):
                await self.vmm.api.instance_info()

    async def ping(self) -> None:
        """Wait for an answer of the agent."""
        await self._agent().ping()

    async def trim(self) -> None:
        """Have the guest drop its caches, take unused memory by the balloon, then deflate, so that the guest can use it again on demand."""
        self._pause(False)
        self._group.cpu.limit(None)  # it is our work, not the function's
        try:
            await self._agent().trim()
            used_mb = self._agent().memory_peak_bytes // MIB
            await self.vmm.api.patch_balloon(max(0, self.size.memory_mb - used_mb - SPARE_MB))
            await self._host.clock.sleep(TRIM_S)
        finally:
            if self._end is None:
                # What was taken stays the host's until the guest uses it: one that is paused first takes it back when it runs again.
                self.vmm.api.send_nowait("PATCH", "/balloon", {"amount_mib": 0}, self._settled)
                self._group.cpu.limit(self._vcpus)
                self._pause(self._frozen)

    # --- drives

    async def mount(self, source: Path, target: str) -> None:
        name = machine.TARGETS.get(target)
        if name is None or name in self._drives:
            raise SandboxError(f"nothing can be mounted on {target} of sandbox {self.id}{' twice' if name else ''}")
        drive = await self._host.drives.of_directory(source)
        self._agent()
        await self._swap(name, drive)
        await self._mount_drive(name, target, self._host.drives.file_system, drive)
        self._drives[name] = os.open(drive, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)

    async def _swap(self, name: str, drive: Path) -> None:
        """Attach a file to a drive that had none."""
        shown = f"{name}-drive"
        try:
            await self._host.threads.run(lambda: self.vmm.jail.add(drive, shown))
        except OSError as error:
            raise SandboxError(f"cannot show {drive.name} to sandbox {self.id}: {error.strerror}") from None
        await self.vmm.api.patch_drive(name, f"/{shown}")

    async def _mount_drive(self, name: str, target: str, file_system: str, source: Path) -> None:
        """Mount a drive. Its size is that of `source`, the original: the VMM may have changed the file in the jail."""
        size = os.stat(source).st_size
        writable = name == machine.TMP
        await self._agent().mount_drive(machine.LETTERS[name], size=size, file_system=file_system, target=target, writable=writable)

    # --- snapshots

    async def snapshot(self, directory: Path) -> None:
        """Write a snapshot of the machine, quiesced and paused, into a directory. Only `destroy` may follow."""
        link = self._agent()
        self._pause(False)
        self._group.cpu.limit(None)
        await link.quiesce()  # its own connection stays: when that breaks, the clone knows that it is one
        link.on_close = lambda reason: None
        api, jail = self.vmm.api, self.vmm.jail
        await api.pause()
        try:
            for name in _WRITTEN:
                await self._host.threads.run(partial(jail.create, name))
            await api.snapshot_create(snapshot_path=f"/{_WRITTEN[0]}", mem_file_path=f"/{_WRITTEN[1]}")
            self.vmm.on_exit = lambda status: None
            await self._host.threads.run(lambda: self._take(directory))
        except OSError as error:
            raise SandboxError(f"cannot keep the snapshot of sandbox {self.id}: {error.strerror}") from error

    def _take(self, directory: Path) -> None:
        """End the VMM, so that it cannot change the files, then move them out of the jail.

        A function's own snapshot gets its drives and a description as well.
        """
        self.vmm.end()
        names = {"state": _WRITTEN[0], "memory": _WRITTEN[1], **({machine.TMP: machine.TMP} if self._drives else {})}
        for name, written in names.items():
            self.vmm.jail.move_out(written, directory / name)
            snapshot_files.punch_holes(directory / name)
        if self._drives:
            snapshot_files.describe(directory, self._host.parts, self.size, self._drives)

    # --- the end

    def _detach(self) -> None:
        for fd in self._drives.values():
            os.close(fd)
        self._drives.clear()

    async def _release(self) -> None:
        await self.vmm.release()
