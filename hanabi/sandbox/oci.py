"""The `oci` driver: sandboxes are containers started by crun or runc, whichever works here."""

import asyncio
import fcntl
import hashlib
import os
import re
import resource
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path

from hanabi.contracts import Clock, RuntimeImage, SandboxSpec
from hanabi.errors import IsolationUnavailable, SandboxError
from hanabi.sandbox import dns, firewall, kernel, launch, netlink, numbers, rootless, uplink, volume
from hanabi.sandbox.cgroup import Tree
from hanabi.sandbox.container import Container, Host
from hanabi.sandbox.launch import Launcher
from hanabi.sandbox.mounts import Injector
from hanabi.sandbox.network import SlotPool
from hanabi.sandbox.numbers import Numbers
from hanabi.sandbox.spec import MOUNT_FILES, MOUNT_POINTS
from hanabi.sandbox.stage import Stage
from hanabi.sandbox.threads import Threads
from hanabi.sandbox.uplink import Uplink
from hanabi.sandbox.volume import Volumes

STARTS_AT_ONCE = 2
SLOTS_AHEAD = 4
_ID = re.compile("[a-z0-9-]{1,40}")
_SLOTS_BESIDE = 8  # of those being made ahead or taken down


def tag_of(run_dir: Path) -> str:
    """What names everything of a run directory on this host: cgroups, interfaces, the nftables table."""
    return hashlib.sha256(os.fsencode(os.path.abspath(run_dir))).hexdigest()[:6]


