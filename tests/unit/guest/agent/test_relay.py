"""The agent as in a microVM: it listens for the three channels and relays TCP connections. Unix sockets stand in for vsock."""

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.guest.agent.rig import PATIENCE_S, build, string, strings

PORT = 7000
CONTROL, RUNTIME, LOG, RUNTIME_API, EDGE, INBOUND = range(6)


class Guest:
    """An agent, and the host's five ends."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.listeners = {channel: self._listen(channel) for channel in (RUNTIME_API, EDGE, INBOUND)}
        command = [str(build()), "--runtime-port", "0", "--edge-port", "0", "--vsock", str(PORT), "--unix", prefix]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.ports = (0, 0)
        self.attach()

    def _listen(self, channel: int) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self.prefix}_{PORT + channel}")
        listener.listen(128)
        listener.settimeout(PATIENCE_S)
        return listener

    def attach(self) -> None:
        """As a host does after a boot and after a restore."""
        self.control = self.dial(CONTROL)
        hello = self.receive(9)
        assert hello[:5] == b"\x05\0\0\0H"
        self.ports = struct.unpack("<HH", hello[5:])
        self.runtime, self.log = self.dial(RUNTIME), self.dial(LOG)

    def dial(self, channel: int) -> socket.socket:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(PATIENCE_S)
            try:
                connection.connect(f"{self.prefix}_{PORT + channel}")
                return connection
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                assert time.monotonic() < deadline and self.process.poll() is None

    def send(self, type: str, body: bytes = b"") -> None:
        self.control.sendall(struct.pack("<IB", len(body) + 1, ord(type)) + body)

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.control.recv(size - len(data))
            assert part, "the agent hung up"
            data += part
        return data

    def accept(self, channel: int) -> socket.socket:
        connection, _ = self.listeners[channel].accept()
        connection.settimeout(PATIENCE_S)
        return connection

    def connect(self, which: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[which]), timeout=PATIENCE_S)

    def start(self, script: str) -> None:
        self.send("S", b"\0" + string("/") + strings(["/bin/sh", "-c", script]) + strings(["PATH=/usr/bin:/bin"]))

    def quiesce(self) -> None:
        self.send("N")
        assert self.receive(5) == b"\1\0\0\0n"

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0
        for each in (self.control, self.runtime, self.log, *self.listeners.values()):
            each.close()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    guest = Guest(f"{tmp_path}/v")
    yield guest
    guest.close()


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


@pytest.mark.parametrize("over_http", [False, True])
def test_an_answer_waits_for_what_was_printed_before_it(guest: Guest, over_http: bool) -> None:
    """As much as fills the host's socket, and the pipe too: all of it is on its way to the host before the answer is."""
    size = 230_000
    channel = f"exec 3<>/dev/tcp/127.0.0.1/{guest.ports[0]}" if over_http else "exec 3>&4"
    guest.send(
        "S",
        b"\0"
        + string("/")
        + strings(["/bin/bash", "-c", f"{channel}; head -c {size} /dev/zero; echo answer >&3; sleep 60"])
        + strings(["PATH=/usr/bin:/bin"]),
    )
    runtime = guest.accept(RUNTIME_API) if over_http else guest.runtime
    with pytest.raises(TimeoutError):
        runtime.settimeout(0.3)
        runtime.recv(100)
    runtime.settimeout(PATIENCE_S)
    seen = 0
    while not select.select([runtime], [], [], 0)[0]:
        assert select.select([runtime, guest.log], [], [], PATIENCE_S)[0], "neither log nor answer"
        if select.select([guest.log], [], [], 0)[0]:
            seen += len(guest.log.recv(1000))
    assert runtime.recv(100) == b"answer\n"
    guest.log.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            seen += len(guest.log.recv(100_000))
    assert seen == size
    if over_http:
        runtime.close()


def test_an_exit_tells_how_much_of_its_channel_the_runtime_has_read(guest: Guest) -> None:
    guest.runtime.sendall(b"one\ntwo\n")
    guest.start("read line <&4; echo $line >&4; read line < /dev/stdin; exit 3")
    assert guest.runtime.recv(100) == b"one\n"
    message = guest.receive(4 + 1 + 5)
    assert message[4:6] == b"P\0"
    assert guest.receive(4 + 1 + 3 + 8)[4:] == b"X\0\0\3" + struct.pack("<Q", 4)


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


# --- another host, or the same one after a restore


