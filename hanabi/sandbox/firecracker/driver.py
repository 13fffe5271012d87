"""The `firecracker` driver: sandboxes are microVMs, each restored from a snapshot of its runtime and jailed on its own."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.tasks import Tasks
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Preload, SandboxSpec
from hanabi.errors import IsolationUnavailable, SandboxError, VmmError
from hanabi.sandbox.firecracker import snapshot_files
from hanabi.sandbox.firecracker.machine import FirecrackerParts, MachineSize, size_for
from hanabi.sandbox.firecracker.microvm import Drives, MicroVm, MicroVmHost
from hanabi.sandbox.firecracker.snapshot_files import Snapshot
from hanabi.sandbox.firecracker.templates import Templates
from hanabi.sandbox.host import rootless
from hanabi.sandbox.host.hosted import HostedDriver

CONCURRENT_STARTS = 4
WATCH_INTERVAL_S = 10.0
CONCURRENT_CHECKS = 16  # so that one that does not answer delays few others, and all together not the loop
OVERHEAD_MB = 64  # the guest's kernel and agent, and the VMM: measured, docs/microvm.md


class FirecrackerDriver(HostedDriver[MicroVmHost]):
    """A `contracts.Driver`."""

    name = "firecracker"
    overhead_mb = OVERHEAD_MB
    pool_memory_mb = 512  # most functions fit in it
    can_snapshot = True
    copies_processes = False

    def __init__(
        self,
        run_dir: Path,
        *,
        parts: FirecrackerParts,
        drives: Drives,
        snapshots: Path,
        slots: int,
        clock: Clock,
        why: str = "",
        allow_net: Sequence[str] = (),
        network: bool = True,
        resolvers: Sequence[str] | None = None,
        health: Health | None = None,
    ) -> None:
        super().__init__(
            Path(os.path.realpath(run_dir)),
            slots=slots,
            clock=clock,
            allow_net=allow_net,
            network=network,
            resolvers=resolvers,
            why=why,
            health=health,
        )
        self._parts = parts
        self._drives = drives
        self._templates = Templates(snapshots, parts, drives, self._threads, self.make, clock)
        self._watch: asyncio.Task[None] | None = None
        self._creating = Tasks("microVM")

    def describe(self) -> str:
        """Describe the isolation, in one line."""
        return self._describe(f"Firecracker {'.'.join(map(str, self._parts.version))}", self._why)

    # --- open and close

    async def open(self) -> None:
        check_host()
        try:
            await self._threads.run(self._sandbox_host.open)
            self._host = MicroVmHost(self._context, concurrent_starts=CONCURRENT_STARTS, parts=self._parts, drives=self._drives)
            await self._threads.run(self._lay_out)
        except BaseException:
            await self.close()
            raise
        self._host.slots.refill()
        self._watch = asyncio.create_task(self._watch_over(self._host), name="watch over microVMs")

    def _lay_out(self) -> None:
        assert self._host is not None
        self._host.jails.mkdir(mode=0o711)
        self._host.make_empty_drive()
        self._host.volumes.open()

    async def close(self) -> None:
        host, self._host = self._host, None  # from here on nothing is begun
        watch, self._watch = self._watch, None
        ending = [*self._creating, *([watch] if watch else [])]
        for task in ending:
            task.cancel()
        await self._templates.close()
        await self._drives.close()
        await asyncio.gather(*ending, return_exceptions=True)
        if host is not None:
            await host.close()
        await self._threads.run(self._sandbox_host.close)

    async def _watch_over(self, host: MicroVmHost) -> None:
        """Kill VMMs that do not answer: their machines may run on, but cannot be paused or stopped through the API."""
        while True:
            await self._clock.sleep(WATCH_INTERVAL_S)
            machines = list(host.microvms)
            for first in range(0, len(machines), CONCURRENT_CHECKS):
                await asyncio.gather(*(each.check() for each in machines[first : first + CONCURRENT_CHECKS]), return_exceptions=True)

    # --- sandboxes

    async def prepare(self, image: RuntimeImage, preload: Preload | None) -> None:
        await self.template(image, self.pool_memory_mb, preload)

    async def template(self, image: RuntimeImage, memory_mb: int, preload: Preload | None) -> Snapshot:
        """Return the template snapshot of an image and size, made now if absent. Raises `SandboxError`, `ImageError`."""
        with _as_sandbox_error():
            return await self._templates.ensure(image, size_for(memory_mb), preload)

    async def prepare_directory(self, directory: Path) -> None:
        await self._drives.of_directory(directory)

    async def create(self, spec: SandboxSpec) -> MicroVm:
        creating = self._creating.own(self._create(spec), f"create {spec.id}")
        try:
            return await creating
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and not caller.cancelling():
                raise SandboxError("the driver is being closed") from None
            if creating.done() and not creating.cancelled() and creating.exception() is None:  # the caller is gone
                await creating.result().destroy()
            raise

    async def _create(self, spec: SandboxSpec) -> MicroVm:
        with _as_sandbox_error():
            try:
                return await self._restore(spec)
            except FileNotFoundError:
                if spec.snapshot is not None:
                    raise
                return await self._restore(spec)  # the template was discarded at that moment: another one is made

    async def _restore(self, spec: SandboxSpec) -> MicroVm:
        if spec.snapshot is not None:
            own = spec.snapshot
            snapshot = await self._threads.run(lambda: snapshot_files.read_snapshot(own, self._parts))
        else:
            snapshot = await self.template(spec.image, spec.memory_mb, spec.preload)
        microvm = await self.make(spec, snapshot.size)
        try:
            await microvm.restore(snapshot)
            for source, target in spec.mounts:
                await microvm.mount(source, target)
        except BaseException as error:
            if isinstance(error, VmmError) and error.path == "/snapshot/load" and error.status and not snapshot.own:
                await self._templates.discard(snapshot)
            explained = microvm.vmm.explain(error) if isinstance(error, SandboxError) else error
            await microvm.destroy()
            if explained is not error:
                raise explained from error
            raise
        return microvm

    async def make(self, spec: SandboxSpec, size: MachineSize) -> MicroVm:
        """Make a machine that is neither booted nor restored yet."""
        slot = await self._take_slot(spec.id)
        return MicroVm(self.host, spec, slot, size)


@contextmanager
def _as_sandbox_error() -> Iterator[None]:
    """Turn errors of the host into a `SandboxError`."""
    try:
        yield
    except (OSError, IsolationUnavailable) as error:
        raise SandboxError(f"cannot make a microVM: {error}") from error


def check_host() -> None:
    """Raise `IsolationUnavailable` with the fix if this process cannot run microVMs."""
    if os.geteuid() != 0 or rootless.entered():
        raise IsolationUnavailable("Firecracker's jailer needs root: start Hanabi as root, or use --isolation oci")
    for device in ("/dev/kvm", "/dev/net/tun"):
        try:
            os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise IsolationUnavailable(f"{device} cannot be opened ({error.strerror}); modprobe {os.path.basename(device)}") from None