class OciDriver:
    """A `contracts.Driver`. The process must have called `mounts.enter_private_mounts` before it had threads."""

    name = "oci"

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
    ) -> None:
        self._run_dir = Path(os.path.abspath(run_dir))
        self._agent = agent
        self._slots = slots
        self._clock = clock
        self._allow_net = [str(IPv4Network(cidr, strict=False)) for cidr in allow_net]
        self._network = network
        self._resolvers = dns.resolvers() if resolvers is None else resolvers
        self._tag = tag_of(self._run_dir)
        self.tree = Tree(self._tag)
        self._host: Host | None = None
        self._numbers: Numbers | None = None
        self._launcher: Launcher | None = None
        self._lock = -1
        self._threads = Threads()
        self._uplink = Uplink("not open")
        self._stage: Stage | None = None
        self._rejected: list[str] = []

    @property
    def _prefix(self) -> str:
        return f"hn{self._tag}"

    @property
    def _table(self) -> str:
        return f"hanabi-{self._tag}"

    def describe(self) -> str:
        """One line: what isolates here, and why not something else."""
        runtime = self._launcher.version() if self._launcher else "no OCI runtime"
        missing = self._uplink.missing
        network = f"no outbound network: {missing}" if missing else "outbound network"
        user = ["as an ordinary user"] if rootless.entered() else []
        return f"oci ({'; '.join([runtime, *self._rejected, *user, self.tree.describe(), network])})"

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

    def _make_host(self) -> Host:
        assert self._numbers is not None
        ahead = min(SLOTS_AHEAD, self._slots)
        return Host(
            run_dir=self._run_dir,
            agent=self._agent,
            tree=self.tree,
            volumes=Volumes(self._run_dir / "volumes"),
            injector=Injector(),
            slots=SlotPool(self._numbers, self._threads, self._prefix, self._uplink, ahead=ahead),
            resolvers=self._resolvers,
            stage=self._stage,
            threads=self._threads,
            starts=asyncio.Semaphore(STARTS_AT_ONCE),
            clock=self._clock,
        )

    def _prepare(self) -> None:
        """All that blocks: claim the directory, clean it, and set up what is shared."""
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._run_dir.chmod(0o711)
        lock = os.open(self._run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise IsolationUnavailable(f"another Hanabi is running in {self._run_dir}") from None
        self._lock = lock
        if rootless.entered():
            self._stage = Stage(self._run_dir)
        else:
            check_traversable(self._run_dir)
        _raise_descriptor_limit()
        self.tree.prepare()
        self._recover()
        self._numbers = Numbers(self._slots + _SLOTS_BESIDE, locks=self._locks())
        (self._run_dir / "bundles").mkdir()
        _write(self._run_dir / "resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n")
        _write(self._run_dir / "hosts", "127.0.0.1 localhost\n")
        self._uplink = self._open_uplink()

    def _locks(self) -> Path:
        """Numbers are shared out among the Hanabis of a host; as an ordinary user, among one's own."""
        if not rootless.entered():
            return numbers.LOCKS
        return Path(os.environ.get("XDG_RUNTIME_DIR", self._run_dir)) / "hanabi"

    def _open_uplink(self) -> Uplink:
        assert self._numbers is not None
        firewall_of = (self._table, self._prefix, self._numbers.networks(), self._allow_net)
        if not self._network:
            return Uplink("turned off")
        if rootless.entered():
            return uplink.open_pasta(self._run_dir / "uplink", *firewall_of)
        return uplink.open_host(*firewall_of)

    def _recover(self) -> None:
        """Clean what an earlier run in this directory left, were it killed at the worst moment. Idempotent."""
        launch.kill_strays(self._run_dir)
        uplink.clear_away(self._run_dir / "uplink")
        place = self._run_dir / "cgroup"
        if place.exists():
            earlier = self.tree.at(place.read_text())
            _clear(earlier)
            if earlier.place != self.tree.place:
                earlier.close()
        _clear(self.tree)
        _write(place, self.tree.place)
        give_up = time.monotonic() + 5
        while (devices := volume.leftovers(self._run_dir / "volumes")) and time.monotonic() < give_up:
            for device in devices:
                kernel.detach_loop(device)
            time.sleep(0.005)
        if not rootless.entered():  # else the network had a namespace that has gone with the process
            with netlink.Netlink() as link:
                for name in os.listdir("/sys/class/net"):
                    if name.startswith(self._prefix):
                        link.remove_link(name)
            firewall.unload(self._table)
        for name in ("state", "bundles", "probe"):
            shutil.rmtree(self._run_dir / name, ignore_errors=True)

    async def close(self) -> None:
        if self._host is not None:
            for container in list(self._host.containers):
                await container.destroy()
            await self._host.slots.close()
            await self._threads.run(self._host.injector.close)
            self._host = None
        await self._threads.run(self._tear_down)

    def _tear_down(self) -> None:
        if self._lock < 0:  # nothing here is ours
            return
        if not rootless.entered():
            firewall.unload(self._table)
        self._uplink.close()
        uplink.clear_away(self._run_dir / "uplink")
        if self._stage is not None:
            self._stage.close()
        self.tree.close()
        if self._numbers is not None:
            self._numbers.close()
        for name in ("state", "bundles", "probe", "volumes"):
            shutil.rmtree(self._run_dir / name, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1

    # --- the choice of a runtime

    async def _choose_runtime(self) -> None:
        """By trying: what works depends on kernel, cgroups and version in ways that no version number tells."""
        programs = launch.find_programs()
        if not programs:
            raise IsolationUnavailable("no OCI runtime; apt install runc (or crun)")
        image = await self._threads.run(self._make_probe_image)
        reasons = []
        for program in programs:
            launcher = Launcher(program, self._run_dir / "state")
            try:
                # 512 MB is the default size of /tmp: its template is made by this, too.
                container = await self._create(SandboxSpec(id="probe", image=image, memory_mb=128, tmp_mb=512), launcher)
            except SandboxError as error:
                reasons.append(f"{os.path.basename(program)} failed: {error}")
                continue
            await container.destroy()
            self._launcher, self._rejected = launcher, reasons
            return
        raise IsolationUnavailable(f"no OCI runtime works here ({'; '.join(reasons)}); see `hanabi doctor`")

    def _make_probe_image(self) -> RuntimeImage:
        """The least root that a sandbox can have."""
        root = self._run_dir / "probe"
        for name in MOUNT_POINTS:
            (root / name).mkdir(parents=True)
        for name in MOUNT_FILES:
            (root / name).touch()
        return RuntimeImage(
            runtime="probe", digest="probe", root=root, runtime_dir=root / "var/runtime", command=(), environment={}, version_arn=""
        )

    # --- sandboxes

    async def create(self, spec: SandboxSpec) -> Container:
        if self._launcher is None:
            raise SandboxError("the driver is not open")
        return await self._create(spec, self._launcher)

    async def _create(self, spec: SandboxSpec, launcher: Launcher) -> Container:
        assert self._host is not None
        if not _ID.fullmatch(spec.id) or any(each.id == spec.id for each in self._host.containers):
            raise SandboxError(f"{spec.id!r} is no sandbox id, or one in use")
        try:
            container = Container(self._host, spec, await self._host.slots.take())
        except OSError as error:
            raise SandboxError(f"cannot make a network slot: {error}") from error
        try:
            await container.open(launcher)
        except BaseException as error:
            await container.destroy()
            if isinstance(error, OSError):
                raise SandboxError(f"cannot make a sandbox: {error}") from error
            raise
        return container


def _clear(tree: Tree) -> None:
    """No group is left in a tree."""
    for name in tree.groups():
        tree.kill(name)
    for name in tree.groups():
        tree.remove(name)


def check_traversable(directory: Path) -> None:
    """Containers run as other users: every directory on the way must let them pass."""
    for each in (directory, *directory.parents):
        if not each.stat().st_mode & 0o001:
            raise IsolationUnavailable(f"containers cannot enter {each}; chmod o+x {each}, or choose another --data-dir")


def _raise_descriptor_limit() -> None:
    """A sandbox takes some fifteen descriptors; the usual 1024 would end at sixty sandboxes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)
