"""The host's end of a guest's vsock: the greeting to the byte, lost and refused attempts, who may connect."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hanabi.base.clock import SystemClock
from hanabi.errors import SandboxError, VmmUnresponsive
from hanabi.sandbox.firecracker import sockets, vsock
from hanabi.testing import ManualClock
from tests.unit.sandbox.firecracker.scripted import RuntimeLink, serving


async def dial(path: Path, **options: float) -> socket.socket:
    return await vsock.connect(path, 1024, clock=SystemClock(), deadline_s=options.pop("deadline_s", 30), **options)  # type: ignore[arg-type]


def greeting(*answers: bytes | None) -> RuntimeLink:
    """Each connection gets the next answer, byte by byte; None is never answered."""
    left = list(answers)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"CONNECT 1024\n"
        answer = left.pop(0)
        if answer is None:
            await asyncio.Event().wait()
        assert answer is not None
        for byte in answer:
            writer.write(bytes((byte,)))
            await writer.drain()
        if answer.startswith(b"OK"):
            await asyncio.Event().wait()

    return talk


@pytest.mark.both_loops
async def test_nothing_is_read_beyond_the_greeting(tmp_path: Path) -> None:
    async with serving(tmp_path / "v.sock", greeting(b"OK 1073741824\nOK 1\nhello")):
        sock = await dial(tmp_path / "v.sock")
        said = b""
        while len(said) < 10:
            said += await asyncio.get_running_loop().sock_recv(sock, 100)
        assert said == b"OK 1\nhello"
        sock.close()


@pytest.mark.both_loops
async def test_lost_and_refused_attempts_are_repeated(tmp_path: Path) -> None:
    """Nobody listens in the guest (an end), half an answer, nonsense, too much, no answer at all twice, and then an answer."""
    answers = (b"", b"OK ", b"NO 5\n", b"OK x\n", b"OK " + b"1" * 100, None, None, b"OK 7\n")

    async with serving(tmp_path / "v.sock", greeting(*answers)):
        (await dial(tmp_path / "v.sock", first_timeout_s=0.02)).close()


async def test_a_reset(tmp_path: Path) -> None:
    listener = sockets.listen(tmp_path / "v.sock")
    dialling = asyncio.create_task(dial(tmp_path / "v.sock"))
    loop = asyncio.get_running_loop()
    for _ in range(3):
        rejected, _ = await loop.sock_accept(listener)
        rejected.close()  # with what was sent unread: a reset
    accepted, _ = await loop.sock_accept(listener)
    await loop.sock_sendall(accepted, b"OK 1\n")
    (await dialling).close()
    accepted.close()
    listener.close()


async def test_a_socket_that_comes_later(tmp_path: Path) -> None:
    dialling = asyncio.create_task(dial(tmp_path / "v.sock"))
    await asyncio.sleep(0.005)
    assert not dialling.done()
    async with serving(tmp_path / "v.sock", greeting(b"OK 7\n")):
        (await dialling).close()


async def test_the_deadline_and_doubled_timeouts_by_the_injected_clock(tmp_path: Path) -> None:
    attempts = 0

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        await reader.read()

    clock = ManualClock()
    async with serving(tmp_path / "v.sock", never):
        dialling = asyncio.create_task(vsock.connect(tmp_path / "v.sock", 5, clock=clock, deadline_s=10, first_timeout_s=0.05))
        await clock.advance(9.9)
        assert not dialling.done()
        await clock.advance(0.2)
        with pytest.raises(VmmUnresponsive, match="no connection to the guest within 10 s"):
            await dialling
    assert attempts == 8  # 0.05, 0.1, ... 6.4 s, cut at ten


async def test_a_vmm_that_has_ended(tmp_path: Path) -> None:
    with pytest.raises(VmmUnresponsive, match="has ended"):
        await vsock.connect(tmp_path / "v.sock", 5, clock=SystemClock(), deadline_s=3600, alive=lambda: False)


async def test_cancellation_closes(tmp_path: Path) -> None:
    closed = asyncio.Event()
    begun = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        begun.set()
        assert await reader.read() == b""
        closed.set()

    async with serving(tmp_path / "v.sock", talk):
        dialling = asyncio.create_task(dial(tmp_path / "v.sock", first_timeout_s=30))
        await begun.wait()
        dialling.cancel()
        await asyncio.gather(dialling, return_exceptions=True)
        assert dialling.cancelled()
        await closed.wait()


async def test_no_socket_at_all_is_no_wait(tmp_path: Path) -> None:
    (tmp_path / "v.sock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(VmmUnresponsive, match="not a socket"):
        await dial(tmp_path / "v.sock", deadline_s=3600)


# --- listening

CONNECT = """
import os, socket, sys
os.setgroups([])
os.setresgid(*[int(sys.argv[2])] * 3)
os.setresuid(*[int(sys.argv[1])] * 3)
os.chdir(sys.argv[3])
sock = socket.socket(socket.AF_UNIX)
try:
    sock.connect("v.sock_5")
except PermissionError:
    sys.exit(13)
"""


def test_what_the_guest_dials(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 200) / ("b" * 200)
    deep.mkdir(parents=True)
    listener = vsock.listen(deep / "v.sock", 5)
    facts = os.stat(deep / "v.sock_5")
    assert stat.S_ISSOCK(facts.st_mode) and stat.S_IMODE(facts.st_mode) == 0o600
    guest = sockets.dial(deep / "v.sock_5")
    guest.send(b"hello")
    host, _ = listener.accept()
    assert host.recv(10) == b"hello"
    with pytest.raises(SandboxError, match="port 5"):
        vsock.listen(deep / "v.sock", 5)
    with pytest.raises(SandboxError, match="port 6"):
        vsock.listen(deep / "none" / "v.sock", 6)
    for sock in (host, guest, listener):
        sock.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives a socket to another user")
def test_only_the_vmm_can_connect() -> None:
    with tempfile.TemporaryDirectory(prefix="hanabi-test-", dir="/var/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        listener = vsock.listen(place / "v.sock", 5, owner=(31001, 31002))
        facts = os.stat(place / "v.sock_5")
        assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (31001, 31002, 0o600)
        for uid, gid, status in ((31001, 31002, 0), (31003, 31002, 13)):
            command = [sys.executable, "-I", "-S", "-c", CONNECT, str(uid), str(gid), name]
            assert subprocess.run(command, timeout=60).returncode == status
        listener.close()


async def test_accept_waits_for_the_guest_but_not_for_ever(tmp_path: Path) -> None:
    with vsock.listen(tmp_path / "v", 5) as listener:
        waiting = asyncio.create_task(vsock.accept(listener, clock=SystemClock(), timeout_s=30))
        await asyncio.sleep(0)
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(str(tmp_path / "v_5"))
            with await waiting as accepted:
                guest.sendall(b"hello")
                assert await asyncio.get_running_loop().sock_recv(accepted, 10) == b"hello"
        clock = ManualClock()
        waiting = asyncio.create_task(vsock.accept(listener, clock=clock, timeout_s=30))
        await asyncio.sleep(0)
        await clock.advance(31)
        with pytest.raises(TimeoutError):
            await waiting
