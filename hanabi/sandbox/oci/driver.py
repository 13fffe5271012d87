"""The `oci` driver: sandboxes are containers, started by crun or runc, whichever works here."""

import os
from collections.abc import Sequence
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Preload, SandboxSpec
from hanabi.errors import IsolationUnavailable, SandboxError
from hanabi.sandbox.host import rootless, runtime_command
from hanabi.sandbox.host.hosted import HostedDriver
from hanabi.sandbox.host.runtime_command import OciRuntime
from hanabi.sandbox.oci.bundle_config import MOUNT_FILES, MOUNT_POINTS
from hanabi.sandbox.oci.container import Container, ContainerHost
from hanabi.sandbox.oci.machine_view import SHARED

CONCURRENT_STARTS = 2


class OciDriver(HostedDriver[ContainerHost]):
    """A `contracts.Driver`."""

    name = "oci"
    overhead_mb = 0
    pool_memory_mb = 1024
    can_snapshot = False
    copies_processes = True
    shares_directories = True

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
        super().__init__(
            run_dir, slots=slots, clock=clock, allow_net=allow_net, network=network, resolvers=resolvers, why=why, health=health
        )
        self._agent = agent
        self._oci_runtime: OciRuntime | None = None
        self._rejected: list[str] = []

    def describe(self) -> str:
        """Describe the isolation and why it was chosen, in one line."""
        runtime = self._oci_runtime.version() if self._oci_runtime else "no OCI runtime"
        return self._describe(runtime, self._why, *self._rejected, "as an ordinary user" if rootless.entered() else "")

    # --- open and close

    async def open(self) -> None:
        try:
            await self._threads.run(self._prepare)
            self._host = ContainerHost(self._context, concurrent_starts=CONCURRENT_STARTS, agent=self._agent)
            await self._threads.run(self._host.volumes.open)
            await self._choose_runtime()
        except BaseException:
            await self.close()
            raise
        self._host.slots.refill()

    def _prepare(self) -> None:
        """The blocking part of opening."""
        self._sandbox_host.open()
        (self._sandbox_host.run_dir / "bundles").mkdir()
        self._sandbox_host.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n")
        self._sandbox_host.write("hosts", "127.0.0.1 localhost sandbox.localdomain sandbox\n")
        for name, text in SHARED.items():
            self._sandbox_host.write(name, text)

    async def close(self) -> None:
        if self._host is not None:
            await self._host.close()
            await self._threads.run(self._host.injector.close)
            self._host.user_namespaces.close()
            self._host = None
        await self._threads.run(self._sandbox_host.close)

    async def prepare(self, image: RuntimeImage, preload: Preload | None) -> None:
        """Do nothing: a container needs only the root."""

    async def prepare_directory(self, directory: Path) -> None:
        """Do nothing: the directory is mounted as it is."""

    # --- the choice of a runtime

    async def _choose_runtime(self) -> None:
        """Choose the OCI runtime by trying: what works depends on kernel, cgroups and version in ways that no version number tells."""
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
        """Make the smallest root that a sandbox can have."""
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
        container = Container(self.host, spec, await self._take_slot(spec.id))
        try:
            await container.open(oci_runtime)
        except BaseException as error:
            await container.destroy()
            if isinstance(error, OSError):
                raise SandboxError(f"cannot make a sandbox: {error}") from error
            raise
        return container
