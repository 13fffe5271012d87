"""The escape corpus on real microVMs: what a function tries inside, and what a guest's kernel or a VMM that was taken over could.

docs/security.md names these tests. A function's attempts go in few invocations: on a host whose KVM is nested in software each system
call of theirs takes a millisecond, each page of memory ten, each thread a fifth of a second. What needs many of those is not here.
"""

import json
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from hanabi.sandbox.host import kvm
from hanabi.sandbox.host.host_ids import NETWORK, UID_BASE
from tests.microvm import rig
from tests.microvm.hostile import MACHINE
from tests.microvm.test_life import PYTHON, _patient, create_function_slowly, rows
from tests.security.hostile import CHANNEL, NEAR, PRELUDE, PROTECTED, RAW_SOCKETS, SYSTEM_CALLS, evaluate
from tests.security.test_escape import host_addresses, host_listener  # noqa: F401  (a fixture)
from tests.server import IMAGES, Server
from tests.waiting import wait_for

reason = rig.why_not(build=rig.building())
pytestmark = [
    pytest.mark.skipif(bool(reason), reason=f"no real microVMs: {reason}"),
    pytest.mark.skipif(not rig.thorough(), reason="takes minutes where KVM is nested in software: make test-microvm"),
]

REFUSED = {"EPERM", "EACCES", "ENOSYS"}
HOST, SELF, OWN = 2, 1, 3  # vsock: the host, the machine's loopback, and the address that every machine has
CODE = PRELUDE + CHANNEL + MACHINE
DOOR_S = 12 if kvm.is_hardware() else 90  # how long a door is open: others try it meanwhile


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(*rig.options(), "--pool-size", "2") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return server.client("lambda", config=_patient())


@pytest.fixture(scope="module")
def attacker(client: Any, server: Server) -> str:
    create_function_slowly(client, "escape-attacker", {"lambda_function.py": CODE})
    return "escape-attacker"


@pytest.fixture(scope="module")
def neighbour(client: Any) -> str:
    create_function_slowly(client, "escape-neighbour", CODE)
    return "escape-neighbour"


@pytest.fixture(scope="module")
def rough(client: Any) -> str:
    """A function whose machine does not outlive what it does."""
    create_function_slowly(client, "escape-rough", CODE, Timeout=15 if kvm.is_hardware() else 60)
    return "escape-rough"


@pytest.fixture(scope="module")
def tries(client: Any, attacker: str) -> Any:
    """What comes of many actions in one invocation: name -> [exception or "allowed", errno or value]."""

    def tries(actions: dict[str, str]) -> dict[str, list[Any]]:
        return dict(evaluate(client, attacker, "tries(actions)", actions=actions))

    return tries


def jail_of(server: Server, function: str) -> Path:
    """Of the newest machine of a function."""
    newest = rows(server, function=function)[-1]["id"]
    (jail,) = [each for each in rig.jails(server) if each.parent.name == newest]
    return jail


# --- inside: files, rights, processes


