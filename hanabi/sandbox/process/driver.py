"""The `process` driver: ordinary processes without isolation, for trying Hanabi where no other driver works.

It has no mounts, so a function's paths are links in a directory of the sandbox (`/var/task` is `<sandbox>/var/task`, and
`task_root` says so): they are translated in a process's command, directory and variables. The interpreter
of a bundled runtime is the host's of the same version, not the runtime root's; the root's Python packages it gets. `/tmp` is
the host's, TMPDIR the sandbox's own.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from errno import ENOENT
from pathlib import Path

from hanabi.base import procfs
from hanabi.base.clock import Clock
from hanabi.base.files import make_private_directory
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Exit, Preload, SandboxSpec
from hanabi.errors import EntrypointError, IsolationUnavailable, SandboxError
from hanabi.sandbox.agent import AgentLink, Listeners, find_agent
from hanabi.sandbox.process.interpreters import find_program, why_unavailable

TARGETS = ("/var/task", "/var/runtime", "/opt")
HELLO_S = 10.0
END_S = 10.0

UNPROTECTED = (
    "files: a function reads and writes whatever the user who runs Hanabi may, its state and other functions' code included",
    "processes: a function can signal and trace that user's other processes",
    "network: a function has the host's, the metadata address and private networks included",
    "limits: memory, CPU share, pids and the size of /tmp are not enforced",
    "freeze: only a process that has left its process group goes on running",
)


class ProcessDriver:
    """The driver; used only when chosen by name. It refuses to run as root, as which functions would run; `allow_root` is for tests.

    `runtimes` are those whose interpreters are looked for at the start.
    """

    name = "process"
    overhead_mb = 0
    pool_memory_mb = 1024
    can_snapshot = False
    copies_processes = False
    shares_directories = has_networks = False
    uses_roots = False

    def __init__(self, directory: Path, clock: Clock, *, runtimes: Iterable[str] = (), allow_root: bool = False) -> None:
        self._directory = directory
        self._clock = clock
        self._allow_root = allow_root
        self._agent = Path()
        self._lacking = dict.fromkeys(runtimes, "")

    def describe(self) -> str:
        """Describe which runtimes it can run, and what it does not protect, a line for each."""
        runs = ", ".join(runtime for runtime, reason in self._lacking.items() if not reason)
        not_run = ", ".join(runtime for runtime, reason in self._lacking.items() if reason)
        reach = f" It runs {runs}{f'; not {not_run}, whose interpreters this host has not on PATH' if not_run else ''}." if runs else ""
        return f"process: no isolation, as asked for.{reach} Not protected:\n" + "\n".join(f"  {each}" for each in UNPROTECTED)

    async def why_unavailable(self, runtime: str) -> str:
        return await asyncio.to_thread(why_unavailable, runtime)

    async def open(self) -> None:
        if os.geteuid() == 0 and not self._allow_root:
            raise IsolationUnavailable("--isolation process would run functions as root: be an ordinary user, or use --isolation oci")
        self._agent = await asyncio.to_thread(find_agent)
        for runtime in self._lacking:
            self._lacking[runtime] = await asyncio.to_thread(why_unavailable, runtime)
        await asyncio.to_thread(self._clean)

    def _clean(self) -> None:
        """Remove an earlier run's directories; its processes ended with it."""
        make_private_directory(self._directory)
        for left in self._directory.iterdir():
            shutil.rmtree(left, ignore_errors=True)

    async def create(self, spec: SandboxSpec) -> "ProcessSandbox":
        place = self._directory / spec.id
        async with AsyncExitStack() as release:
            release.push_async_callback(asyncio.to_thread, shutil.rmtree, place, ignore_errors=True)
            try:
                await asyncio.to_thread(_lay_out, place, spec)
                agent, control, runtime, logs = await asyncio.to_thread(_launch, self._agent)
            except OSError as error:
                raise SandboxError(f"sandbox {spec.id}: {error}") from error
            release.callback(os.close, logs)
            release.enter_context(runtime)
            release.push_async_callback(asyncio.to_thread, _await_end, agent)
            link = AgentLink(control, self._clock)
            release.callback(link.close)
            listeners = await link.hello(HELLO_S)
            for listener in listeners:
                release.enter_context(listener)
            return ProcessSandbox(spec, place, agent.pid, link, listeners, runtime, logs, release.pop_all())

    async def prepare(self, image: RuntimeImage, preload: Preload | None) -> None:
        """Do nothing: nothing takes long here."""

    async def prepare_directory(self, directory: Path) -> None:
        """Do nothing: the directory is linked as it is."""

    async def close(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)


