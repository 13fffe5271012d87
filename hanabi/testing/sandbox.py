"""Fakes of a driver and its sandboxes: no process, no agent; the code inside is a coroutine of the test.

    async def bootstrap(process: FakeProcess) -> int | None:
        await process.write("r")
        while True:
            kind, body = await process.read()
            ...

    driver = FakeDriver(bootstrap)

The channels, the log pipe and the listening sockets are real. Faults: `create_errors`, `start_errors`, `FakeSandbox.vanish`, and
bootstraps that misbehave (`silent`, `exit_when_invoked`, `raise Killed(9)`).
"""

import asyncio
import os
import socket
import struct
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Exit, Preload, SandboxSpec
from hanabi.errors import SandboxError

Bootstrap = Callable[["FakeProcess"], Awaitable[int | None]]
MIB = 1024 * 1024
READY = b"\1\0\0\0r"
SNAPSHOT = "snapshot"  # a file in the directory of one


class Killed(Exception):
    """Raised by a bootstrap to end as if by a signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


# --- bootstraps -------------------------------------------------------------------------------------------------------


async def echo(process: "FakeProcess") -> int | None:
    """A bootstrap that gets ready at once and answers with the invocation's payload."""
    await process.write("r")
    while True:
        kind, body = await process.read()
        if kind == "n":
            await process.answer(process.payload(body))


async def silent(process: "FakeProcess") -> int | None:
    """A bootstrap that never sends anything."""
    await asyncio.Event().wait()
    return None


def exit_when_invoked(status: int) -> Bootstrap:
    """A bootstrap that gets ready, and exits during its first invocation."""

    async def bootstrap(process: "FakeProcess") -> int | None:
        await process.write("r")
        while (await process.read())[0] != "n":
            pass
        return status

    return bootstrap


class FakeProcess:
    """A bootstrap's process. It stands still while its sandbox is frozen."""

    def __init__(self, sandbox: "FakeSandbox", role: str, argv: Sequence[str], environment: Mapping[str, str], cwd: str) -> None:
        self.sandbox = sandbox
        self.role = role
        self.argv = tuple(argv)
        self.environment = dict(environment)
        self.cwd = cwd
        self.signals: list[int] = []
        self.output: int | None = None  # a pipe of its own

    async def read(self) -> tuple[str, bytes]:
        """Read the next frame of the runtime channel. At the channel's end the process ends, as a real one does."""
        reader, _ = await self.sandbox.channel()
        try:
            length, kind = struct.unpack("<IB", await reader.readexactly(5))
            body = await reader.readexactly(length - 1)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Killed(13) from None
        await self.sandbox.thawed.wait()
        return chr(kind), body

    async def write(self, kind: str, body: bytes = b"", more: bytes = b"") -> None:
        await self.sandbox.thawed.wait()
        _, writer = await self.sandbox.channel()
        writer.write(struct.pack("<IB", len(body) + 1, ord(kind)) + body + more)
        await writer.drain()

    async def answer(self, body: bytes) -> None:
        """Send a result, and ready for the next invocation, in one write as the Python bootstrap does."""
        await self.write("o", body, READY)

    def print(self, text: str) -> None:
        """Print to standard output."""
        os.write(self.sandbox.output if self.output is None else self.output, text.encode() + b"\n")

    @staticmethod
    def header(body: bytes) -> list[str]:
        """The header of an invoke frame: request id, deadline, ARN, trace, tenant, client context."""
        return body[2 : 2 + int.from_bytes(body[:2], "little")].decode().split("\n")

    @staticmethod
    def payload(body: bytes) -> bytes:
        """The payload of an invoke frame."""
        return body[2 + int.from_bytes(body[:2], "little") :]


