"""The `process` driver, with real processes."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hanabi.base.clock import SystemClock
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Driver, Exit, Sandbox, SandboxSpec
from hanabi.errors import EntrypointError, IsolationUnavailable, SandboxError
from hanabi.sandbox.process import interpreters
from hanabi.sandbox.process.driver import ProcessDriver
from hanabi.sandbox.process.interpreters import find_program, why_unavailable
from tests.unit.guest.agent.rig import build, gone
from tests.waiting import until

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
TICK_S = 0.005


def image(tmp_path: Path, runtime: str = PYTHON) -> RuntimeImage:
    bootstrap = tmp_path / "runtime"
    bootstrap.mkdir(exist_ok=True)
    return RuntimeImage(
        runtime=runtime, digest="0" * 64, root=tmp_path, runtime_dir=bootstrap, command=(), environment={}, version_arn="arn:test"
    )


class Place:
    """A sandbox and what it told."""

    def __init__(self, sandbox: Sandbox, directory: Path) -> None:
        self.sandbox = sandbox
        self.directory = directory
        self.exits: list[Exit] = []
        sandbox.on_exit = self.exits.append

    async def read(self, end: bytes = b"\n") -> str:
        text = b""

        def more() -> bool:
            nonlocal text
            try:
                text += os.read(self.sandbox.logs, 65536)
            except BlockingIOError:
                pass
            return text.endswith(end)

        await until(more)
        return text.decode()

    async def run(self, *argv: str, environment: dict[str, str] | None = None, cwd: str = "/") -> str:
        """Run to the end, which must be good, and return what was printed."""
        self.exits.clear()
        await self.sandbox.start("runtime", argv, {"PATH": os.environ["PATH"], **(environment or {})}, cwd)
        await until(lambda: bool(self.exits))
        text = await self.read(b"") if self.exits == [Exit("runtime", 0, None)] else ""
        assert self.exits == [Exit("runtime", 0, None)], text
        return text

    async def shell(self, script: str) -> str:
        return await self.run("/bin/sh", "-ec", script)


@asynccontextmanager
async def alive(tmp_path: Path, **spec: Any) -> AsyncIterator[Place]:
    """A sandbox in a driver of its own; afterwards nothing is left."""
    build()
    driver: Driver = ProcessDriver(tmp_path / "run", SystemClock(), allow_root=True)
    await driver.open()
    sandbox = await driver.create(SandboxSpec(id="one", image=image(tmp_path), memory_mb=128, tmp_mb=512, **spec))
    try:
        yield Place(sandbox, tmp_path / "run" / "one")
    finally:
        await sandbox.destroy()
        await sandbox.destroy()
        await driver.close()
    assert not (tmp_path / "run").exists()


@pytest.mark.both_loops
async def test_the_life_of_a_sandbox(tmp_path: Path) -> None:
    async with alive(tmp_path) as place:
        assert await place.shell("echo hello; echo there >&2") == "hello\nthere\n"
        await place.sandbox.start("runtime", ["/bin/sleep", "1000"], {}, "/")
        place.sandbox.signal("runtime", signal.SIGTERM)
        await until(lambda: Exit("runtime", None, signal.SIGTERM) in place.exits)


async def test_a_reset_keeps_files_and_nothing_else(tmp_path: Path) -> None:
    async with alive(tmp_path) as place:
        loop = asyncio.get_running_loop()
        await place.sandbox.start("runtime", ["/bin/sh", "-c", "echo kept >$TMPDIR/file; echo half >&4; echo $$; sleep 1000"], {}, "/")
        pid = int(await place.read())
        await place.sandbox.reset()
        assert gone(pid) and place.exits == [Exit("runtime", None, signal.SIGKILL)]
        await loop.sock_sendall(place.sandbox.runtime, b"for the next one\n")
        assert await place.shell("read line <&4; echo $line; cat $TMPDIR/file; echo whole >&4") == "for the next one\nkept\n"
        assert await loop.sock_recv(place.sandbox.runtime, 64) == b"whole\n"


async def test_root_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(IsolationUnavailable, match="ordinary user"):
        await ProcessDriver(tmp_path, SystemClock()).open()


def test_it_says_what_it_does_not_protect(tmp_path: Path) -> None:
    said = ProcessDriver(tmp_path, SystemClock()).describe()
    for word in ("no isolation", "files", "processes", "network", "memory", "CPU", "/tmp", "freeze"):
        assert word in said


async def test_it_says_which_runtimes_have_an_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build()
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("python3.99", "echo 3.99"), ("python2.2", "echo it is not installed >&2; exit 127"), ("node", "echo v97.1.0")):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")  # as the shims of version managers are on PATH, whatever is installed
        (tools / name).chmod(0o755)
    monkeypatch.setattr(interpreters, "_found", {})
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    runtimes = [PYTHON, "python3.99", "python2.2", "nodejs97.x", "nodejs4.x", "provided.al2023"]
    driver = ProcessDriver(tmp_path / "run", SystemClock(), runtimes=runtimes, allow_root=True)
    await driver.open()
    said = driver.describe().splitlines()[0]
    assert f"It runs {PYTHON}, python3.99, nodejs97.x, provided.al2023; not python2.2, nodejs4.x, whose interpreters" in said
    assert why_unavailable("python3.99") == why_unavailable("provided.al2023") == why_unavailable(PYTHON) == ""
    assert why_unavailable("python2.2").startswith("this host has no python2.2 on PATH, which --isolation process needs: install it")
    assert "--isolation process runs Python, Node.js and OS-only runtimes" in why_unavailable("java21")
    assert "no node of that version" in why_unavailable("nodejs4.x")
    (tools / "python2.2").write_text("#!/bin/sh\necho 2.2\n")
    assert why_unavailable("python2.2") == ""  # it was installed meanwhile


async def test_paths_are_those_of_the_sandbox(tmp_path: Path) -> None:
    code, later, layer = tmp_path / "code", tmp_path / "later", tmp_path / "layer"
    for directory in (code, later, layer):
        directory.mkdir()
        (directory / "name").write_text(directory.name)
    (code / "bootstrap").write_text("#!/bin/sh\ncat name\necho :$A:$PWD:$TMPDIR; touch $TMPDIR/x")
    (code / "bootstrap").chmod(0o755)

    async with alive(tmp_path, mounts=((code, "/var/task"),)) as place:
        where = place.directory
        assert place.sandbox.task_root == f"{where}/var/task"
        text = await place.run("/var/task/bootstrap", environment={"A": "/var/task:/opt/lib:/var/tasks:/x"}, cwd="/var/task")
        assert text == f"code:{where}/var/task:{where}/opt/lib:/var/tasks:/x:{code}:{where}/tmp\n"
        await place.sandbox.mount(later, "/var/task")
        await place.sandbox.mount(layer, "/opt")
        assert await place.run("/bin/cat", "/var/task/name", "/opt/name") == "laterlayer"
        with pytest.raises(SandboxError, match="cannot mount on /etc"):
            await place.sandbox.mount(later, "/etc")


async def test_code_comes_to_a_sandbox_that_runs(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "name").write_text("found")

    async with alive(tmp_path) as place:
        script = f"until cat {place.sandbox.task_root}/name 2>/dev/null; do sleep 0.01; done"
        running = asyncio.create_task(place.shell(script))
        await asyncio.sleep(0)
        await place.sandbox.mount(code, "/var/task")
        assert await running == "found"


async def test_the_runtime_channel_and_the_ports(tmp_path: Path) -> None:
    script = """
import os, socket
os.write(4, os.read(4, 10)[::-1])
for name in ('API', 'EDGE'):
    host, port = os.environ[name].split(':')
    socket.create_connection((host, int(port))).sendall(name.encode())
"""

    async with alive(tmp_path) as place:
        sandbox, loop = place.sandbox, asyncio.get_running_loop()
        await loop.sock_sendall(sandbox.runtime, b"abc")
        variables = {"API": sandbox.runtime_api_address, "EDGE": sandbox.edge_address}
        await place.run("/usr/bin/python3", "-c", script, environment=variables)
        assert await loop.sock_recv(sandbox.runtime, 10) == b"cba"
        for listener, expected in ((sandbox.runtime_api, b"API"), (sandbox.edge, b"EDGE")):
            connection, _ = await loop.sock_accept(listener)
            with connection:
                assert await loop.sock_recv(connection, 10) == expected


async def test_a_runtime_of_another_version_is_refused(tmp_path: Path) -> None:
    async with alive(tmp_path) as place:
        with pytest.raises(EntrypointError, match="No such file"):
            await place.sandbox.start("runtime", ["/var/task/bootstrap"], {}, "/")
    assert os.path.basename(find_program("/usr/bin/python3", image(tmp_path))) == PYTHON
    with pytest.raises(EntrypointError, match=r"this host has no python2\.2"):
        find_program("/usr/bin/python3", image(tmp_path, "python2.2"))
    with pytest.raises(EntrypointError, match=r"this host has no nodejs4\.x"):
        find_program("/usr/bin/node", image(tmp_path, "nodejs4.x"))
    with pytest.raises(EntrypointError, match="this host has no frobnicate"):
        find_program("/usr/bin/frobnicate", image(tmp_path))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_node_of_the_same_major_version(tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node is not None
    major = subprocess.check_output([node, "--version"], text=True)[1:].partition(".")[0]
    assert find_program("/usr/bin/node", image(tmp_path, f"nodejs{major}.x")) == node


async def test_freeze_and_thaw(tmp_path: Path) -> None:
    async with alive(tmp_path) as place:
        sandbox = place.sandbox
        await sandbox.start("runtime", ["/bin/sh", "-c", "while :; do :; done & while :; do :; done"], {}, "/")
        await until(lambda: sandbox.cpu_usage() > 50_000)
        sandbox.freeze()
        await asyncio.sleep(0.05)  # a stop takes effect at the next turn of each process
        frozen = sandbox.cpu_usage()
        await asyncio.sleep(0.15)
        assert sandbox.cpu_usage() == frozen
        sandbox.thaw()
        await until(lambda: sandbox.cpu_usage() > frozen)
        sandbox.freeze()
        await sandbox.kill_processes()
        assert place.exits == [Exit("runtime", None, signal.SIGKILL)]
        sandbox.freeze()
        sandbox.thaw()


async def test_measures(tmp_path: Path) -> None:
    script = "import os; x = bytearray(80 << 20); del x; os.write(4, b'.'); os.read(4, 1)"

    async with alive(tmp_path) as place:
        sandbox, loop = place.sandbox, asyncio.get_running_loop()
        assert sandbox.peak_memory() == 0 and sandbox.oom_kills() == 0
        await sandbox.start("runtime", ["/usr/bin/python3", "-c", script], {}, "/")
        assert await loop.sock_recv(sandbox.runtime, 1) == b"."
        assert 80 << 20 < sandbox.peak_memory() < 200 << 20
        sandbox.reset_peak()
        assert 0 < sandbox.peak_memory() < 80 << 20
        sandbox.limit(memory_mb=128, vcpus=None)
        await loop.sock_sendall(sandbox.runtime, b".")
        await until(lambda: bool(place.exits))
        assert sandbox.cpu_usage() > 0


async def test_destroy_leaves_nothing(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with alive(tmp_path) as place:
        await place.sandbox.start("runtime", ["/bin/sh", "-c", "setsid sleep 1000 & echo $! $$; wait"], {"PATH": os.environ["PATH"]}, "/")
        pids = [int(pid) for pid in (await place.read()).split()]
        assert not any(map(gone, pids))
    assert len(pids) == 2 and all(map(gone, pids))
    assert len(os.listdir("/proc/self/fd")) == before


async def test_the_agent_s_death_is_the_sandbox_s(tmp_path: Path) -> None:
    async with alive(tmp_path) as place:
        await place.sandbox.start("runtime", ["/bin/sh", "-c", "echo $PPID; sleep 1000"], {"PATH": os.environ["PATH"]}, "/")
        os.kill(int(await place.read()), signal.SIGKILL)
        await until(lambda: bool(place.exits))
        assert place.exits[-1].role == "sandbox"
        with pytest.raises(SandboxError):
            await place.sandbox.start("runtime", ["/bin/true"], {}, "/")


async def test_an_agent_that_does_not_run_fails_the_create(tmp_path: Path) -> None:
    build()

    driver = ProcessDriver(tmp_path / "run", SystemClock(), allow_root=True)
    await driver.open()
    driver._agent = Path("/bin/true")
    before = len(os.listdir("/proc/self/fd"))
    spec = SandboxSpec(id="one", image=image(tmp_path), memory_mb=128, tmp_mb=512)
    with pytest.raises(SandboxError, match="the agent has gone"):
        await driver.create(spec)
    driver._agent = Path("/no/such/agent")
    with pytest.raises(SandboxError, match="No such file"):
        await driver.create(spec)
    assert len(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path / "run") == []
    await driver.close()


async def test_what_an_earlier_run_left_is_cleaned(tmp_path: Path) -> None:
    (tmp_path / "run" / "old" / "var").mkdir(parents=True)
    build()
    await ProcessDriver(tmp_path / "run", SystemClock(), allow_root=True).open()
    assert os.listdir(tmp_path / "run") == []