def test_the_function_is_nobody_in_its_machine(client: Any, attacker: str) -> None:
    assert evaluate(client, attacker, "[os.getuid(), os.getgid(), os.getgroups()]") == [993, 990, []]
    status = evaluate(client, attacker, "open('/proc/self/status').read()")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {int(fields[f"Cap{each}"], 16) for each in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert fields["NoNewPrivs"] == "1"


def test_nothing_of_the_host_is_there(client: Any, server: Server, attacker: str) -> None:
    seen = evaluate(
        client,
        attacker,
        "[os.listdir('/dev'), open('/proc/self/mountinfo').read(), open('/proc/cmdline').read(), [p for p in paths if os.path.exists(p)]]",
        paths=[str(server.data_dir), str(IMAGES), "/dev/vda", "/dev/vdd", "/dev/mem", "/dev/shm", "/proc/kcore", "/sys/fs/cgroup"],
    )
    devices, mounts, command_line, found = seen
    assert set(devices) <= {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr"}
    assert server.data_dir.name not in mounts + command_line and str(IMAGES) not in mounts + command_line
    assert found == []


def test_the_root_is_read_only(tries: Any) -> None:
    answers = tries({path: f"open({path!r}, 'w')" for path in PROTECTED})
    assert all(answer in (["OSError", 30], ["PermissionError", 13]) for answer in answers.values()), answers


def test_the_agent_and_the_kernel_are_closed(client: Any, attacker: str, tries: Any) -> None:
    listed = [f"/proc/1/{name}" for name in ("fd", "ns", "root", "map_files")] + ["/.hanabi", "/.hanabi/cgroup/function", "/.hanabi/sys"]
    read = [f"/proc/1/{name}" for name in ("mem", "environ", "maps")] + ["/proc/kmsg", "/proc/vmallocinfo", "/.hanabi/vda"]
    written = ["/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe"]
    written += ["/proc/sys/vm/drop_caches", "/proc/sys/net/ipv4/ip_nonlocal_bind", "/.hanabi/cgroup/function/memory.max"]
    answers = tries(
        {
            **{f"list {path}": f"os.listdir({path!r})" for path in listed},
            **{f"read {path}": f"open({path!r}, 'rb').read(1)" for path in read},
            **{f"write {path}": f"open({path!r}, 'w')" for path in written},
            "kill": "os.kill(1, 9)",
            "be root": "os.setuid(0)",
            "be the agent": "os.setuid(992)",
            "survive": "os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'0')",
            "more files": "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))",
        }
    )
    assert [name for name, answer in answers.items() if answer[0] == "allowed"] == []
    sockets = evaluate(
        client,
        attacker,
        "[fd for fd in range(64) if attempt(lambda: os.fstat(fd))[0] == 'allowed' and stat.S_ISSOCK(os.fstat(fd).st_mode)]",
    )
    assert sockets == [4]


def test_system_calls_that_reach_out_are_refused(client: Any, attacker: str) -> None:
    calls = {name: action for name, action in SYSTEM_CALLS.items() if name != "ptrace traceme"}  # of itself only: harmless here
    answers = evaluate(client, attacker, "{name: eval(action, globals()) for name, action in calls.items()}", calls=calls)
    assert {name: answer for name, answer in answers.items() if answer not in REFUSED} == {}


def test_only_processes_of_the_machine_are_seen(client: Any, attacker: str) -> None:
    owners = evaluate(client, attacker, "[os.stat(f'/proc/{p}').st_uid for p in os.listdir('/proc') if p.isdigit()]")
    assert [uid for uid in owners if uid != 0] == [993]  # beside the function, the agent and the kernel's own threads


def test_descriptors_end_at_1024_and_tmp_at_its_size(tries: Any) -> None:
    answers = tries(
        {
            "last": "os.close(os.dup2(1, 1023))",
            "over": "os.dup2(1, 1024)",
            "more": "resource.setrlimit(resource.RLIMIT_NOFILE, (1025, 1025))",
            "fill": "os.posix_fallocate(os.open('/tmp/big', os.O_CREAT | os.O_RDWR), 0, 700 << 20)",
            "remove": "os.unlink('/tmp/big')",
        }
    )
    allowed = ["allowed", "None"]
    assert answers == {"last": allowed, "over": ["OSError", 9], "more": ["ValueError", None], "fill": ["OSError", 28], "remove": allowed}


# --- inside: vsock and network


def test_the_host_cannot_be_played_to_the_agent(client: Any, attacker: str) -> None:
    """The agent's own ports take nobody but the host, and nobody can say that he is it."""
    ports = [[cid, port] for cid in (SELF, OWN) for port in range(5000, 5006)]
    answers = evaluate(client, attacker, "reach(socket.AF_VSOCK, targets, 3)", targets=ports)
    assert [answer for answer in answers if answer[2] == "open" or answer[2].startswith("said")] == []
    bind = "attempt(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).bind((cid, port)))[0]"
    assert [evaluate(client, attacker, bind, cid=cid, port=port) for cid, port in ((HOST, 6000), (0xFFFFFFFF, 5000))] == ["OSError"] * 2
    assert evaluate(client, attacker, "1 + 1") == 2  # and the agent still hears its host


def test_vsock_leads_to_the_functions_own_endpoints_and_nowhere_else(client: Any, server: Server, attacker: str) -> None:
    """The two endpoints, and where the agent hands over connections into the machine that the host has asked for: nobody answers there."""
    ports = [22, 1024, *range(4999, 5011), 9001, server.port]
    targets = [[HOST, port] for port in ports] + [[cid, 5000 + offset] for cid in (0, 4, 5, 1000) for offset in (0, 3)]
    answers = evaluate(client, attacker, "reach(socket.AF_VSOCK, targets, 3)", targets=targets)
    assert [answer[:2] for answer in answers if answer[2] == "open"] == [[HOST, 5003], [HOST, 5004], [HOST, 5005]]
    assert [answer for answer in answers if answer[2].startswith(("said", "closed"))] == []


def test_behind_vsock_are_the_functions_own_endpoints(client: Any, server: Server, attacker: str, neighbour: str) -> None:
    """The same answers as over loopback, which are those to this function's credentials alone."""
    answers = evaluate(
        client,
        attacker,
        "[ask(family, address, f'GET {path} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n') for family, address, path in doors]",
        doors=[
            (socket.AF_VSOCK, (HOST, 5003), "/2018-06-01/runtime/invocation/next"),
            (socket.AF_INET, ("127.0.0.1", 9001), "/2018-06-01/runtime/invocation/next"),
            (socket.AF_VSOCK, (HOST, 5004), "/2015-03-31/functions/"),
            (socket.AF_INET, ("127.0.0.1", 9002), "/2015-03-31/functions/"),
        ],
    )
    assert answers == ["HTTP/1.1 403"] * 4
    owner = server.env
    keys = "[os.environ[name] for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN')]"
    signers = {
        "itself": evaluate(client, attacker, keys),
        "its neighbour": evaluate(client, neighbour, keys),
        "the owner": [owner["AWS_ACCESS_KEY_ID"], owner["AWS_SECRET_ACCESS_KEY"], None],
    }
    url = evaluate(client, attacker, "os.environ['AWS_ENDPOINT_URL_LAMBDA']") + "/2015-03-31/functions/"
    signed = {who: signature(url, key, owner["AWS_REGION"]) for who, key in signers.items()}
    said = evaluate(client, attacker, "{who: answer(url, headers) for who, headers in signed.items()}", url=url, signed=signed)
    assert said == {"itself": 200, "its neighbour": 403, "the owner": 403}


def signature(url: str, key: list[Any], region: str) -> dict[str, str]:
    request = AWSRequest("GET", url)
    SigV4Auth(Credentials(*key), "lambda", region).add_auth(request)
    return dict(request.headers.items())


def test_raw_sockets_are_refused(tries: Any) -> None:
    wanted = {name: arguments for name, arguments in RAW_SOCKETS.items() if name != "vsock"}
    answers = tries({name: f"socket.socket({arguments})" for name, arguments in wanted.items()})
    assert {answer[0] for answer in answers.values()} <= {"PermissionError", "OSError"}, answers


def test_host_neighbours_and_private_networks_are_closed(
    client: Any,
    server: Server,
    attacker: str,
    neighbour: str,
    tries: Any,
    host_listener: int,  # noqa: F811
) -> None:
    own, other = (evaluate(client, name, "socket.gethostname()") for name in (attacker, neighbour))
    assert own != other
    gateway = ".".join([*own.split(".")[:3], str(int(own.split(".")[3]) - 1)])
    hosts = ["127.0.0.1", gateway, str(NETWORK[1]), *host_addresses()]
    targets = [[host, port] for host in hosts for port in (host_listener, server.port)]
    targets += [[host, 80] for host in NEAR] + [[other, port] for port in (8000, 9001)]
    evaluate(client, attacker, "attempt(lambda: connect('127.0.0.1', 9))")  # the first of a kernel draws 256 KiB at random: slow here
    with ThreadPoolExecutor(1) as pool:
        came = pool.submit(evaluate, client, neighbour, f"accepted({DOOR_S})")
        answers = evaluate(client, attacker, "reach(socket.AF_INET, targets, 3)", targets=targets)
        assert not came.done() and came.result() == 0  # the door was open all the time
    assert [answer for answer in answers if answer[2] in ("open", "closed") or answer[2].startswith("said")] == []
    forged = tries({"own": f"forge({own!r}, '169.254.78.1')", "neighbour's": f"forge({other!r}, '169.254.78.1')"})
    assert forged["own"] == ["allowed", "1"] and forged["neighbour's"][0] == "OSError"


# --- nuisances: others have their time


class Pulse:
    """What the host's answers take while something goes on: of its own port, and of a neighbour's machine."""

    def __init__(self, server: Server, client: Any, neighbour: str) -> None:
        self._server, self._client, self._neighbour = server, client, neighbour

    def slowest(self, going: Any) -> float:
        """Seconds of the slowest answer of the host's port until `going` is done; the neighbour is asked at least once."""
        worst = 0.0
        with ThreadPoolExecutor(1) as pool:
            answered = pool.submit(evaluate, self._client, self._neighbour, "1 + 1")
            while not (going.done() and answered.done()):
                began = time.monotonic()
                with socket.create_connection(("127.0.0.1", self._server.port), 30) as connection:
                    connection.sendall(b"GET /_hanabi/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    assert connection.recv(12) == b"HTTP/1.1 200"
                worst = max(worst, time.monotonic() - began)
                time.sleep(0.02)  # to ask is not to flood
            assert answered.result() == 2
        return worst


@pytest.fixture(scope="module")
def pulse(server: Server, client: Any, neighbour: str) -> Pulse:
    return Pulse(server, client, neighbour)


SLUGGISH_S = 5.0  # two cores, most of them with guests: nothing of the host's may take longer, whatever a guest does


def test_a_flood_of_log_lines_leaves_others_their_time(client: Any, attacker: str, pulse: Pulse) -> None:
    with ThreadPoolExecutor(1) as pool:
        flooding = pool.submit(evaluate, client, attacker, "flood(4)")
        assert pulse.slowest(flooding) < SLUGGISH_S
        flooding.result()
    assert evaluate(client, attacker, "1 + 1") == 2


def test_connections_held_open_leave_others_theirs(client: Any, attacker: str, neighbour: str, pulse: Pulse) -> None:
    """More than the host takes (64 and 16), past the agent's own bound, which tests/unit/guest/agent/test_relay.py tries."""
    doors = [(socket.AF_VSOCK, (HOST, 5004), 70), (socket.AF_VSOCK, (HOST, 5003), 20)]
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(evaluate, client, attacker, "[hold(*door) for door in doors][-1]", doors=doors)
        assert pulse.slowest(holding) < SLUGGISH_S
        assert holding.result() == 90
    ask = "ask(socket.AF_VSOCK, (2, 5004), 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')"
    assert evaluate(client, neighbour, ask).startswith("HTTP/1.1 ")
    evaluate(client, attacker, "release()")
    wait_for(lambda: evaluate(client, attacker, f"attempt(lambda: {ask})")[0] == "allowed", rig.SLOW_S)  # its own again when they have gone


def provoke(client: Any, function: str, expression: str, **names: Any) -> dict[str, Any]:
    """An invocation that fails, however."""
    answer = client.invoke(FunctionName=function, Payload=json.dumps({"run": expression, **names}).encode())
    said = json.load(answer["Payload"])
    assert "FunctionError" in answer, said
    return dict(said)


@pytest.mark.parametrize(
    ("head", "more"), [("010000005a", 0), ("ffffffff6f", 0), ("000040066f", 100 << 20)], ids=["type", "length", "100 MB"]
)
def test_hostile_frames_break_only_the_sender(client: Any, rough: str, neighbour: str, head: str, more: int) -> None:
    provoke(client, rough, "raw(head, more)", head=head, more=more)
    assert evaluate(client, neighbour, "1 + 1") == 2
    assert evaluate(client, rough, "1 + 1") == 2


def test_a_bomb_of_threads_is_contained(client: Any, rough: str, neighbour: str) -> None:
    assert evaluate(client, rough, "1 + 1") == 2
    with ThreadPoolExecutor(1) as pool:
        bomb = pool.submit(client.invoke, FunctionName=rough, Payload=b'{"run": "threads()"}')
        assert evaluate(client, neighbour, "1 + 1") == 2
        said = json.load(bomb.result()["Payload"])
    if kvm.is_hardware() or isinstance(said, list):
        assert 900 < said[0] < 1024 and said[1] == 11
    else:  # not even a thousand threads are made before its time is over
        assert said["errorType"] == "Sandbox.Timedout"
    assert evaluate(client, rough, "1 + 1") == 2


# --- the host's side: a guest's kernel, or its VMM, that was taken over


def status_of(task: Path) -> dict[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(":") for line in (task / "status").read_text().splitlines())}


def test_a_vmm_is_nobody_on_the_host(client: Any, server: Server, attacker: str, neighbour: str) -> None:
    uids = []
    for function in (attacker, neighbour):
        evaluate(client, function, "1 + 1")
        process = Path(f"/proc/{rig.machine_pid(jail_of(server, function))}")
        tasks = [status_of(task) for task in (process / "task").iterdir()]
        assert len(tasks) >= 3  # the VMM, its API, its processors
        for status in tasks:
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
            assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2" and status["Groups"] == ""
            assert len(set(status["Uid"].split() + status["Gid"].split())) == 1
            uids.append(int(status["Uid"].split()[0]))
        limits = (process / "limits").read_text()
        assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")] == ["2048"]
        assert [int(line.split()[3]) < 4 << 30 for line in limits.splitlines() if line.startswith("Max file size")] == [True]
    assert min(uids) >= UID_BASE and len(set(uids)) == 2
    first, second = sorted(set(uids))
    assert first >> 16 != second >> 16  # ranges of their own


def test_a_vmm_sees_its_own_files_only(client: Any, server: Server, attacker: str, neighbour: str) -> None:
    evaluate(client, attacker, "1 + 1"), evaluate(client, neighbour, "1 + 1")
    jails = [jail_of(server, function) for function in (attacker, neighbour)]
    spaces = []
    for jail in jails:
        process = Path(f"/proc/{rig.machine_pid(jail)}")
        seen = set(os.listdir(process / "root"))
        fixed = {"dev", "run", "firecracker", "firecracker.pid", "log", "metrics", "v.sock", "v.sock_5003", "v.sock_5004", "v.sock_5005"}
        assert seen - fixed == {"state", "memory", "root", "task", "task-drive", "opt", "tmp"}
        assert set(os.listdir(process / "root/dev")) <= {"kvm", "net", "urandom", "userfaultfd"}
        (mounted,) = (process / "mountinfo").read_text().splitlines()
        assert mounted.split()[3].endswith(f"/{jail.parent.name}/root") and mounted.split()[4] == "/"
        spaces.append([os.readlink(process / "ns" / kind) for kind in ("net", "pid", "mnt")])
    spaces.append([os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "pid", "mnt")])
    assert all(len(set(kind)) == 3 for kind in zip(*spaces, strict=True))


def test_a_vmm_cannot_write_what_clones_share(client: Any, server: Server, attacker: str) -> None:
    evaluate(client, attacker, "1 + 1")
    jail = jail_of(server, attacker)
    owner = jail.stat().st_uid
    for name in ("state", "memory", "root", "task", "task-drive", "opt"):
        shared = (jail / name).lstat()
        assert stat.S_ISREG(shared.st_mode) and shared.st_uid == 0 and shared.st_mode & 0o222 == 0, name
    held = Path(f"/proc/{rig.machine_pid(jail)}/fdinfo")
    names = {os.readlink(held.with_name("fd") / fd.name): int(fd.read_text().split("flags:")[1].split()[0], 8) for fd in held.iterdir()}
    writable = {name for name, flags in names.items() if flags & os.O_ACCMODE and name.startswith("/") and not name.startswith("/dev/")}
    assert {Path(name).name for name in writable} <= {"tmp", "log", "metrics", "console"}
    assert names["/memory"] & os.O_ACCMODE == os.O_RDONLY  # mapped privately
    script = "for p in arguments:\n    for a in (lambda: os.open(p, os.O_WRONLY), lambda: os.chmod(p, 0o666)):\n"
    script += "        try:\n            a()\n        except OSError:\n            continue\n        print(p)\n"
    assert as_user(owner, script, *(str(Path("/") / name) for name in ("state", "memory", "root", "task-drive")), root=jail) == ""


def as_user(uid: int, script: str, *arguments: str, root: Path) -> str:
    """What a script of that user prints with `root` as its root. There is nothing to execute in a jail, so a fork has to do."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(writing, 1)
            sys.stdout = os.fdopen(1, "w")
            code = compile(script, "script", "exec")
            os.chroot(root)
            os.chdir("/")
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            exec(code, {"arguments": arguments, "os": os, "socket": socket})
            sys.stdout.flush()
        except BaseException as error:
            os.write(1, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    os.waitpid(child, 0)
    return text


def test_jails_are_closed_to_each_others_users(client: Any, server: Server, attacker: str, neighbour: str) -> None:
    evaluate(client, attacker, "1 + 1"), evaluate(client, neighbour, "1 + 1")
    own, other = (jail_of(server, function) for function in (attacker, neighbour))
    script = "def dial(p):\n    socket.socket(socket.AF_UNIX).connect(p)\n"
    script += "for p in arguments:\n    for a in (os.listdir, open, os.stat, dial):\n"
    script += "        try:\n            a(p)\n        except OSError:\n            continue\n        print(a.__name__, p)\n"
    names = ("tmp", "memory", "v.sock", "v.sock_5003", "v.sock_5004", "run/firecracker.socket", "task-drive")
    said = as_user(own.stat().st_uid, script, str(other), *(str(other / name) for name in names), root=Path("/"))
    assert said == f"stat {other}\n"  # that it is there, and nothing in it


def test_a_vmm_has_limits_of_its_own(client: Any, server: Server, attacker: str) -> None:
    evaluate(client, attacker, "1 + 1")
    jail = jail_of(server, attacker)
    groups = {}
    for line in Path(f"/proc/{rig.machine_pid(jail)}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update({controller: path for controller in controllers.split(",")})
    assert all(groups.get(name, groups.get("", "")).endswith(jail.parent.name) for name in ("cpu", "memory", "pids", "freezer"))
    quota, period = cpu_of(groups)
    assert abs(quota / period - PYTHON["MemorySize"] / 1769) < 0.02  # type: ignore[operator]


def cpu_of(groups: dict[str, str]) -> tuple[int, int]:
    """Quota and period of a group, in microseconds."""
    if "cpu" in groups:
        (mounted,) = [
            line.split()[4]
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if " - cgroup " in line and "cpu" in line.split()[-1].split(",")
        ][:1]
        directory = Path(mounted + groups["cpu"])
        return int((directory / "cpu.cfs_quota_us").read_text()), int((directory / "cpu.cfs_period_us").read_text())
    quota, period = Path("/sys/fs/cgroup" + groups[""], "cpu.max").read_text().split()
    return int(quota), int(period)


def test_snapshots_are_not_for_others(server: Server) -> None:
    """Of functions: root's alone. Of runtimes, which know nothing: not to be listed, not to be written."""
    own = server.data_dir / "snapshots"
    assert not own.exists() or own.stat().st_mode & 0o777 == 0o700
    templates = IMAGES / "snapshots"
    assert templates.stat().st_mode & 0o066 == 0
    for place in templates.iterdir():
        if place.is_dir() and not place.name.startswith("draft-"):
            assert place.stat().st_mode & 0o066 == 0
            for file in place.iterdir():
                assert file.stat().st_uid == 0 and file.stat().st_mode & 0o022 == 0


def test_a_machine_goes_when_its_vmm_is_killed(client: Any, server: Server, rough: str) -> None:
    """Its jail, its group, its uid: nothing waits for the next one."""
    evaluate(client, rough, "1 + 1")
    jail = jail_of(server, rough)
    os.kill(rig.machine_pid(jail), 9)
    wait_for(lambda: not jail.parent.exists(), rig.SLOW_S)