class ProcessSandbox:
    """Made by `ProcessDriver.create`."""

    def __init__(
        self,
        spec: SandboxSpec,
        place: Path,
        agent: int,
        link: AgentLink,
        listeners: Listeners,
        runtime: socket.socket,
        logs: int,
        release: AsyncExitStack,
    ) -> None:
        self.id = spec.id
        self.runtime = runtime
        self.logs = logs
        self.runtime_api, self.edge = listeners
        self.runtime_api_address, self.edge_address = (f"127.0.0.1:{each.getsockname()[1]}" for each in listeners)
        self.task_root = f"{place}/var/task"
        self.preloaded = False
        self.copies_process = False
        self.memory_limit_mb: int | None = None
        self.on_exit: Callable[[Exit], None] = lambda exit: None
        self._place = place
        self._image = spec.image
        self._agent = agent
        self._link = link
        self._release = release
        self._pids: dict[str, int] = {}
        self._ending: asyncio.Task[None] | None = None
        link.on_exit = self._ended
        link.on_close = lambda reason: self.on_exit(Exit("sandbox", None, None))

    async def start(self, role: str, argv: Sequence[str], environment: Mapping[str, str], cwd: str, *, output: int | None = None) -> None:
        if not argv:
            raise EntrypointError("no command", ENOENT)
        program, own = argv[0], self._image.command[:1]
        if not _inside(program):
            program = await asyncio.to_thread(find_program, program, self._image)
        if own and own[0] in argv[1:]:  # a wrapper is told what it wraps
            interpreter = await asyncio.to_thread(find_program, own[0], self._image)
            argv = [interpreter if word == own[0] else word for word in argv]
        variables = {key: ":".join(map(self._translate, value.split(":"))) for key, value in environment.items()}
        variables.setdefault("TMPDIR", f"{self._place}/tmp")
        if packages := _bundled_packages(self._image):
            variables["PYTHONPATH"] = ":".join(filter(None, (variables.get("PYTHONPATH"), packages)))
        command = [self._translate(program), *map(self._translate, argv[1:])]
        self._pids[role] = await self._link.start(role, command, variables, self._translate(cwd), output=output)

    def _translate(self, path: str) -> str:
        return f"{self._place}{path}" if _inside(path) else path

    def _ended(self, exit: Exit) -> None:
        self._pids.pop(exit.role, None)
        self.on_exit(exit)

    async def kill_processes(self) -> None:
        await self._link.kill_processes()

    async def reset(self) -> None:
        await self._link.kill_processes()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                await self._link.renew_runtime(theirs)
                if self._ending is not None:
                    raise SandboxError(f"sandbox {self.id} has gone")
            except BaseException:
                ours.close()
                raise
        self.runtime.close()
        self.runtime = self._release.enter_context(ours)
        ours.setblocking(False)

    async def connect(self, port: int) -> socket.socket:
        return await self._link.connect(port)

    def signal(self, role: str, signum: int) -> None:
        self._link.signal(role, signum)

    def freeze(self) -> None:
        """Stop the process groups; processes that have left them go on."""
        self._signal_groups(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_groups(signal.SIGCONT)

    def _signal_groups(self, signum: int) -> None:
        for pid in self._pids.values():
            with suppress(ProcessLookupError):
                os.killpg(pid, signum)

    def limit(self, *, memory_mb: int, vcpus: float | None) -> None:
        """Do nothing: limits need a cgroup. See `describe`."""

    async def trim(self) -> None:
        """Do nothing: only page cache could be given back, which here is the host's own."""

    def peak_memory(self) -> int:
        """The sum over current processes; shared pages count more than once."""
        return sum(map(procfs.peak_memory, procfs.descendants(self._agent)))

    def reset_peak(self) -> None:
        for pid in procfs.descendants(self._agent):
            procfs.reset_peak(pid)

    def cpu_usage(self) -> int:
        return procfs.cpu_of_ended_children(self._agent) + sum(map(procfs.cpu_usage, procfs.descendants(self._agent)))

    def oom_kills(self) -> int:
        return 0

    async def mount(self, source: Path, target: str) -> None:
        await asyncio.to_thread(_link, self._place, source, target)

    async def share(self, source: Path, target: str) -> None:
        raise SandboxError("a process has no mounts of its own")

    async def reach(self, networks: Sequence[str]) -> None:
        raise SandboxError("a process has no network of its own")

    async def restore_process(self, directory: Path) -> None:
        raise SandboxError("this driver has no snapshots")

    async def snapshot(self, directory: Path) -> None:
        raise SandboxError("a process has no snapshot")

    async def destroy(self) -> None:
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._release.aclose())
        await asyncio.shield(self._ending)


