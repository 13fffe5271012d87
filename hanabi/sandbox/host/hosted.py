"""The common base of the drivers `oci` and `firecracker`: shared resources, network slots, and the end of a sandbox."""

import asyncio
import os
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.base.threads import ThreadPool
from hanabi.contracts.sandbox import Exit, SandboxSpec
from hanabi.errors import SandboxError
from hanabi.sandbox.agent import AgentLink
from hanabi.sandbox.host import dns, host_ids
from hanabi.sandbox.host.cgroup import CgroupTree
from hanabi.sandbox.host.host import SandboxHost
from hanabi.sandbox.host.network import NetworkSlot, SlotPool
from hanabi.sandbox.host.openings import Openings
from hanabi.sandbox.host.volume import Volumes

SLOTS_AHEAD = 4
_ID = re.compile("[a-z0-9-]{1,40}")


@dataclass(frozen=True, slots=True)
class DriverContext:
    """The context that a driver is made with."""

    host: SandboxHost
    threads: ThreadPool
    clock: Clock
    health: Health | None
    resolvers: Sequence[str]


class SandboxResources:
    """Resources shared by a driver's sandboxes. Made when its `SandboxHost` is open. `tap_owner`: see `SlotPool`."""

    def __init__(self, context: DriverContext, *, concurrent_starts: int, tap_owner: Callable[[int], int] | None = None) -> None:
        host, threads, clock = context.host, context.threads, context.clock
        self.run_dir = host.run_dir
        self.tree = host.tree
        self.volumes = Volumes(host.run_dir / "volumes")
        self.slots = SlotPool(host.numbers, threads, host.prefix, host.uplink, ahead=min(SLOTS_AHEAD, host.slots), tap_owner=tap_owner)
        self.resolvers = context.resolvers
        self.firewall = Openings(host.table, host.uplink)
        self.threads = threads
        self.starts = asyncio.Semaphore(concurrent_starts)
        self.clock = clock
        self.releases = RetryQueue(clock, context.health)  # of what could not be removed with its sandbox
        self.sandboxes: set[HostedSandbox] = set()

    async def close(self) -> None:
        """Destroy every sandbox and the shared resources."""
        await asyncio.gather(*(each.destroy() for each in self.sandboxes), return_exceptions=True)
        await self.releases.close()
        await self.slots.close()


Resources = TypeVar("Resources", bound=SandboxResources)


class HostedDriver(Generic[Resources]):
    """The base of a `contracts.Driver` whose sandboxes have cgroups, network slots and volumes of this host.

    The process must have called `mounts.enter_private_mounts` before it had threads.
    """

    name: str
    shares_directories = False
    has_networks = True
    uses_roots = True

    def __init__(
        self,
        run_dir: Path,
        *,
        slots: int,
        clock: Clock,
        allow_net: Sequence[str],
        network: bool,
        resolvers: Sequence[str] | None,
        why: str,
        health: Health | None,
    ) -> None:
        self._sandbox_host = SandboxHost(run_dir, slots=slots, allow_net=allow_net, network=network)
        self._clock = clock
        self._why = why
        self._threads = ThreadPool()
        self._context = DriverContext(self._sandbox_host, self._threads, clock, health, dns.resolvers() if resolvers is None else resolvers)
        self._host: Resources | None = None

    @property
    def tree(self) -> CgroupTree:
        return self._sandbox_host.tree

    @property
    def host(self) -> Resources:
        """The shared resources. Raises `SandboxError` when the driver is not open."""
        if self._host is None:
            raise SandboxError("the driver is not open")
        return self._host

    async def why_unavailable(self, runtime: str) -> str:
        return ""  # a root has all that its runtime needs

    def _describe(self, *facts: str) -> str:
        """Describe the isolation and why it was chosen, in one line; empty facts are left out."""
        missing = self._sandbox_host.uplink.missing
        network = f"no outbound network: {missing}" if missing else "outbound network"
        return f"{self.name} ({'; '.join(filter(None, [*facts, self.tree.describe(), network]))})"

    async def _take_slot(self, id: str) -> NetworkSlot:
        """Take a slot for a new sandbox. Raises `SandboxError` when the id is invalid or in use, or the driver is closed meanwhile."""
        host = self.host
        self._check(host, id)
        try:
            slot = await host.slots.take()
        except OSError as error:
            raise SandboxError(f"cannot make a network slot: {error}") from error
        try:
            self._check(host, id)  # again: that took its time
        except SandboxError:
            await host.slots.give_back(slot)
            raise
        return slot

    def _check(self, host: Resources, id: str) -> None:
        if self.host is not host:
            raise SandboxError("the driver was closed meanwhile")
        if not _ID.fullmatch(id) or any(each.id == id for each in host.sandboxes):
            raise SandboxError(f"{id!r} is no sandbox id, or one in use")


