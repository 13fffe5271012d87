"""The agent as the first process of a microVM, on this machine: in namespaces of its own, with a directory for a cgroup.

Built with ASan and UBSan, and with machine_calls.c for what would change the machine itself. tests/microvm has the real one.
"""

import errno
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sanitizers import build_sanitized, sanitizer_options
from tests.unit.guest.agent.rig import FUNCTION, PATIENCE_S, root_only, string
from tests.unit.guest.agent.test_relay import PORT, Guest

pytestmark = [root_only, pytest.mark.skipif("HANABI_TEST_AGENT" in os.environ, reason="has an agent of its own")]

MIB = 1 << 20
SETTINGS = {"pids.max": "", "cgroup.procs": "", "memory.max": "", "memory.peak": "0\n", "memory.events": "", "memory.stat": ""}
SETUP = """
mount -t tmpfs none "$0"
cd "$0"
mkdir proc dev tmp cgroup sockets .hanabi agent
chmod 1777 tmp
for each in bin sbin usr lib lib64 etc; do
    [ -L /$each ] && cp -P /$each $each && continue
    [ -d /$each ] && mkdir $each && mount --rbind /$each $each
done
mount --bind "$1" agent
mount --bind "$2/cgroup" cgroup
mount --bind "$2/sockets" sockets
mount -t proc none proc
shift 2
exec chroot . /agent/hanabi-init-machine "$@"
"""
NAMESPACES = ["unshare", "--mount", "--uts", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--propagation", "private"]


class Machine(Guest):
    """A microVM's agent, and the host's ends of its channels."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cgroup = directory / "cgroup" / "function"
        self.cgroup.mkdir(parents=True)
        (directory / "cgroup" / "cgroup.subtree_control").touch()
        for name, text in SETTINGS.items():
            (self.cgroup / name).write_text(text)
        for name in ("sockets", "root"):
            (directory / name).mkdir()
        self.prefix = f"{directory}/sockets/v"
        self.listeners: dict[int, socket.socket] = {}
        options = ["--machine", *FUNCTION, "--runtime-port", "0", "--edge-port", "0", "--vsock", str(PORT), "--unix", "/sockets/v"]
        command = [*NAMESPACES, "/bin/sh", "-euc", SETUP, str(directory / "root"), str(build_sanitized()), str(directory), *options]
        environment = {**os.environ, **sanitizer_options(Path("/sockets/report"))}
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)

    def message(self) -> tuple[str, bytes]:
        length, type = struct.unpack("<IB", self.receive(5))
        return chr(type), self.receive(length - 1)

    def identify(self, hostname: str, *, address: int = 0) -> int:
        body = struct.pack("<QH32s3I", 1_800_000_000 * 10**9, 32, os.urandom(32), address, 0, 0) + string(hostname)
        self.send("V", body)
        type, answer = self.message()
        assert type == "v"
        return int(struct.unpack("<I", answer)[0])

    def close(self) -> None:
        self.process.kill()  # unshare, whose end kills the agent
        self.process.wait(PATIENCE_S)
        for name in vars(self).keys() & {"control", "runtime", "log"}:
            getattr(self, name).close()


@pytest.fixture
def machine() -> Iterator[Machine]:
    directory = Path(tempfile.mkdtemp(prefix="hanabi-machine-", dir="/tmp"))
    machine = Machine(directory)
    try:
        machine.attach()
        yield machine
    finally:
        machine.close()
        reports = "".join(each.read_text() for each in (directory / "sockets").glob("report.*"))
        shutil.rmtree(directory)
    assert reports == ""


def test_it_has_the_name_that_the_host_gives_and_another_boot_id_each_time(machine: Machine) -> None:
    ids = []
    for name in ("first", "second"):
        assert machine.identify(name) == 0
        machine.start("cat /proc/sys/kernel/hostname /proc/sys/kernel/random/boot_id")
        assert [machine.message()[0] for _ in range(2)] == ["P", "X"]
        text = ""
        while text.count("\n") < 2:  # each file is a write of its own
            text += machine.log.recv(1000).decode()
        shown, boot_id = text.split()
        assert shown == name and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", boot_id)
        ids.append(boot_id)
    assert ids[0] != ids[1]


def test_without_the_interface_an_address_is_an_error(machine: Machine) -> None:
    assert machine.identify("here", address=0x0A000002) == errno.ENODEV


def test_processes_join_the_cgroup_and_the_limit_is_written(machine: Machine) -> None:
    machine.send("L", struct.pack("<Q", 256 * MIB))
    machine.start("exit 0")
    assert [machine.message()[0] for _ in range(2)] == ["P", "X"]
    assert (machine.cgroup / "memory.max").read_text() == str(256 * MIB)
    assert (machine.cgroup / "pids.max").read_text() == "1024"
    assert (machine.cgroup / "cgroup.procs").read_text() == "0"
    assert (machine.directory / "cgroup" / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_memory_and_kills_are_told_before_the_exit(machine: Machine) -> None:
    machine.start("read line <&4; exit 3")
    assert machine.message()[0] == "P"
    (machine.cgroup / "memory.peak").write_text(f"{100 * MIB}\n")
    (machine.cgroup / "memory.stat").write_text(f"anon 1\nfile {40 * MIB}\nfile_mapped {10 * MIB}\nshmem 0\n")
    (machine.cgroup / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    machine.runtime.sendall(b"go\n")
    told = [machine.message()]
    while told[-1][0] != "X":
        told.append(machine.message())
    assert {type for type, _ in told[:-1]} == {"M"}
    assert struct.unpack("<QQ", told[-2][1]) == (70 * MIB, 1)
    assert told[-1][1] == b"\0\0\3" + struct.pack("<Q", 3)


def test_the_peak_is_measured_anew_after_a_reset(machine: Machine) -> None:
    (machine.cgroup / "memory.peak").write_text(f"{100 * MIB}\n")
    for peak in (100 * MIB, 20 * MIB):
        (machine.cgroup / "memory.peak").write_text(f"{peak}\n")
        machine.start("exit 0")
        assert machine.message()[0] == "P"
        type, body = machine.message()
        assert (type, *struct.unpack("<QQ", body)) == ("M", peak, 0)
        assert machine.message()[0] == "X"
        machine.send("Z")
        machine.send("Q")
        assert machine.message() == ("q", b"")


@pytest.mark.parametrize("type", ["D", "V", "L", "Z"])
def test_a_body_that_does_not_fit_ends_the_connection_not_the_machine(machine: Machine, type: str) -> None:
    machine.send(type, b"\0")
    machine.send("Q")
    with pytest.raises(TimeoutError):  # nothing more is taken from it
        machine.control.settimeout(0.2)
        machine.control.recv(1)
    for each in (machine.control, machine.runtime, machine.log):
        each.close()
    machine.attach()
    machine.send("Q")
    assert machine.message() == ("q", b"")


def test_a_drive_that_does_not_come_is_an_error(machine: Machine) -> None:
    machine.send("D", b"z\0" + struct.pack("<Q", MIB) + string("ext4") + string("/tmp"))
    assert machine.message() == ("d", struct.pack("<I", errno.ETIMEDOUT))
