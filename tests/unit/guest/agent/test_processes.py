"""What the agent does for the host: start, signal, kill, reap."""

import errno
import os
import re
import resource
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.guest.agent.rig import CONTAINER, FUNCTION, PATIENCE_S, PID_1, Agent, build, gone, has_setpriv, root_only


def failure(body: bytes) -> tuple[int, int, str]:
    role, error, length = struct.unpack_from("<BII", body)
    assert len(body) == 9 + length
    return role, error, body[9:].decode()


def test_version_is_the_protocol() -> None:
    assert subprocess.check_output([build(), "--version"]) == b"hanabi-init 4\n"


def test_hello_carries_two_listening_sockets() -> None:
    with Agent() as agent:
        agent.hello()
        assert [each.getsockname() for each in agent.listeners] == [("127.0.0.1", port) for port in agent.ports]
        script = f"import socket; socket.create_connection(('127.0.0.1', {agent.ports[1]})).sendall(b'knock')"
        agent.started(sys.executable, "-c", script)
        agent.listeners[1].settimeout(PATIENCE_S)
        connection, _ = agent.listeners[1].accept()
        with connection:
            connection.settimeout(PATIENCE_S)
            assert connection.recv(5) == b"knock"
        assert agent.receive() == ("X", b"\0\0\0")


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_exit_status(status: int) -> None:
    with Agent() as agent:
        agent.hello().started("/bin/sh", "-c", f"exit {status}", role=3)
        assert agent.receive() == ("X", bytes([3, 0, status]))


def test_death_by_signal_and_signalling() -> None:
    with Agent() as agent:
        agent.hello().started("/bin/sleep", "1000", role=1)
        agent.send("G", bytes([2, signal.SIGTERM]))  # no such role is running: no error
        agent.send("G", bytes([1, signal.SIGTERM]))
        assert agent.receive() == ("X", bytes([1, 1, signal.SIGTERM]))


def test_all_roles_at_once_and_again() -> None:
    with Agent() as agent:
        agent.hello()
        for _ in range(2):
            for role in range(11):
                agent.started("/bin/true", role=role) if role == 0 else agent.start("/bin/true", role=role)
            seen: dict[int, list[str]] = {}
            for _ in range(21):
                type, body = agent.receive()
                seen.setdefault(body[0], []).append(type)
            assert seen == {0: ["X"], **{role: ["P", "X"] for role in range(1, 11)}}


@pytest.mark.parametrize(
    ("argv", "cwd", "expected"),
    [
        (("/no/such/file",), "/", (errno.ENOENT, "exec")),
        (("/etc/passwd",), "/", (errno.EACCES, "exec")),
        (("/bin/true",), "/no/such/directory", (errno.ENOENT, "chdir")),
        ((), "/", (errno.EINVAL, "argv")),
    ],
)
def test_start_that_fails(argv: tuple[str, ...], cwd: str, expected: tuple[int, str]) -> None:
    with Agent() as agent:
        agent.hello().start(*argv, cwd=cwd)
        type, body = agent.receive()
        assert (type, failure(body)) == ("F", (0, *expected))
        assert agent.run("echo the role is free again") == "the role is free again\n"


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    program = tmp_path / "bootstrap"
    program.write_text("not a program")
    program.chmod(0o755)
    with Agent() as agent:
        agent.hello().start(str(program))
        type, body = agent.receive()
        assert (type, failure(body)) == ("F", (0, errno.ENOEXEC, "exec"))


def test_a_role_that_is_running_is_not_started_again() -> None:
    with Agent() as agent:
        agent.hello().started("/bin/sleep", "1000")
        agent.start("/bin/true")
        type, body = agent.receive()
        assert (type, failure(body)) == ("F", (0, errno.EBUSY, "role"))


