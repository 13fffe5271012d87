"""The `oci` driver: sandboxes are containers started by crun or runc, whichever works here."""

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.base.threads import ThreadPool
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Preload, SandboxSpec
from hanabi.errors import IsolationUnavailable, SandboxError
from hanabi.sandbox.host import dns, rootless, runtime_command
from hanabi.sandbox.host.cgroup import CgroupTree
from hanabi.sandbox.host.host import SandboxHost
from hanabi.sandbox.host.mounts import MountInjector
from hanabi.sandbox.host.network import SlotPool
from hanabi.sandbox.host.runtime_command import OciRuntime
from hanabi.sandbox.host.volume import Volumes
from hanabi.sandbox.oci.config import MOUNT_FILES, MOUNT_POINTS
from hanabi.sandbox.oci.container import Container, ContainerHost
from hanabi.sandbox.oci.machine_view import SHARED, CpuAllocator

CONCURRENT_STARTS = 2
SLOTS_AHEAD = 4
_ID = re.compile("[a-z0-9-]{1,40}")


class OciDriver:
    """A `contracts.Driver`. The process must have called `mounts.enter_private_mounts` before it had threads."""

    name = "oci"
    overhead_mb = 0
    pool_memory_mb = 1024
    can_snapshot = False
    uses_roots = True

    def __init__(
        self,
        run_dir: Path,
        *,
        agent: Path,
        slots: int,
        clock: Clock,
        allow_net: Sequence[str] = (),
        network: bool = True,
        resolvers: Sequence[str] | None = None,
        why: str = "",
        health: Health | None = None,
    ) -> None:
        self._why = why
        self._sandbox_host = SandboxHost(run_dir, slots=slots, allow_net=allow_net, network=network)
        self._agent = agent
        self._slots = slots
        self._clock = clock
        self._health = health
        self._resolvers = dns.resolvers() if resolvers is None else resolvers
        self._host: ContainerHost | None = None
        self._oci_runtime: OciRuntime | None = None
        self._threads = ThreadPool()
        self._rejected: list[str] = []

    @property
    def tree(self) -> CgroupTree:
        return self._sandbox_host.tree

    def describe(self) -> str:
        """One line: what isolates here, and why not something else."""
        runtime = self._oci_runtime.version() if self._oci_runtime else "no OCI runtime"
        missing = self._sandbox_host.uplink.missing
        network = f"no outbound network: {missing}" if missing else "outbound network"
        user = ["as an ordinary user"] if rootless.entered() else []
        why = [self._why] if self._why else []
        return f"oci ({'; '.join([runtime, *why, *self._rejected, *user, self.tree.describe(), network])})"

    async def why_unavailable(self, runtime: str) -> str:
        return ""  # a root has all that its runtime needs

    # --- open and close

    async def open(self) -> None:
        try:
            await self._threads.run(self._prepare)
            self._host = self._make_host()
            await self._threads.run(self._host.volumes.open)
            await self._choose_runtime()
        except BaseException:
            await self.close()
            raise
        self._host.slots.refill()

    def _make_host(self) -> ContainerHost:
        sandbox_host = self._sandbox_host
        ahead = min(SLOTS_AHEAD, self._slots)
        return ContainerHost(
            run_dir=sandbox_host.run_dir,
            agent=self._agent,
            tree=self.tree,
            volumes=Volumes(sandbox_host.run_dir / "volumes"),
            injector=MountInjector(),
            slots=SlotPool(sandbox_host.numbers, self._threads, sandbox_host.prefix, sandbox_host.uplink, ahead=ahead),
            resolvers=self._resolvers,
            bind_mounts=sandbox_host.bind_mounts,
            cpus=CpuAllocator(),
            threads=self._threads,
            starts=asyncio.Semaphore(CONCURRENT_STARTS),
            clock=self._clock,
            releases=RetryQueue(self._clock, self._health),
        )

    def _prepare(self) -> None:
        """All that blocks."""
        self._sandbox_host.open()
        (self._sandbox_host.run_dir / "bundles").mkdir()
        self._sandbox_host.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n")
        self._sandbox_host.write("hosts", "127.0.0.1 localhost\n")
        for name, text in SHARED.items():
            self._sandbox_host.write(name, text)

    async def close(self) -> None:
        if self._host is not None:
            for container in list(self._host.containers):
                await container.destroy()
            await self._host.releases.close()
            await self._host.slots.close()
            await self._threads.run(self._host.injector.close)
            self._host = None
        await self._threads.run(self._sandbox_host.close)

    async def prepare(self, image: RuntimeImage, preload: Preload | None) -> None:
        """A root is all that a container needs."""

    async def prepare_directory(self, directory: Path) -> None:
        """Mounted as it is."""

    # --- the choice of a runtime

    async def _choose_runtime(self) -> None:
        """By trying: what works depends on kernel, cgroups and version in ways that no version number tells."""
        programs = runtime_command.find_programs()
        if not programs:
            raise IsolationUnavailable("no OCI runtime; apt install runc (or crun)")
        image = await self._threads.run(self._make_probe_image)
        reasons = []
        for program in programs:
            oci_runtime = OciRuntime(program, self._sandbox_host.run_dir / "state")
            try:
                # 512 MB is the default size of /tmp: its template is made by this, too.
                container = await self._create(SandboxSpec(id="probe", image=image, memory_mb=128, tmp_mb=512), oci_runtime)
            except SandboxError as error:
                reasons.append(f"{os.path.basename(program)} failed: {error}")
                continue
            await container.destroy()
            self._oci_runtime, self._rejected = oci_runtime, reasons
            return
        raise IsolationUnavailable(f"no OCI runtime works here ({'; '.join(reasons)}); see `hanabi doctor`")

    def _make_probe_image(self) -> RuntimeImage:
        """The least root that a sandbox can have."""
        root = self._sandbox_host.run_dir / "probe"
        for name in MOUNT_POINTS:
            (root / name).mkdir(parents=True)
        for name in MOUNT_FILES:
            (root / name).touch()
        return RuntimeImage(
            runtime="probe", digest="probe", root=root, runtime_dir=root / "var/runtime", command=(), environment={}, version_arn=""
        )

    # --- sandboxes

    async def create(self, spec: SandboxSpec) -> Container:
        if self._oci_runtime is None:
            raise SandboxError("the driver is not open")
        return await self._create(spec, self._oci_runtime)

    async def _create(self, spec: SandboxSpec, oci_runtime: OciRuntime) -> Container:
        assert self._host is not None
        if not _ID.fullmatch(spec.id) or any(each.id == spec.id for each in self._host.containers):
            raise SandboxError(f"{spec.id!r} is no sandbox id, or one in use")
        try:
            container = Container(self._host, spec, await self._host.slots.take())
        except OSError as error:
            raise SandboxError(f"cannot make a network slot: {error}") from error
        try:
            await container.open(oci_runtime)
        except BaseException as error:
            await container.destroy()
            if isinstance(error, OSError):
                raise SandboxError(f"cannot make a sandbox: {error}") from error
            raise
        return container
