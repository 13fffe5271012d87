"""One connection to an API socket: order, time-outs, cancellation, everything a VMM may do wrong."""

import asyncio
import os
from pathlib import Path

import pytest

from hanabi.base.clock import SystemClock
from hanabi.errors import SandboxError, VmmError, VmmUnresponsive
from hanabi.sandbox.firecracker import sockets
from hanabi.sandbox.firecracker.vmm_connection import ApiConnection
from hanabi.testing import ManualClock
from tests.unit.sandbox.firecracker.scripted import NO_CONTENT, RuntimeLink, read_request, serving

VERSION = b'HTTP/1.1 200 \r\nContent-Length: 32\r\n\r\n{"firecracker_version":"1.12.1"}'
FAULT = b'HTTP/1.1 400 \r\nContent-Length: 26\r\n\r\n{"fault_message":"no way"}'


async def opened(path: Path, clock: ManualClock | SystemClock | None = None) -> ApiConnection:
    channel = ApiConnection(path, clock or SystemClock())
    await channel.open(10)
    return channel


@pytest.mark.both_loops
async def test_a_call_and_a_refusal(tmp_path: Path) -> None:
    seen: list[tuple[str, bytes]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (VERSION, FAULT, NO_CONTENT):
            seen.append(await read_request(reader))
            for byte in answer:
                writer.write(bytes((byte,)))
                await writer.drain()

    async with serving(tmp_path / "s", talk):
        channel = await opened(tmp_path / "s")
        assert await channel.call("GET", "/version") == {"firecracker_version": "1.12.1"}
        with pytest.raises(VmmError) as refused:
            await channel.call("PUT", "/vsock", {"guest_cid": 3})
        assert await channel.call("PATCH", "/vm", {}) == {}
        channel.close()
    error = refused.value
    assert (error.method, error.path, error.status, error.fault_message) == ("PUT", "/vsock", 400, "no way")
    assert isinstance(error, SandboxError) and not isinstance(error, VmmUnresponsive)
    assert str(error) == "PUT /vsock: no way (400)"
    assert seen[1] == ("PUT /vsock HTTP/1.1", b'{"guest_cid":3}')


@pytest.mark.both_loops
async def test_requests_without_waiting_are_carried_out_in_order(tmp_path: Path) -> None:
    """Pause and resume back to back, while a call is under way: all are carried out, each after the one before was answered."""
    seen: list[str] = []
    under_way = asyncio.Event()
    release = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line, body = await read_request(reader)
            seen.append(f"{line.split()[1]} {body.decode()}")
            under_way.set()
            await release.wait()
            assert not reader._buffer  # type: ignore[attr-defined]  # nothing was sent ahead
            writer.write(NO_CONTENT)

    async with serving(tmp_path / "s", talk):
        channel = await opened(tmp_path / "s")
        call = asyncio.create_task(channel.call("PUT", "/entropy", {}))
        await under_way.wait()
        done: list[tuple[str, VmmError | None]] = []
        channel.send_nowait("PATCH", "/vm", {"state": "Paused"}, lambda error: done.append(("Paused", error)))
        channel.send_nowait("PATCH", "/vm", {"state": "Resumed"}, lambda error: done.append(("Resumed", error)))
        last = asyncio.create_task(channel.call("PUT", "/actions", {}))
        release.set()
        await asyncio.gather(call, last)
        assert done == [("Paused", None), ("Resumed", None)]
        channel.close()
    assert seen == ["/entropy {}", '/vm {"state":"Paused"}', '/vm {"state":"Resumed"}', "/actions {}"]


async def test_an_idle_connection_is_written_to_at_once(tmp_path: Path) -> None:
    """Freeze and thaw are synchronous: the request is in the socket when the call returns."""

    listener = sockets.listen(tmp_path / "s")
    channel = await opened(tmp_path / "s")
    server, _ = listener.accept()
    channel.send_nowait("PATCH", "/vm", {"state": "Paused"}, lambda error: None)
    assert server.recv(4096).endswith(b'{"state":"Paused"}')
    channel.close()
    server.close()
    listener.close()


async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def end_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


def saying(data: bytes) -> RuntimeLink:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(data)
        await asyncio.Event().wait()

    return talk


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(VERSION[:40])
    await writer.drain()


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        (end_at_once, "hung up"),
        (half, "hung up"),
        (saying(b"garbage\r\n\r\n"), "not HTTP"),
        (saying(b"x" * 100_000), "longer than"),
        (saying(NO_CONTENT + NO_CONTENT), "more than one"),
    ],
)
@pytest.mark.both_loops
async def test_a_vmm_that_cannot_be_talked_to(tmp_path: Path, talk: RuntimeLink, reason: str) -> None:
    """What is under way and what waits fail, and so does all after it; the owner is told once."""

    async with serving(tmp_path / "s", talk):
        channel = await opened(tmp_path / "s")
        told: list[VmmUnresponsive] = []
        channel.on_disconnected = told.append
        calls = await asyncio.gather(*(channel.call("GET", f"/{n}") for n in range(3)), return_exceptions=True)
        for call in calls:
            assert isinstance(call, VmmUnresponsive) and reason in call.fault_message and call.status == 0
        assert channel.closed
        with pytest.raises(VmmUnresponsive, match="no connection"):
            await channel.call("GET", "/")
        assert [error.path for error in told] == ["/0"]
        channel.close()


