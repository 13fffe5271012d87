"""The real agent, driven over real sockets by a codec of the test's own."""

import array
import os
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[4] / "guest" / "agent"
PATIENCE_S = 20.0

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
has_setpriv = pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")

# As an OCI container has it: the agent's own uid with three capabilities, the function's ids given.
CONTAINER = ["setpriv", "--reuid", "992", "--regid", "990", "--clear-groups", "--inh-caps", "-all,+setuid,+setgid,+kill"]
CONTAINER += ["--ambient-caps", "-all,+setuid,+setgid,+kill", "--bounding-set", "-all,+setuid,+setgid,+kill,+setpcap"]
FUNCTION = ["--uid", "993", "--gid", "990"]
PID_1 = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@cache
def build() -> Path:
    """The agent as its Makefile builds it, if its sources are newer; or the one that HANABI_TEST_AGENT names."""
    if named := os.environ.get("HANABI_TEST_AGENT"):
        return Path(named)
    done = subprocess.run(["make", "-C", SOURCE, f"PYTHON={sys.executable}"], capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.fail(f"the agent does not build:\n{done.stdout}{done.stderr}")
    return SOURCE.parent / "build" / "hanabi-init"


def strings(values: Sequence[str]) -> bytes:
    return struct.pack("<H", len(values)) + b"".join(map(string, values))


def string(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


class Agent:
    """One agent process; a context manager that checks that it ends."""

    def __init__(self, *arguments: str, before: Sequence[str] = (), inherit: Sequence[int] = ()) -> None:
        binary = build()
        self.control, control = socket.socketpair()
        self.runtime, runtime = socket.socketpair()
        self.logs, log = os.pipe()
        self.ports = (0, 0)
        self.listeners: list[socket.socket] = []
        ends = [control.fileno(), runtime.fileno(), log]
        command = [*before, str(binary), "--runtime-port", "0", "--edge-port", "0", "--fds", *map(str, ends), *arguments]
        self.process = subprocess.Popen(command, pass_fds=[*ends, *inherit], stdin=subprocess.DEVNULL)
        control.close()
        runtime.close()
        os.close(log)
        for sock in (self.control, self.runtime):
            sock.settimeout(PATIENCE_S)

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.runtime.close()
            os.close(self.logs)
            for listener in self.listeners:
                listener.close()

    def hello(self) -> "Agent":
        text, ancillary, flags, _ = self.control.recvmsg(9, socket.CMSG_SPACE(64))
        assert text[:5] == b"\x05\0\0\0H" and not flags & socket.MSG_CTRUNC
        self.ports = struct.unpack("<HH", text[5:])
        received = array.array("i", ancillary[0][2])
        self.listeners = [socket.socket(fileno=fd) for fd in received]
        return self

    def send(self, type: str, body: bytes = b"") -> None:
        self.control.sendall(struct.pack("<IB", len(body) + 1, ord(type)) + body)

    def receive(self) -> tuple[str, bytes]:
        length, type = struct.unpack("<IB", self._exactly(5))
        return chr(type), self._exactly(length - 1)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.control.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def start(self, *argv: str, role: int = 0, environment: Mapping[str, str] | None = None, cwd: str = "/") -> None:
        variables = [f"{key}={value}" for key, value in (environment or {"PATH": os.environ["PATH"]}).items()]
        self.send("S", bytes([role]) + string(cwd) + strings(argv) + strings(variables))

    def started(self, *argv: str, role: int = 0, environment: Mapping[str, str] | None = None, cwd: str = "/") -> int:
        """Start and return the pid."""
        self.start(*argv, role=role, environment=environment, cwd=cwd)
        type, body = self.receive()
        assert (type, body[0]) == ("P", role)
        return int(struct.unpack("<I", body[1:])[0])

    def run(self, script: str, role: int = 0) -> str:
        """Run a shell script to its end, which must be good, and return what it printed."""
        self.started("/bin/sh", "-ec", script + "\necho; echo '<end>'", role=role)
        text = self.read_until("<end>\n")
        assert self.receive() == ("X", bytes([role, 0, 0]))
        return text.removesuffix("\n<end>\n")

    def read_until(self, mark: str) -> str:
        text = b""
        deadline = time.monotonic() + PATIENCE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.logs, selectors.EVENT_READ)
            while not text.endswith(mark.encode()):
                if not selector.select(deadline - time.monotonic()):
                    raise TimeoutError(text)
                part = os.read(self.logs, 65536)
                if not part:
                    raise EOFError(text)
                text += part
        return text.decode()


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that nobody has reaped counts as there."""
    return not Path(f"/proc/{pid}").exists()
