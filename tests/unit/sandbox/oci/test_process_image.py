"""A process that stops itself, the image that is written of it, and copies made of that: here without a sandbox around them."""

import fcntl
import json
import os
import platform
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hanabi.base import linux
from hanabi.errors import SnapshotImpossible
from hanabi.sandbox.oci import process_image

GUEST = Path(__file__).parents[4] / "guest"
LIMIT_BYTES = 512 << 20

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="process snapshots are for x86-64")


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    subprocess.run(["make", "--silent", "-C", str(GUEST / "process_snapshot")], check=True, timeout=120)


class Process:
    """A process with a runtime channel as its descriptor 4. Its /tmp is its own only in a container: here it must be left alone."""

    def __init__(self, *argv: str, files: list[int] | None = None) -> None:
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(30)
        high = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)
        output = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC) if not os.environ.get("SHOW") else os.dup(2)
        actions = [(os.POSIX_SPAWN_DUP2, high, 4), (os.POSIX_SPAWN_DUP2, output, 2)]
        if files is not None:
            socket.send_fds(self.channel, [b"x"], files)
        self.pid = os.posix_spawn(argv[0], argv, {"HANABI_CAPTURE": "1", "PATH": "/usr/bin:/bin"}, file_actions=actions)
        self.pidfd = os.pidfd_open(self.pid)
        for fd in (high, output):
            os.close(fd)
        theirs.close()

    def send(self, kind: bytes, body: bytes = b"") -> None:
        self.channel.sendall(struct.pack("<IB", len(body) + 1, kind[0]) + body)

    def receive(self) -> tuple[bytes, bytes]:
        head = self._read(5)
        return head[4:5], self._read(int.from_bytes(head[:4], "little") - 1)

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            got = self.channel.recv(count - len(data))
            assert got, "it has ended"
            data += got
        return data

    def invoke(self, event: Any) -> Any:
        header = b"id\n9999999999999\narn\n\n\n"
        self.send(b"n", len(header).to_bytes(2, "little") + header + json.dumps(event).encode())
        kind, body = self.receive()
        assert kind == b"o", body
        assert self.receive() == (b"r", b"")
        return json.loads(body)

    def end(self) -> None:
        if not linux.has_exited(self.pidfd):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.channel.close()