# --- the agent's process --------------------------------------------------------------------------------------------------


def _launch(agent: Path) -> "tuple[subprocess.Popen[bytes], socket.socket, socket.socket, int]":
    """Start an agent: (process, control channel, runtime channel, read end of the log pipe). Blocks."""
    with ExitStack() as theirs, ExitStack() as ours:
        pairs = [socket.socketpair() for _ in range(2)]
        for host, guest in pairs:
            theirs.enter_context(guest)
            ours.enter_context(host).setblocking(False)
        logs, log = os.pipe2(os.O_CLOEXEC)
        theirs.callback(os.close, log)
        ours.callback(os.close, logs)
        os.set_blocking(logs, False)
        given = [*(guest.fileno() for _, guest in pairs), log]
        command = [str(agent), "--runtime-port", "0", "--edge-port", "0", "--fds", *map(str, given)]
        process = subprocess.Popen(command, pass_fds=given, stdin=subprocess.DEVNULL, cwd="/")
        ours.pop_all()
        return process, pairs[0][0], pairs[1][0], logs


def _await_end(agent: "subprocess.Popen[bytes]") -> None:
    """Wait for the agent's end: its channel is closed, so it kills everything, then itself. Blocks."""
    try:
        agent.wait(END_S)
    except subprocess.TimeoutExpired:
        agent.kill()
        agent.wait()


# --- paths --------------------------------------------------------------------------------------------------------------


def _inside(path: str) -> bool:
    return any(path == target or path.startswith(f"{target}/") for target in TARGETS)


def _lay_out(place: Path, spec: SandboxSpec) -> None:
    """Make the sandbox's directory. Blocks. Raises `SandboxError`."""
    if spec.image.runtime_dir is None:
        raise SandboxError("--isolation process cannot run a container image: it has no root of its own to run it in")
    for name in ("var/task", "opt", "tmp"):
        (place / name).mkdir(parents=True)
    _link(place, spec.image.runtime_dir, "/var/runtime")
    for source, target in spec.mounts:
        _link(place, source, target)


def _link(place: Path, source: Path, target: str) -> None:
    """Link `target` to `source`, replacing an earlier link. Blocks."""
    if target not in TARGETS:
        raise SandboxError(f"the process driver cannot mount on {target}, only on {', '.join(TARGETS)}")
    path = place / target.lstrip("/")
    fresh = path.with_name(f".{path.name}")
    fresh.symlink_to(source.absolute(), target_is_directory=True)
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    fresh.replace(path)


def _bundled_packages(image: RuntimeImage) -> str:
    """The bundled packages of a Python runtime, such as boto3, from its root: pure Python, which the host's interpreter can load."""
    packages = image.root / "var" / "lang" / "lib" / image.runtime / "site-packages"
    return str(packages) if image.command and packages.is_dir() else ""