def test_arguments_environment_and_directory_arrive() -> None:
    with Agent() as agent:
        agent.hello().started("/bin/sh", "-c", 'echo "$0|$1|$A|$PWD|$#"; env', "zero", "", environment={"A": "ü =x", "B": ""}, cwd="/tmp")
        assert agent.receive() == ("X", b"\0\0\0")
        lines = os.read(agent.logs, 65536).decode().splitlines()
        assert lines[0] == "zero||ü =x|/tmp|1"
        assert set(lines[1:]) - {"PWD=/tmp", "_=/usr/bin/env", "OLDPWD=/tmp"} == {"A=ü =x", "B="}


def test_a_large_environment_arrives_whole() -> None:
    value = "x" * 100_000
    with Agent() as agent:
        agent.hello().started("/bin/sh", "-c", "echo ${#A} ${#B}", environment={"A": value, "B": value})
        assert agent.receive() == ("X", b"\0\0\0")
        assert os.read(agent.logs, 100) == b"100000 100000\n"


def test_the_runtime_channel_is_the_runtime_s_alone() -> None:
    script = "import os, sys; os.write(4, os.read(4, 100)[::-1])"
    with Agent() as agent:
        agent.hello().runtime.sendall(b"abc")
        agent.started(sys.executable, "-c", script)
        assert agent.runtime.recv(100) == b"cba"
        assert agent.receive() == ("X", b"\0\0\0")
        agent.started(sys.executable, "-c", script, role=1)
        assert agent.receive() == ("X", b"\1\0\1")  # EBADF


@pytest.mark.parametrize(("role", "expected"), [(0, "0 1 2 4 5"), (1, "0 1 2")])
def test_no_descriptor_leaks(role: int, expected: str) -> None:
    strays = [os.open("/etc/passwd", os.O_RDONLY) for _ in range(20)]
    try:
        with Agent(inherit=strays) as agent:
            listing = agent.hello().run("ls -l /proc/$$/fd", role=role)
            found = dict(re.findall(r"(\d+) -> (.*)", listing))
            found.pop("10", None)  # dash's own copy of its script
            assert " ".join(sorted(found)) == expected
            assert found["0"] == "/dev/null"
            assert found["1"] == found["2"] and found["1"].startswith("pipe:")
            names = [os.readlink(each) for each in Path(f"/proc/{agent.process.pid}/fd").iterdir()] if os.geteuid() == 0 else []
            assert not any("passwd" in name for name in names)
    finally:
        for fd in strays:
            os.close(fd)


def test_limits_and_defaults_of_a_child() -> None:
    with Agent() as agent:
        text = agent.hello().run("ulimit -Sn; ulimit -Hn; ulimit -Hl; ulimit -Ss; umask; cat /proc/self/oom_score_adj")
        assert text.split() == ["1024", "1024", "64", "8192", "0022", "1000"]
        found = status(agent)
        assert [int(found[key], 16) for key in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]
        assert found["NoNewPrivs"] == "1"


def test_core_dumps_are_files_or_are_not_made() -> None:
    """A host's crash handler is never started for a function: it would be with a limit of 0, and is not with 1."""
    handled = Path("/proc/sys/kernel/core_pattern").read_text().startswith(("|", "@"))
    most, ours = 1 if handled else 10 << 30, resource.getrlimit(resource.RLIMIT_CORE)[1]
    if ours != resource.RLIM_INFINITY:
        most = min(most, ours)
    with Agent() as agent:
        limits = agent.hello().run("cat /proc/self/limits")
        found = re.search(r"^Max core file size +(\d+) +(\d+)", limits, re.MULTILINE)
        assert found is not None and found.groups() == (str(most), str(most))


def test_each_process_has_a_session_of_its_own() -> None:
    with Agent() as agent:
        pids = [agent.hello().started("/bin/sleep", "1000", role=1), agent.started("/bin/sleep", "1000", role=2)]
        assert [os.getsid(pid) for pid in pids] == pids == [os.getpgid(pid) for pid in pids]


# --- kill and reap --------------------------------------------------------------------------------------------------------