class FakeSandbox:
    """A fake sandbox, made by `FakeDriver.create`. `history` records the calls; the test sets its measurements."""

    def __init__(self, spec: SandboxSpec, driver: "FakeDriver") -> None:
        self.id = spec.id
        self.spec = spec
        self.runtime, self._inner = socket.socketpair()
        self.runtime.setblocking(False)
        self.logs, self.output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.runtime_api, self.edge = _listen(), _listen()
        self.runtime_api_address, self.edge_address = (f"127.0.0.1:{each.getsockname()[1]}" for each in (self.runtime_api, self.edge))
        self.task_root = "/var/task"
        self.preloaded = False
        self.copies_process = driver.copies_processes
        self.memory_limit_mb: int | None = driver.memory_limit_mb
        self.on_exit: Callable[[Exit], None] = lambda exit: None
        self.history: list[str] = []
        self.processes: dict[str, FakeProcess] = {}
        self.thawed = asyncio.Event()
        self.thawed.set()
        self.memory_mb = spec.memory_mb
        self.vcpus: float | None = None
        self.peak = 32 * MIB
        self.cpu_us = 0
        self.ooms = 0
        self.mounts: list[tuple[Path, str]] = list(spec.mounts)
        self.destroyed = False
        self._driver = driver
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._channel: asyncio.Task[tuple[asyncio.StreamReader, asyncio.StreamWriter]] | None = None

    @property
    def processes_alive(self) -> list[str]:
        """The roles of running processes."""
        return list(self._tasks)

    @property
    def frozen(self) -> bool:
        return not self.thawed.is_set()

    async def channel(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open the inner end of the runtime channel. If the process is killed meanwhile, `destroy` closes it."""
        if self._channel is None:
            if self.destroyed:
                raise Killed(13)
            own = socket.socket(fileno=self._inner.detach())
            self._channel = asyncio.get_running_loop().create_task(asyncio.open_connection(sock=own))
        return await asyncio.shield(self._channel)

    # --- contracts.Sandbox

    async def start(self, role: str, argv: Sequence[str], environment: Mapping[str, str], cwd: str, *, output: int | None = None) -> None:
        self.history.append(f"start {role}")
        if self.destroyed:
            raise SandboxError(f"sandbox {self.id} has gone")
        if self._driver.start_errors:
            raise self._driver.start_errors.pop(0)
        self.run(role, self._driver.bootstrap if role == "runtime" else self._driver.extension, argv, environment, cwd)
        if output is not None:
            self.processes[role].output = os.dup(output)
        await asyncio.sleep(0)  # it has begun: from here on its end is told

    async def connect(self, port: int) -> socket.socket:
        self.history.append(f"connect {port}")
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        return sock

    def run(
        self, role: str, bootstrap: Bootstrap, argv: Sequence[str] = (), environment: Mapping[str, str] | None = None, cwd: str = "/"
    ) -> None:
        """Run a process, started here or, in a clone, before."""
        process = self.processes[role] = FakeProcess(self, role, argv, environment or {}, cwd)
        self._tasks[role] = asyncio.get_running_loop().create_task(self._run(process, bootstrap))

    async def kill_processes(self) -> None:
        self.history.append("kill_processes")
        await self._kill()

    async def reset(self) -> None:
        self.history.append("reset")
        if self._driver.reset_errors:
            raise self._driver.reset_errors.pop(0)
        await self._kill()
        if self._channel:
            (await self._channel)[1].close()
        if self.destroyed:  # meanwhile
            raise SandboxError(f"sandbox {self.id} has gone")
        self._channel = None
        for sock in (self.runtime, self._inner):
            sock.close()
        self.runtime, self._inner = socket.socketpair()
        self.runtime.setblocking(False)

    def signal(self, role: str, signum: int) -> None:
        """Signal a process, which records it; SIGKILL and SIGTERM end it."""
        self.history.append(f"signal {role} {signum}")
        if role in self._tasks:
            self.processes[role].signals.append(signum)
            if signum in (9, 15):
                self._tasks[role].cancel(str(signum))

    def freeze(self) -> None:
        self.history.append("freeze")
        self.thawed.clear()

    def thaw(self) -> None:
        self.history.append("thaw")
        self.thawed.set()

    def limit(self, *, memory_mb: int, vcpus: float | None) -> None:
        self.history.append(f"limit {memory_mb} {vcpus}")
        self.memory_mb, self.vcpus = memory_mb, vcpus

    async def trim(self) -> None:
        self.history.append("trim")

    def peak_memory(self) -> int:
        return self.peak

    def reset_peak(self) -> None:
        self.history.append("reset_peak")

    def cpu_usage(self) -> int:
        return self.cpu_us

    def oom_kills(self) -> int:
        return self.ooms

    async def mount(self, source: Path, target: str) -> None:
        self.history.append(f"mount {target}")
        self.mounts.append((source, target))

    async def share(self, source: Path, target: str) -> None:
        self.history.append(f"share {target}")
        if self._driver.share_errors:
            raise self._driver.share_errors.pop(0)
        self.mounts.append((source, target))

    async def reach(self, networks: Sequence[str]) -> None:
        self.history.append(f"reach {' '.join(networks)}")

    async def snapshot(self, directory: Path) -> None:
        self.history.append("snapshot")
        if self._driver.snapshot_errors:
            raise self._driver.snapshot_errors.pop(0)
        (directory / SNAPSHOT).touch()

    async def restore_process(self, directory: Path) -> None:
        self.history.append("restore_process")
        if self._driver.restore_errors:
            raise self._driver.restore_errors.pop(0)
        assert (directory / SNAPSHOT).exists() and self._driver.clone is not None
        self.run("runtime", self._driver.clone)

    async def destroy(self) -> None:
        if self.destroyed:
            return
        self.destroyed = True
        self.history.append("destroy")
        await self._kill()
        if self._channel:
            (await self._channel)[1].close()
        for sock in (self.runtime, self._inner, self.runtime_api, self.edge):
            sock.close()
        os.close(self.output)
        os.close(self.logs)

    # --- what happens inside

    def vanish(self) -> None:
        """End the sandbox without `destroy`, as when the agent dies."""
        for task in self._tasks.values():
            task.cancel("9")
        self.on_exit(Exit("sandbox", None, 9))

    async def _kill(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel("9")
        await asyncio.gather(*tasks, return_exceptions=True)  # one may have been cancelled before it began

    async def _run(self, process: FakeProcess, bootstrap: Bootstrap) -> None:
        status: int | None = None
        signum: int | None = None
        try:
            status = await bootstrap(process) or 0
        except Killed as killed:
            signum = killed.signum
        except asyncio.CancelledError as cancelled:
            signum = int(cancelled.args[0]) if cancelled.args else 9
        except Exception:
            process.print(traceback.format_exc())
            status = 1
        del self._tasks[process.role]
        if process.output is not None:
            os.close(process.output)
            process.output = None
        self.on_exit(Exit(process.role, status, signum))


class FakeDriver:
    """A fake driver. The next calls raise `create_errors` and `start_errors`, one each. `create_allowed`, while cleared, holds up `create`.

    `extension` runs in processes beside the runtime. Its sandboxes get `memory_limit_mb`.
    With `can_snapshot`, `clone` runs in those restored from a snapshot.
    """

    name = "fake"
    overhead_mb = 0
    pool_memory_mb = 1024
    shares_directories = has_networks = True
    uses_roots = True

    def describe(self) -> str:
        return "fake (in memory)"

    def __init__(self, bootstrap: Bootstrap = echo) -> None:
        self.bootstrap = bootstrap
        self.extension: Bootstrap = silent
        self.sandboxes: list[FakeSandbox] = []
        self.prepared: list[str] = []
        self.create_errors: list[Exception] = []
        self.start_errors: list[Exception] = []
        self.snapshot_errors: list[Exception] = []
        self.restore_errors: list[Exception] = []
        self.share_errors: list[Exception] = []
        self.reset_errors: list[Exception] = []
        self.create_allowed = asyncio.Event()
        self.create_allowed.set()
        self.is_open = False
        self.memory_limit_mb: int | None = None
        self.can_snapshot = False
        self.copies_processes = False
        self.clone: Bootstrap = silent

    @property
    def alive(self) -> list[FakeSandbox]:
        return [each for each in self.sandboxes if not each.destroyed]

    async def why_unavailable(self, runtime: str) -> str:
        return ""

    async def open(self) -> None:
        self.is_open = True

    async def create(self, spec: SandboxSpec) -> FakeSandbox:
        await self.create_allowed.wait()
        if self.create_errors:
            raise self.create_errors.pop(0)
        if spec.snapshot is not None and not (spec.snapshot / SNAPSHOT).exists():
            raise SandboxError(f"the snapshot {spec.snapshot.name} is not whole")
        sandbox = FakeSandbox(spec, self)
        self.sandboxes.append(sandbox)
        if spec.snapshot is not None:
            sandbox.run("runtime", self.clone)
        return sandbox

    async def prepare(self, image: RuntimeImage, preload: Preload | None) -> None:
        self.prepared.append(image.runtime)

    async def prepare_directory(self, directory: Path) -> None:
        self.prepared.append(str(directory))

    async def close(self) -> None:
        self.is_open = False
        assert not self.alive, f"sandboxes left: {[each.id for each in self.alive]}"


def _listen() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener
