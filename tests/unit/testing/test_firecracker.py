"""The double's faults, its vsock and its agent."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hanabi.base.clock import SystemClock
from hanabi.contracts.sandbox import Exit
from hanabi.errors import EntrypointError, SandboxError, VmmError, VmmUnresponsive
from hanabi.sandbox.firecracker import machine, vsock
from hanabi.sandbox.firecracker.machine_agent import GuestLink
from hanabi.sandbox.firecracker.vmm_api import FirecrackerApi
from hanabi.testing import ManualClock
from hanabi.testing.firecracker import FakeAgent, FakeFirecracker, Fault, Faults, IdleGuest
from tests.unit.sandbox.firecracker.machines import boot, connected, lay_out

VERSION = "GET /version"


async def snapshot(api: FirecrackerApi) -> None:
    await api.pause()
    await api.snapshot_create(snapshot_path="/state", mem_file_path="/memory")


async def load(api: FirecrackerApi, **options: Any) -> None:
    await api.snapshot_load(snapshot_path="/state", memory_path="/memory", resume=True, **options)


# --- faults


async def hit(tmp_path: Path, fault: Fault, work: Callable[[FirecrackerApi], Awaitable[None]]) -> FakeFirecracker:
    """Run `work`, which must fail by the fault."""

    lay_out(tmp_path)
    async with FakeFirecracker(tmp_path, faults=[fault], guest=IdleGuest) as fake:
        api = await connected(fake)
        with pytest.raises(VmmError):
            await work(api)
        api.close()
    return fake


STEPS = 9  # requests of `boot` and `snapshot`


async def boot_and_snapshot(api: FirecrackerApi) -> None:
    await boot(api)
    await snapshot(api)


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("do", ["refuse", "close", "garbage", "half-answer", "crash-before", "crash-after", "crash-answered"])
async def test_a_fault_at_every_step(tmp_path: Path, do: str, step: int) -> None:
    async def work(api: FirecrackerApi) -> None:
        await boot_and_snapshot(api)
        await api.version()  # who crashes after its answer is found out by the next question

    fake = await hit(tmp_path, Fault(on="* /*", do=do, after=step), work)
    assert len(fake.requests) == step + 1
    assert fake.ended.is_set() == do.startswith("crash")
    assert fake.status == (1 if do.startswith("crash") else None)
    done = do in ("half-answer", "crash-after", "crash-answered")
    assert (tmp_path / "memory").exists() == (step == STEPS - 1 and done)


@pytest.mark.parametrize(("do", "state", "memory"), [("half-state", False, True), ("half-memory", False, False)])
async def test_a_snapshot_half_written_is_not_restored(tmp_path: Path, do: str, state: bool, memory: bool) -> None:
    fake = await hit(tmp_path, Fault(on="PUT /snapshot/create", do=do), boot_and_snapshot)
    assert fake.ended.is_set()
    assert (tmp_path / "memory").stat().st_size == (16 << 20 if memory else 8 << 20)
    (tmp_path / "v.sock").unlink()
    fake.api_path.unlink()

    async with FakeFirecracker(tmp_path) as second:
        api = await connected(second)
        with pytest.raises(VmmError, match="Failed to load snapshot state"):
            await load(api)
        await second.ended.wait()  # one VMM is one attempt
        api.close()


def test_what_a_script_may_say() -> None:
    with pytest.raises(ValueError, match="no such fault"):
        Fault(on="*", do="explode")
    with pytest.raises(ValueError, match="has no mode"):
        Fault.of({"on": "*", "do": "hang", "mode": 1})
    faults = Faults([Fault(on="PUT /drives/*", do="hang", after=1, times=2, id="t*")], "t1")
    struck = [faults.match(what) is not None for what in ("PUT /drives/a", "PUT /vsock", *["PUT /drives/b"] * 3)]
    assert struck == [False, False, True, True, False]
    assert Faults(faults.faults, "x1").match("PUT /drives/a") is None


def test_two_processes_count_together(tmp_path: Path) -> None:
    descriptors = [os.open(tmp_path / "ledger", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    one, two = (Faults([Fault(on="*", do="hang")], ledger=fd) for fd in descriptors)
    assert one.match("start")
    assert not two.match("start")
    for fd in descriptors:
        os.close(fd)


@pytest.mark.both_loops
async def test_slow_and_silent_by_the_injected_clock(tmp_path: Path) -> None:
    clock = ManualClock()
    faults = [Fault(on=VERSION, do="delay", seconds=19), Fault(on=VERSION, do="hang", after=1)]
    async with FakeFirecracker(tmp_path, faults=faults, clock=clock) as fake:
        api = await connected(fake, clock)
        slow = asyncio.create_task(api.version())
        while not fake.requests:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await clock.advance(18.9)
        assert not slow.done()
        await clock.advance(0.1)
        assert await slow == "1.16.1"
        silent = asyncio.create_task(api.version())
        await asyncio.sleep(0)
        await clock.advance(20)
        with pytest.raises(VmmUnresponsive, match="no answer within 20 s"):
            await silent


@pytest.mark.parametrize(("do", "reason"), [("deaf-socket", "Connection refused"), ("hang", "No such file")])
async def test_a_socket_that_never_listens(tmp_path: Path, do: str, reason: str) -> None:
    async with FakeFirecracker(tmp_path, faults=[Fault(on="start", do=do)]) as fake:
        with pytest.raises(VmmUnresponsive, match=reason):
            await FirecrackerApi(fake.api_path, clock=SystemClock()).connect(0.1)


# --- what needs 1.16


async def test_overrides_at_restore(tmp_path: Path) -> None:
    lay_out(tmp_path)
    async with FakeFirecracker(tmp_path) as fake:
        api = await connected(fake)
        await boot_and_snapshot(api)
        api.close()
    fake.api_path.unlink()
    (tmp_path / "v.sock").unlink()
    async with FakeFirecracker(tmp_path) as fake:
        api = await connected(fake)
        await load(api, network_overrides=[("eth0", "tap7")], vsock_uds_path="/other.sock", clock_realtime=True)
        config = await api.vm_config()
        assert config["network-interfaces"][0]["host_dev_name"] == "tap7"
        assert config["vsock"]["uds_path"] == "/other.sock"
        assert (tmp_path / "other.sock").is_socket() and not (tmp_path / "v.sock").exists()
        assert (await api.instance_info()).state == "Running"
        api.close()
    fake.api_path.unlink()
    async with FakeFirecracker(tmp_path, version=(1, 12, 1)) as fake:
        api = await connected(fake)
        with pytest.raises(VmmError, match="unknown field `vsock_override`"):
            await load(api, vsock_uds_path="/other.sock")
        api.close()


# --- the guest


class Host:
    """The host's three connections to the agent of a double."""

    def __init__(self, fake: FakeFirecracker) -> None:
        self.path = fake.machine.path("/v.sock")

    async def dial(self, channel: int) -> Any:
        return await vsock.connect(self.path, machine.PORT + channel, clock=SystemClock(), deadline_s=20)

    async def attach(self) -> None:
        self.link = GuestLink(await self.dial(0), SystemClock())
        assert await self.link.greet(20) == (9001, 9002)
        await self.link.identify(time_ns=1, hostname="h", network=None)
        self.runtime, self.logs = await self.dial(1), await self.dial(2)

    async def frame(self) -> bytes:
        loop = asyncio.get_running_loop()
        said = b""
        while len(said) < 4 or len(said) < 4 + int.from_bytes(said[:4], "little"):
            said += await loop.sock_recv(self.runtime, 65536)
        return said[4:]

    async def send(self, kind: bytes, body: bytes = b"") -> None:
        await asyncio.get_running_loop().sock_sendall(self.runtime, (len(body) + 1).to_bytes(4, "little") + kind + body)

    def close(self) -> None:
        self.link.close()
        self.runtime.close()
        self.logs.close()