class HostedSandbox(ABC):
    """The base of such a driver's `contracts.Sandbox`. It owns its sockets and the log's descriptor: `destroy` closes them."""

    runtime: socket.socket
    runtime_api: socket.socket
    edge: socket.socket

    def __init__(self, shared: SandboxResources, wanted: SandboxSpec, slot: NetworkSlot) -> None:
        self.id = wanted.id
        self.on_exit: Callable[[Exit], None] = lambda exit: None
        self.logs = -1
        self.runtime_api_address = self.edge_address = ""
        self.task_root = "/var/task"
        self.preloaded = False
        self.copies_process = False
        self.slot = slot
        self._shared = shared
        self._wanted = wanted
        self._loop = asyncio.get_running_loop()
        self._relay: dns.DnsRelay | None = None
        self._reached: set[str] = set()  # networks that are open to it, beside what all may reach
        self._end: asyncio.Task[None] | None = None
        shared.sandboxes.add(self)

    @property
    @abstractmethod
    def link(self) -> AgentLink | None:
        """The control channel to the agent, once connected."""

    @abstractmethod
    def _detach(self) -> None:
        """Detach the sandbox, first when it ends: no more callbacks come from it."""

    @abstractmethod
    async def _release(self) -> None:
        """End its processes and remove its resources. A failing step stops no other; may be run again."""

    async def connect(self, port: int) -> socket.socket:
        if self.link is None:
            raise SandboxError(f"sandbox {self.id} has gone")
        return await self.link.connect(port)

    def signal(self, role: str, signum: int) -> None:
        if self.link is not None:
            self.link.signal(role, signum)

    async def share(self, source: Path, target: str) -> None:
        raise SandboxError("a microVM cannot mount directories of the host")

    async def reach(self, networks: Sequence[str]) -> None:
        if not self.slot.interface:
            raise SandboxError("there is no outbound network")
        added = [(str(host_ids.inside_address(self.slot.number)), network) for network in networks if network not in self._reached]
        try:
            await self._shared.threads.run(lambda: self._shared.firewall.open(added))
        except OSError as error:
            raise SandboxError(f"networks cannot be opened: {error}") from None
        self._reached.update(network for _, network in added)

    async def restore_process(self, directory: Path) -> None:
        raise SandboxError("this sandbox is restored whole")

    def _start_relay(self) -> None:
        """Start the DNS relay of the slot, if it has a network and no relay yet."""
        if self.slot.udp is not None and self.slot.tcp is not None and self._relay is None:
            self._relay = dns.DnsRelay(self.slot.udp, self.slot.tcp, self._shared.resolvers, self._shared.clock)

    def _report_end(self, status: int) -> None:
        """Report that the first process has ended, and with it all others. `status`: negative for a signal."""
        if self.link is not None:
            self.link.close()
        self.on_exit(Exit("sandbox", None, -status) if status < 0 else Exit("sandbox", status, None))

    async def destroy(self) -> None:
        """Destroy the sandbox. The driver tries again later what cannot be removed now."""
        if self._end is None:
            what = f"What was made for sandbox {self.id} cannot all be removed"
            self._end = self._loop.create_task(self._shared.releases.do(f"sandbox.{self.id}", what, self._destroy))
        await asyncio.shield(self._end)

    async def _destroy(self) -> None:
        self._detach()
        if self.link is not None:
            self.link.close()
        for name in ("runtime", "runtime_api", "edge", "inbound"):
            if (owned := getattr(self, name, None)) is not None:
                owned.close()
        if self.logs >= 0:
            os.close(self.logs)
            self.logs = -1
        relay, self._relay = self._relay, None
        if relay is not None:
            await relay.close()
        await self._release()
        if self._reached:
            address = str(host_ids.inside_address(self.slot.number))
            await self._shared.threads.run(lambda: self._shared.firewall.close([(address, network) for network in sorted(self._reached)]))
            self._reached.clear()
        await self._shared.slots.give_back(self.slot)  # only after its processes have ended: they use the slot's number
        self._shared.sandboxes.discard(self)