class Rig:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[Process] = []
        self.runtime = directory / "runtime"
        shutil.copytree(GUEST / "python", self.runtime, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(GUEST / "build/capture.so", self.runtime)
        source = self.runtime / "hanabi_runtime/capture.py"  # the machine's own /tmp is not the function's
        source.write_text(source.read_text().replace('TMP = "/tmp"', f'TMP = "{directory}/tmp"'))
        (directory / "tmp").mkdir()

    def start(self, code: str) -> Process:
        """Start a function, up to its stop."""
        task = self.directory / "task"
        task.mkdir()
        (task / "function.py").write_text(code)
        process = Process(sys.executable, str(self.runtime / "bootstrap.py"))
        self.processes.append(process)
        environment = {
            "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
            "_HANDLER": "function.handler",
            "HANABI_CAPTURE": "1",
            "PATH": os.defpath,
        }
        init = {"environment": environment, "handler": "function.handler", "task_root": str(task), "generic": True}
        process.send(b"i", json.dumps(init).encode())
        assert process.receive() == (b"l", b"")
        return process

    def write(self, process: Process) -> Path:
        snapshot = self.directory / "snapshot"
        snapshot.mkdir()
        process_image.write_image(process.pid, snapshot, LIMIT_BYTES)
        return snapshot

    def copy(self, snapshot: Path, **environment: str) -> Process:
        """Make a copy, up to its readiness."""
        files = [os.open(snapshot / name, os.O_RDONLY | os.O_CLOEXEC) for name in ("plan", "pages")]
        copy = Process(str(GUEST / "build/hanabi-restore"), files=files)
        self.processes.append(copy)
        for fd in files:
            os.close(fd)
        assert copy._read(1) == b"k"
        copy.send(b"a", json.dumps({"environment": environment}).encode())
        assert copy.receive() == (b"r", b"")
        return copy


@pytest.fixture
def rig() -> Iterator[Rig]:
    with tempfile.TemporaryDirectory(prefix="hanabi-", dir="/var/tmp") as directory:  # not /tmp, whose files a copy does not have
        rig = Rig(Path(directory))
        yield rig
        for process in rig.processes:
            process.end()


def test_a_copy_goes_on_where_the_process_stopped(rig: Rig) -> None:
    process = rig.start(
        """
import os, random, secrets, uuid, tempfile
TABLE = {number: str(number) for number in range(50_000)}
VALUE = str(uuid.uuid4())
tempfile.gettempprefix(), next(tempfile._get_candidate_names())
def handler(event, context):
    return {
        "same": [VALUE, len(TABLE), TABLE[777]],
        "own": [random.random(), secrets.token_hex(8), str(uuid.uuid4()), os.urandom(8).hex(), next(tempfile._get_candidate_names())],
        "environment": [os.environ.get("COLOUR"), os.environ.get("HANABI_CAPTURE")],
    }
"""
    )
    snapshot = rig.write(process)
    process.end()
    rig.processes.clear()
    first, second = (rig.copy(snapshot, COLOUR=colour).invoke({}) for colour in ("red", "blue"))
    assert first["same"] == second["same"]
    assert not set(first["own"]) & set(second["own"])
    assert (first["environment"], second["environment"]) == (["red", None], ["blue", None])


def test_memory_that_a_fork_would_not_have_is_not_copied(rig: Rig) -> None:
    """By such pages libraries know that a process is a copy, and must draw random numbers anew."""
    process = rig.start(
        """
import mmap, os
marked = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
marked[0] = 7
marked.madvise(18)  # MADV_WIPEONFORK
def handler(event, context):
    first, marked[0] = marked[0], 8
    pid = os.fork()
    if not pid:
        os._exit(marked[0])
    return [first, marked[0], os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
"""
    )
    assert rig.copy(rig.write(process)).invoke({}) == [0, 8, 0]


def test_code_that_a_process_has_made_is_copied(rig: Rig) -> None:
    process = rig.start(
        """
import ctypes, mmap
made = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
made.write(bytes([0xB8, 42, 0, 0, 0, 0xC3]))  # mov eax, 42; ret
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(made)))
back = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda number: number + 1)
def handler(event, context):
    return [call(), back(6)]
"""
    )
    assert rig.copy(rig.write(process)).invoke({}) == [42, 7]


def test_hooks_run_on_both_sides(rig: Rig) -> None:
    process = rig.start(
        """
import sys, types
said = []
package = types.ModuleType("snapshot_restore_py")
before = [(said.append, (f"before {n}",), {}) for n in (1, 2)]
after = [(said.append, (f"after {n}",), {}) for n in (1, 2)]
package.get_before_snapshot, package.get_after_restore = lambda: before, lambda: after
sys.modules["snapshot_restore_py"] = package
def handler(event, context):
    return said
"""
    )
    assert rig.copy(rig.write(process)).invoke({}) == ["before 2", "before 1", "after 1", "after 2"]


def test_threads_go_on(rig: Rig) -> None:
    process = rig.start(
        """
import queue, threading, time
asked, answered = queue.Queue(), queue.Queue()
count = 0
def work():
    while True:
        answered.put(asked.get() * 2)
def tick():
    global count
    while True:
        time.sleep(0.001)
        count += 1
threads = [threading.Thread(target=target, daemon=True) for target in (work, work, tick)]
for thread in threads:
    thread.start()
def handler(event, context):
    before = count
    while count == before:
        time.sleep(0.001)
    asked.put(event)
    return [answered.get(timeout=10), all(thread.is_alive() for thread in threads)]
"""
    )
    snapshot = rig.write(process)
    for _ in range(3):
        copy = rig.copy(snapshot)
        assert [copy.invoke(21), copy.invoke(4)] == [[42, True], [8, True]]


def test_what_the_kernel_keeps_is_made_again(rig: Rig) -> None:
    tmp = rig.directory / "tmp"
    process = rig.start(
        f"""
import asyncio, os, signal, socket, threading
os.makedirs("{tmp}/a/b")
with open("{tmp}/a/b/text", "w") as file:
    file.write("kept")
os.symlink("a/b/text", "{tmp}/link")
reading = open("{tmp}/a/b/text")
reading.read(2)
loop = asyncio.new_event_loop()
first, second = socket.socketpair()
read, write = os.pipe()
listener = socket.create_server(("127.0.0.1", 0))
address = listener.getsockname()
outgoing = socket.create_connection(address)
listener.accept()[0].close()
os.chdir("{tmp}")
signal.signal(signal.SIGUSR1, lambda *about: signals.append(about[0]))
signals = []
def handler(event, context):
    os.kill(os.getpid(), signal.SIGUSR1)
    first.send(b"1")
    os.write(write, b"2")
    gone = ""
    try:
        outgoing.send(b"x")
    except OSError as error:
        gone = type(error).__name__
    with socket.create_connection(address):
        pass
    return [reading.read(), os.readlink("{tmp}/link"), loop.run_until_complete(asyncio.sleep(0.001, "looped")), second.recv(1).decode(),
            os.read(read, 1).decode(), gone, os.getcwd(), signals]
"""
    )
    snapshot = rig.write(process)
    process.end()
    rig.processes.clear()
    shutil.rmtree(tmp)
    tmp.mkdir()
    told = rig.copy(snapshot).invoke({})
    assert told == ["pt", "a/b/text", "looped", "1", "2", "BrokenPipeError", str(tmp), [10]]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import subprocess; child = subprocess.Popen(['/bin/sleep', '60'])", "started processes"),
        ("import mmap; shared = mmap.mmap(-1, 4096)", "shares memory"),
        ("import signal; signal.setitimer(signal.ITIMER_REAL, 60)", "a timer"),
        ("import os; timer = os.memfd_create('x')", "a deleted file"),
        ("import socket; pair = socket.socketpair(); pair[0].send(b'x')", "bytes unread"),
        (
            "import signal, threading, time\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
            "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
            "thread",
        ),
    ],
)
def test_what_cannot_be_copied_is_said(rig: Rig, code: str, reason: str) -> None:
    process = rig.start(f"{code}\ndef handler(event, context): return 'ordinary'\n")
    with pytest.raises(SnapshotImpossible, match=reason):
        rig.write(process)
    process.send(b"a", b'{"environment": {}}')  # it goes on as it is
    assert process.receive() == (b"r", b"")
    assert process.invoke({}) == "ordinary"