@pytest.mark.both_loops
async def test_a_function_in_a_restored_machine(tmp_path: Path) -> None:
    lay_out(tmp_path)
    async with FakeFirecracker(tmp_path) as fake:
        api, host = await connected(fake), Host(fake)
        await boot(api)
        await host.attach()
        await host.link.start("runtime", ["/bin/python", "b.py"], {"HANABI_ANNOUNCE": "1"}, "/")
        assert await host.frame() == b"l"
        await host.link.quiesce()
        host.close()
        await snapshot(api)
        api.close()
    fake.api_path.unlink()
    (tmp_path / "v.sock").unlink()
    async with FakeFirecracker(tmp_path) as fake:
        api, host = await connected(fake), Host(fake)
        await load(api)
        await api.patch_drive("task", "/task")
        await host.attach()
        await host.link.mount_drive("b", size=4096, file_system="erofs", target="/var/task")
        await host.send(b"i", b"{}")
        assert await host.frame() == b"r"
        await host.send(b"n", b"\3\0r\n0payload")
        assert await host.frame() == b"opayload"
        assert await asyncio.get_running_loop().sock_recv(host.logs, 100) == b"an invocation\n"
        agent = fake.guest
        assert isinstance(agent, FakeAgent)
        assert agent.mounted == [("b", "/var/task", False)] and len(agent.identities) == 1
        assert agent.processes[0].argv == ["/bin/python", "b.py"]
        await host.link.ping()
        assert host.link.memory_peak_bytes > 0
        await api.pause()  # nothing moves
        await host.send(b"n", b"\3\0r\n0later")
        answer = asyncio.create_task(host.frame())
        await asyncio.sleep(0.02)
        assert not answer.done()
        await api.resume()
        assert await answer == b"olater"
        host.close()
        api.close()