AGENTS = [
    pytest.param((), id="subreaper"),
    pytest.param(PID_1, marks=root_only, id="pid 1"),
]


@pytest.mark.parametrize("before", AGENTS)
def test_orphans_are_reaped_silently(before: list[str]) -> None:
    with Agent(before=before) as agent:
        pids = agent.hello().run("for each in 1 2 3 4 5; do (sleep 0.01 & echo $!); done")
        agent.run(f"for pid in {' '.join(pids.split())}; do while [ -e /proc/$pid ]; do :; done; done")


BOMB = """
import os, signal
for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(signum, signal.SIG_IGN)
for depth in range(6):
    if os.fork() and depth % 2:
        os.setpgid(0, 0) if os.getpid() != os.getsid(0) else None
    elif depth == 3:
        try: os.setsid()
        except OSError: pass
os.write(1, b'.')
while True:
    signal.pause()
"""


@pytest.mark.parametrize("before", AGENTS)
def test_kill_takes_everything_and_the_agent_lives_on(before: list[str]) -> None:
    with Agent(before=before) as agent:
        agent.hello().started(sys.executable, "-c", BOMB)
        agent.started("/bin/sleep", "1000", role=5)
        agent.read_until("." * 64)
        agent.send("K")
        answers = [agent.receive() for _ in range(3)]
        assert sorted(answers[:2]) == [("X", b"\0\1\x09"), ("X", b"\5\1\x09")]
        assert answers[2] == ("k", b"")
        agent.send("K")
        assert agent.receive() == ("k", b"")
        assert agent.run("echo alive") == "alive\n"


CHAIN = """
import os
end = os.times().elapsed + 30
os.setsid() if os.getpid() != os.getsid(0) else None
os.write(1, b'.')
while os.times().elapsed < end:
    if os.fork():
        os._exit(0)
"""


@pytest.mark.parametrize("before", AGENTS)
def test_kill_catches_a_process_that_runs_by_forking(before: list[str]) -> None:
    with Agent(before=before) as agent:
        agent.hello().started(sys.executable, "-c", CHAIN)
        agent.read_until(".")
        assert agent.receive() == ("X", b"\0\0\0")
        agent.send("K")
        assert agent.receive() == ("k", b"")