SMAPS = """\
2e00000000-2e00012000 rw-p 00000000 00:00 0
VmFlags: rd wr mr mw me ac
7f0000000000-7f0000001000 r--p 00002000 08:01 77                         /usr/lib/a name with spaces.so
VmFlags: rd mr mw me
7f0000001000-7f0000003000 rw-p 00000000 00:00 0
VmFlags: rd wr mr mw me nr dd wf dp
7f0000003000-7f0000004000 rw-s 00000000 00:01 9                          /dev/zero (deleted)
VmFlags: rd wr sh mr mw me ms
7fff00000000-7fff00002000 r-xp 00000000 00:00 0                          [vdso]
VmFlags: rd ex mr mw me de{marks}
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
VmFlags: ex
"""


def test_mappings_are_parsed() -> None:
    state, library, random, shared, vdso, vsyscall = process_image.parse_mappings(SMAPS.format(marks=""))
    assert (state.start, state.end, state.protection, state.name) == (0x2E00000000, 0x2E00012000, 3, "")
    assert (library.name, library.offset, library.protection, library.is_file) == ("/usr/lib/a name with spaces.so", 0x2000, 1, True)
    assert (random.droppable, random.wiped, library.droppable, library.wiped) == (True, True, False, False)
    assert shared.shared and not library.shared
    assert (vdso.is_special, vsyscall.is_special, vsyscall.is_kernel_own) == (True, False, True)


@pytest.mark.parametrize("marks", [" ss", " sl"])
def test_mappings_that_no_copy_can_have_are_refused(marks: str) -> None:
    with pytest.raises(SnapshotImpossible, match="this kernel"):
        process_image.parse_mappings(SMAPS.format(marks=marks))


@pytest.mark.parametrize("name", ["/tmp/library.so", "/opt/gone.so (deleted)", "/var/task/a\\012b.so"])
def test_a_file_that_a_copy_would_not_find_is_refused(name: str) -> None:
    mapping = process_image.Mapping(0, 4096, 1, False, 0, 1, name)
    with pytest.raises(SnapshotImpossible, match="mapped a file"):
        process_image._checked(mapping.name)


@pytest.mark.parametrize(
    "code",
    [
        "state[:8] = bytes(8)",  # no state at all
        "state[248:252] = (1 << 31).to_bytes(4, 'little')",  # more threads than there are
        "state[264:] = os.urandom(len(state) - 264)",  # registers, handlers and addresses of nothing
    ],
)
def test_a_hostile_process_harms_only_its_copies(rig: Rig, code: str) -> None:
    """The host does not interpret what a function can write: neither it nor the restorer hangs."""
    process = rig.start("def handler(event, context): return 1")
    state = os.open(f"/proc/{process.pid}/mem", os.O_RDWR)
    buffer = bytearray(os.pread(state, 0x12000, process_image.STATE_ADDRESS))
    exec(code, {"state": buffer, "os": os})
    os.pwrite(state, bytes(buffer), process_image.STATE_ADDRESS)
    os.close(state)
    try:
        snapshot = rig.write(process)
    except SnapshotImpossible:
        return
    with pytest.raises((AssertionError, ConnectionError)):
        rig.copy(snapshot)
    assert linux.has_exited(rig.processes[-1].pidfd, 10)


def test_a_process_that_has_not_stopped_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotImpossible, match="not one that Hanabi can copy"):
        process_image.write_image(os.getpid(), tmp_path, LIMIT_BYTES)


def test_more_memory_than_the_function_has_is_refused(rig: Rig) -> None:
    process = rig.start(f"data = b'x' * {80 << 20}\ndef handler(event, context): return len(data)\n")
    snapshot = rig.directory / "snapshot"
    snapshot.mkdir()
    with pytest.raises(SnapshotImpossible, match="more memory"):
        process_image.write_image(process.pid, snapshot, 1 << 20)