async def test_processes_that_end(tmp_path: Path) -> None:
    lay_out(tmp_path)
    async with FakeFirecracker(tmp_path) as fake:
        api, host = await connected(fake), Host(fake)
        await boot(api)
        await host.attach()
        exits: list[Exit] = []
        host.link.on_exit = exits.append
        for role in ("runtime", "watcher"):
            await host.link.start(role, ["/x"], {}, "/")
        host.link.signal("watcher", 15)
        await host.link.kill_processes()
        assert exits == [Exit("watcher", None, 15), Exit("runtime", None, 9)]
        host.close()
        api.close()


async def test_nobody_listens_in_an_idle_guest(tmp_path: Path) -> None:
    lay_out(tmp_path)
    async with FakeFirecracker(tmp_path, guest=IdleGuest) as fake:
        api = await connected(fake)
        await boot(api)
        with pytest.raises(VmmUnresponsive, match="nobody listens"):
            await vsock.connect(tmp_path / "v.sock", machine.PORT, clock=SystemClock(), deadline_s=2.0)
        api.close()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(on="CONNECT 5000", do="close", times=3), None),
        (Fault(on="CONNECT 5000", do="hang"), None),
        (Fault(on="CONNECT 5000", do="garbage"), None),
        (Fault(on="agent H", do="garbage"), SandboxError),
        (Fault(on="agent H", do="close"), SandboxError),
        (Fault(on="agent V", do="refuse", message="5"), SandboxError),
        (Fault(on="agent V", do="close"), SandboxError),
        (Fault(on="agent V", do="crash-before"), SandboxError),
        (Fault(on="agent S", do="refuse"), EntrypointError),
        (Fault(on="agent S", do="close"), SandboxError),
    ],
)
async def test_faults_of_the_guest(tmp_path: Path, fault: Fault, error: type[Exception] | None) -> None:
    lay_out(tmp_path)
    async with FakeFirecracker(tmp_path, faults=[fault]) as fake:
        api, host = await connected(fake), Host(fake)
        await boot(api)
        if error is None:
            await host.attach()
            host.close()
        else:
            with pytest.raises(error):
                await host.attach()
                await host.link.start("runtime", ["/x"], {}, "/")
            host.link.close()
            for sock in (getattr(host, "runtime", None), getattr(host, "logs", None)):
                if sock is not None:
                    sock.close()
        api.close()
