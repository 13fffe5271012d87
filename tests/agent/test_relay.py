"""The agent as in a microVM: the channels dialled, TCP connections relayed. Unix sockets stand in for vsock where there is none."""

import errno
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.rig import PATIENCE_S, build, string, strings

PORT = 7000
CONTROL, RUNTIME, LOG, RUNTIME_API, EDGE = range(5)


class Guest:
    """An agent that has dialled the five channels' listeners."""

    def __init__(self, listeners: list[socket.socket], *arguments: str) -> None:
        self.listeners = listeners
        command = [str(build()), "--runtime-port", "0", "--edge-port", "0", "--vsock", str(PORT), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.control, self.runtime, self.log = (self.accept(channel) for channel in (CONTROL, RUNTIME, LOG))
        hello = self.control.recv(9)
        assert hello[:5] == b"\x05\0\0\0H"
        self.ports = struct.unpack("<HH", hello[5:])

    def accept(self, channel: int) -> socket.socket:
        connection, _ = self.listeners[channel].accept()
        connection.settimeout(PATIENCE_S)
        return connection

    def connect(self, which: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[which]), timeout=PATIENCE_S)

    def start(self, script: str) -> None:
        body = b"\0" + string("/") + strings(["/bin/sh", "-c", script]) + strings(["PATH=/usr/bin:/bin"])
        self.control.sendall(struct.pack("<IB", len(body) + 1, ord("S")) + body)

    def close(self) -> None:
        self.control.close()
        assert self.process.wait(PATIENCE_S) == 0
        self.runtime.close()
        self.log.close()


def vsock_listeners() -> list[socket.socket]:
    """Listeners on vsock's loopback, or a skip with the reason."""
    listeners = []
    try:
        for channel in range(5):
            listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
            listeners.append(listener)
            listener.bind((1, PORT + channel))
            listener.listen(128)
            if channel == 0:
                with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
                    probe.settimeout(2)
                    probe.connect((1, PORT))
                listener.accept()[0].close()
    except (AttributeError, OSError) as error:
        for listener in listeners:
            listener.close()
        reason = errno.errorcode.get(getattr(error, "errno", 0) or 0, str(error))
        pytest.skip(f"no loopback for vsock here (CONFIG_VSOCKETS_LOOPBACK): {reason}")
    return listeners


@pytest.fixture(params=["unix", "vsock"])
def guest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guest]:
    if request.param == "unix":
        listeners = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        for channel, listener in enumerate(listeners):
            listener.bind(f"{tmp_path}/v_{PORT + channel}")
            listener.listen(128)
        arguments = ["--unix", f"{tmp_path}/v"]
    else:
        listeners, arguments = vsock_listeners(), ["--cid", "1"]
    for listener in listeners:
        listener.settimeout(PATIENCE_S)
    guest = Guest(listeners, *arguments)
    yield guest
    guest.close()
    for listener in listeners:
        listener.close()


def drain(connection: socket.socket) -> bytes:
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


def test_processes_have_the_channels(guest: Guest) -> None:
    guest.runtime.sendall(b"ping\n")
    guest.start("read line <&4; echo got $line >&4; echo logged > /dev/stderr")
    assert guest.runtime.recv(100) == b"got ping\n"
    assert guest.log.recv(100) == b"logged\n"


@pytest.mark.parametrize("which", [0, 1])
def test_a_connection_is_relayed_both_ways(guest: Guest, which: int) -> None:
    with guest.connect(which) as inside, guest.accept(RUNTIME_API + which) as outside:
        inside.settimeout(PATIENCE_S)
        for _ in range(3):
            inside.sendall(b"question")
            assert outside.recv(100) == b"question"
            outside.sendall(b"answer")
            assert inside.recv(100) == b"answer"


def test_half_close_and_much_data(guest: Guest) -> None:
    data = os.urandom(3_000_000)
    with guest.connect(0) as inside, guest.accept(RUNTIME_API) as outside:
        inside.settimeout(PATIENCE_S)

        def send() -> None:
            inside.sendall(data)
            inside.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert drain(outside) == data
        sender.join()
        outside.sendall(b"and back")
        outside.close()
        assert drain(inside) == b"and back"


def test_a_reset_is_passed_on(guest: Guest) -> None:
    inside = guest.connect(0)
    with guest.accept(RUNTIME_API) as outside:
        inside.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        inside.close()
        assert drain(outside) == b""


def test_more_connections_than_may_be_relayed_wait_for_their_turn(guest: Guest) -> None:
    inside = [guest.connect(0) for _ in range(70)]
    for number, connection in enumerate(inside):
        connection.sendall(bytes([number]))
    outside = [guest.accept(RUNTIME_API) for _ in range(64)]
    assert sorted(each.recv(1)[0] for each in outside) == list(range(64))
    guest.listeners[RUNTIME_API].settimeout(0.1)
    with pytest.raises(TimeoutError):
        guest.listeners[RUNTIME_API].accept()
    guest.listeners[RUNTIME_API].settimeout(PATIENCE_S)
    for connection in inside[:6] + outside[:6]:
        connection.close()
    outside += [guest.accept(RUNTIME_API) for _ in range(6)]
    assert sorted(each.recv(1)[0] for each in outside[64:]) == list(range(64, 70))
    for connection in inside + outside:
        connection.close()


def test_an_idle_relay_costs_nothing(guest: Guest) -> None:
    with guest.connect(0) as inside, guest.accept(RUNTIME_API) as outside:
        inside.shutdown(socket.SHUT_WR)
        assert outside.recv(1) == b""
        ticks = [cpu_ticks(guest.process.pid)]
        with pytest.raises(TimeoutError):
            inside.settimeout(0.3)
            inside.recv(1)
        ticks.append(cpu_ticks(guest.process.pid))
        assert ticks[1] - ticks[0] <= 2


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_nobody_at_the_other_end_closes_the_connection(guest: Guest) -> None:
    guest.listeners[EDGE].close()
    with guest.connect(1) as inside:
        inside.settimeout(PATIENCE_S)
        assert inside.recv(1) == b""


def test_without_a_host_the_agent_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run([build(), "--vsock", "1", "--unix", f"{tmp_path}/v"], capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 70 and b"dialling the host" in done.stderr