def test_a_new_host_takes_the_place_of_the_old_one(guest: Guest) -> None:
    old = guest.control, guest.runtime, guest.log
    guest.attach()
    assert old[0].recv(1) == b""
    guest.start("read line <&4; echo got $line >&4; echo logged")
    guest.runtime.sendall(b"ping\n")
    assert guest.runtime.recv(100) == b"got ping\n"
    assert guest.log.recv(100) == b"logged\n"
    for each in old:
        each.close()


def test_what_is_printed_while_nobody_listens_is_not_lost(guest: Guest, tmp_path: Path) -> None:
    guest.start(f"echo before; until [ -e {tmp_path}/go ]; do sleep 0.01; done; echo meanwhile; touch {tmp_path}/done")
    assert guest.receive(10)[4:5] == b"P"
    assert guest.log.recv(100) == b"before\n"
    guest.quiesce()
    assert guest.log.recv(1) == b""
    (tmp_path / "go").touch()
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "done").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    for each in (guest.control, guest.runtime, guest.log):
        each.close()
    guest.attach()
    assert guest.log.recv(100) == b"meanwhile\n"


def test_nobody_is_let_in_while_the_connection_before_the_quiescence_lasts(guest: Guest) -> None:
    guest.quiesce()
    old = guest.control
    guest.control = guest.dial(CONTROL)
    guest.control.settimeout(0.2)
    with pytest.raises(TimeoutError):
        guest.control.recv(1)
    old.close()
    guest.control.settimeout(PATIENCE_S)
    assert guest.receive(9)[4:5] == b"H"


def test_a_question_that_nobody_has_answered_is_asked_again_after_the_restore(guest: Guest) -> None:
    inside, before = guest.connect(0), guest.accept(RUNTIME_API)
    inside.sendall(b"GET /next HTTP/1.1\r\n\r\n")
    assert before.recv(100) == b"GET /next HTTP/1.1\r\n\r\n"
    guest.quiesce()
    assert before.recv(1) == b""
    for each in (guest.control, guest.runtime, guest.log):
        each.close()
    guest.attach()
    after = guest.accept(RUNTIME_API)
    assert after.recv(100) == b"GET /next HTTP/1.1\r\n\r\n"
    after.sendall(b"an invocation")
    assert inside.recv(100) == b"an invocation"
    for each in (inside, before, after):
        each.close()


def test_what_was_answered_in_part_is_not_asked_again(guest: Guest) -> None:
    inside, before = guest.connect(0), guest.accept(RUNTIME_API)
    inside.sendall(b"question")
    assert before.recv(100) == b"question"
    before.sendall(b"half an answer")
    assert inside.recv(100) == b"half an answer"
    guest.quiesce()
    for each in (guest.control, guest.runtime, guest.log):
        each.close()
    guest.attach()
    after = guest.accept(RUNTIME_API)
    inside.sendall(b"next question")
    assert after.recv(100) == b"next question"
    for each in (inside, before, after):
        each.close()


def test_an_answer_comes_after_what_was_printed_before_it(guest: Guest) -> None:
    guest.start("for n in 1 2 3 4 5 6 7 8 9; do read line <&4; echo printed $n; echo answer >&4; done")
    guest.log.setblocking(False)
    for number in range(1, 10):
        guest.runtime.sendall(b"next\n")
        assert guest.runtime.recv(100) == b"answer\n"
        assert guest.log.recv(100) == b"printed %d\n" % number


def test_the_host_reaches_a_port_inside(guest: Guest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        guest.send("O", struct.pack("<H", server.getsockname()[1]))
        assert guest.receive(9) == struct.pack("<IBI", 5, ord("o"), 0)
        with guest.accept(INBOUND) as host, server.accept()[0] as inside:
            inside.settimeout(PATIENCE_S)
            host.sendall(b"question")
            assert inside.recv(100) == b"question"
            inside.sendall(b"answer")
            inside.shutdown(socket.SHUT_WR)
            assert (host.recv(100), host.recv(100)) == (b"answer", b"")
            guest.quiesce()
            assert inside.recv(100) == b""  # it is not taken up again by a clone


def test_a_port_where_nobody_listens_is_hung_up(guest: Guest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    guest.send("O", struct.pack("<H", port))
    answer = struct.unpack("<IBI", guest.receive(9))
    if answer[2] == 0:
        with guest.accept(INBOUND) as host, contextlib.suppress(ConnectionResetError):
            assert host.recv(100) == b""