async def test_malformed_bytes_while_nothing_was_asked(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(NO_CONTENT)
        await asyncio.Event().wait()

    async with serving(tmp_path / "s", talk):
        channel = await opened(tmp_path / "s")
        told: asyncio.Queue[VmmUnresponsive] = asyncio.Queue()
        channel.on_disconnected = told.put_nowait
        assert "answer to nothing" in (await told.get()).fault_message


@pytest.mark.both_loops
async def test_a_timeout_by_the_injected_clock(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serving(tmp_path / "s", nothing):
        channel = await opened(tmp_path / "s", clock)
        slow = asyncio.create_task(channel.call("PUT", "/snapshot/create", {}, timeout_s=120))
        await asyncio.sleep(0)
        done: list[VmmError | None] = []
        channel.send_nowait("PATCH", "/vm", {}, done.append)
        await clock.advance(119)
        assert not slow.done() and not done
        await clock.advance(1)
        with pytest.raises(VmmUnresponsive, match="no answer within 120 s"):
            await slow
        assert isinstance(done[0], VmmUnresponsive)
        channel.close()


async def test_cancelled_callers(tmp_path: Path) -> None:
    """One that waits takes its request along; one whose request is under way does not disturb the next answer."""
    seen: list[str] = []
    under_way, release = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append((await read_request(reader))[0].split()[1])
            under_way.set()
            await release.wait()
            writer.write(FAULT if len(seen) == 1 else VERSION)

    async with serving(tmp_path / "s", talk):
        channel = await opened(tmp_path / "s")
        first, second, third = (asyncio.create_task(channel.call("GET", f"/{n}")) for n in (1, 2, 3))
        await under_way.wait()
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        release.set()
        assert await third == {"firecracker_version": "1.12.1"}
        channel.close()
    assert seen == ["/1", "/3"]


async def test_closing_fails_what_waits(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", nothing):
        channel = await opened(tmp_path / "s")
        told: list[VmmUnresponsive] = []
        channel.on_disconnected = told.append
        call = asyncio.create_task(channel.call("GET", "/"))
        await asyncio.sleep(0)
        channel.close()
        channel.close()
        with pytest.raises(VmmUnresponsive, match="was closed"):
            await call
        assert told == []


async def test_too_much_waits(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", nothing):
        channel = await opened(tmp_path / "s")
        done: list[VmmError | None] = []
        for _ in range(66):
            channel.send_nowait("GET", "/", None, done.append)
        await asyncio.sleep(0)
        assert [str(error) for error in done] == ["GET /: too many requests are waiting"]
        channel.close()


async def test_a_body_that_firecracker_would_not_read(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", nothing):
        channel = await opened(tmp_path / "s")
        with pytest.raises(VmmError, match="are allowed"):
            await channel.call("PUT", "/cpu-config", {"x": "y" * 60_000})
        channel.close()


# --- connecting


async def test_a_socket_that_comes_and_then_listens(tmp_path: Path) -> None:
    path = tmp_path / "later" / "s"
    channel = ApiConnection(path, SystemClock())
    opening = asyncio.create_task(channel.open(30))
    await asyncio.sleep(0.005)
    path.parent.mkdir()
    await asyncio.sleep(0.005)
    sockets.listen(path).close()  # its file is there, and nobody listens
    await asyncio.sleep(0.005)
    assert not opening.done()
    path.unlink()
    async with serving(path, saying(VERSION)):
        await opening
        assert await channel.call("GET", "/version") == {"firecracker_version": "1.12.1"}
        channel.close()


async def test_no_socket_until_the_deadline(tmp_path: Path) -> None:
    clock = ManualClock()
    opening = asyncio.create_task(ApiConnection(tmp_path / "s", clock).open(5))
    await clock.advance(4.9)
    assert not opening.done()
    await clock.advance(0.2)
    with pytest.raises(VmmUnresponsive, match="no API socket within 5 s"):
        await opening


async def test_a_process_that_ended(tmp_path: Path) -> None:
    with pytest.raises(VmmUnresponsive, match="the VMM ended"):
        await ApiConnection(tmp_path / "s", SystemClock()).open(3600, lambda: False)


async def test_a_path_of_any_length(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 200) / ("b" * 200)
    deep.mkdir(parents=True)
    async with serving(deep / "firecracker.socket", saying(VERSION)):
        channel = await opened(deep / "firecracker.socket")
        assert await channel.call("GET", "/version")
        channel.close()


async def test_a_jail_that_points_out_of_itself(tmp_path: Path) -> None:
    """The VMM owns the directories of its jail: a link there must not lead the host to another's socket."""

    before = len(os.listdir("/proc/self/fd"))
    outside = tmp_path / "outside"
    outside.mkdir()
    jail = tmp_path / "jail"
    jail.mkdir()
    (jail / "run").symlink_to(outside)
    (jail / "link").symlink_to(outside / "s")
    (jail / "file").touch()
    async with serving(outside / "s", saying(VERSION)):
        for path in (jail / "run" / "s", jail / "link", jail / "file"):
            with pytest.raises(VmmUnresponsive):
                await ApiConnection(path, SystemClock()).open(3600)
    assert len(os.listdir("/proc/self/fd")) == before