STORM = """
import os
os.write(1, b'.')
while True:
    child = os.fork()
    if child == 0:
        for _ in range(20):
            if os.fork() == 0:
                os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("before", AGENTS)
def test_a_storm_of_orphans_does_not_keep_the_host_from_being_heard(before: list[str]) -> None:
    with Agent(before=before) as agent:
        agent.hello()
        for role in range(3):
            agent.started(sys.executable, "-c", STORM, role=role)
        agent.read_until("...")
        agent.send("K")
        assert sorted(agent.receive() for _ in range(3)) == [("X", bytes([role, 1, 9])) for role in range(3)]
        assert agent.receive() == ("k", b"")


@pytest.mark.parametrize("before", AGENTS)
def test_when_the_host_hangs_up_nothing_stays(before: list[str]) -> None:
    with Agent(before=before) as agent:
        agent.hello().started(sys.executable, "-c", BOMB)
        agent.read_until("." * 64)
        agent.control.close()
        assert agent.process.wait(PATIENCE_S) == 0
        while os.read(agent.logs, 65536):  # the end of the pipe: nobody holds it any more
            pass


def test_a_terminated_agent_takes_all_along() -> None:
    with Agent() as agent:
        pid = agent.hello().started("/bin/sleep", "1000")
        agent.process.terminate()
        assert agent.process.wait(PATIENCE_S) == 0
        assert gone(pid)


def test_a_killed_agent_takes_what_it_started_along() -> None:
    with Agent() as agent:
        agent.hello().started("/bin/sleep", "1000")
        agent.process.kill()
        assert agent.process.wait(PATIENCE_S) == -signal.SIGKILL
        while os.read(agent.logs, 65536):
            pass


# --- privileges -----------------------------------------------------------------------------------------------------------


def status(agent: Agent) -> dict[str, str]:
    """What /proc/self/status says to a child."""
    text = agent.run("cat /proc/self/status")
    return {key: " ".join(value.split()) for key, value in (line.split(":", 1) for line in text.splitlines())}


@root_only
@has_setpriv
@pytest.mark.parametrize("before", [CONTAINER, []], ids=["as in a container", "as root"])
def test_children_have_the_function_s_ids_and_no_capability(before: list[str]) -> None:
    with Agent(*FUNCTION, before=before) as agent:
        lines = status(agent.hello())
        assert lines["Uid"] == "993 993 993 993" and lines["Gid"] == "990 990 990 990" and lines["Groups"] == ""
        assert lines["NoNewPrivs"] == "1"
        for kind in ("Inh", "Prm", "Eff", "Amb"):
            assert int(lines[f"Cap{kind}"], 16) == 0
        if not before:  # may change its bounding set
            assert int(lines["CapBnd"], 16) == 0


@root_only
def test_root_itself_loses_its_capabilities_in_children() -> None:
    with Agent() as agent:
        lines = status(agent.hello())
        assert all(int(lines[f"Cap{kind}"], 16) == 0 for kind in ("Inh", "Prm", "Eff", "Amb", "Bnd"))


@root_only
@has_setpriv
def test_the_agent_keeps_three_capabilities_and_can_kill_the_function() -> None:
    with Agent(*FUNCTION, before=CONTAINER) as agent:
        agent.hello().started("/bin/sleep", "1000")
        status = Path(f"/proc/{agent.process.pid}/status").read_text()
        assert f"CapEff:\t{1 << 5 | 1 << 6 | 1 << 7:016x}" in status and "CapAmb:\t" + "0" * 16 in status
        agent.send("K")
        assert [agent.receive(), agent.receive()] == [("X", b"\0\1\x09"), ("k", b"")]


@root_only
@has_setpriv
def test_without_the_capability_nothing_is_started() -> None:
    before = ["setpriv", "--reuid", "992", "--regid", "990", "--clear-groups", "--bounding-set", "-all"]
    with Agent(*FUNCTION, before=before) as agent:
        agent.hello().start("/bin/true")
        type, body = agent.receive()
        assert (type, failure(body)) == ("F", (0, errno.EPERM, "setgroups"))


SPY = """
import os
agent = int(os.environ['AGENT'])
for what in ('fd', 'mem', 'environ', 'maps', 'fd/3'):
    try:
        path = f'/proc/{agent}/{what}'
        os.listdir(path) if what == 'fd' else open(path, 'rb').read(1)
        print(what, 'open')
    except OSError as error:
        print(what, error.errno)
for signum in (0, 9, 19):
    try:
        os.kill(agent, signum)
        print('kill', signum, 'allowed')
    except OSError as error:
        print('kill', error.errno)
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print('ptrace', libc.ptrace(16, agent, 0, 0), ctypes.get_errno())
"""


@root_only
@has_setpriv
def test_the_function_cannot_look_into_the_agent_nor_signal_it() -> None:
    with Agent(*FUNCTION, before=CONTAINER) as agent:
        agent.hello().started("/usr/bin/env", "python3", "-c", SPY, environment={"AGENT": str(agent.process.pid), "PATH": "/usr/bin:/bin"})
        assert agent.receive() == ("X", b"\0\0\0")
        lines = os.read(agent.logs, 65536).decode().splitlines()
        assert lines == ["fd 13", "mem 13", "environ 13", "maps 13", "fd/3 13", "kill 1", "kill 1", "kill 1", "ptrace -1 1"]


@root_only
@has_setpriv
def test_standard_output_can_be_opened_by_name() -> None:
    with Agent(*FUNCTION) as agent:
        assert agent.hello().run("echo hello > /dev/stderr; echo you > /dev/stdout") == "hello\nyou\n"
