"""The whole life of functions on real microVMs: boot, snapshot, restore, invoke, pause, resume, update, kill, network, crash.

`make test-microvm` builds what it needs; else these run where the guest kernel is in the cache.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from hanabi.sandbox.host import kvm
from tests import leftovers
from tests.microvm import rig
from tests.server import ROLE, Server, create_function, zip_of
from tests.system.test_extensions import RECORDER, Log
from tests.unit.images.layouts import Image, file, folder, layer, write_layout
from tests.waiting import wait_for

reason = rig.why_not(build=rig.building())
pytestmark = pytest.mark.skipif(bool(reason), reason=f"no real microVMs: {reason}")
thorough = pytest.mark.skipif(not rig.thorough(), reason="takes a minute where KVM is nested in software: make test-microvm")

MEMORY_MB = 512  # 29 % of a processor, where it is slow anyway
PYTHON = {"Runtime": "python3.13", "MemorySize": MEMORY_MB, "Timeout": 300}
HANG_S = 20 if kvm.is_hardware() else 120  # to take 2 MB: at this share, where it is slow, the first takes some 20 s
LOOK = """
import json, os, random, socket, ssl, time, uuid

def lambda_handler(event, context):
    print("inside", context.aws_request_id)
    time.sleep(event.get("sleep", 0))
    if "eval" in event:
        try:
            return repr(eval(event["eval"]))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return {
        "uuid4": str(uuid.uuid4()), "urandom": os.urandom(8).hex(), "random": random.random(), "ssl": ssl.RAND_bytes(8).hex(),
        "host": socket.gethostname(), "time": time.time(), "pid": os.getpid(),
    }
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(*rig.options(), "--pool-size", "1", "--hibernate-after-s", "3600", "--allow-net", ADDRESS + "/32") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return server.client("lambda", config=_patient())


@pytest.fixture(scope="module")
def look(client: Any) -> str:
    """A function that tells what it sees. The first one of a host waits for the machine's first boot."""
    create_function_slowly(client, "look", LOOK)
    return "look"


ADDRESS = "198.51.100.77"  # on this host, for the time of the test: TEST-NET-2


def _patient() -> Any:
    from botocore.config import Config

    return Config(retries={"total_max_attempts": 1}, read_timeout=rig.SLOW_S, max_pool_connections=20)


def create_function_slowly(client: Any, name: str, code: str | dict[str, str | bytes], **options: Any) -> None:
    try:
        create_function(client, name, code, **{**PYTHON, **options})
    except WaiterError:  # the first boot of a runtime takes longer than anybody else waits
        settle(client, name)


def settle(client: Any, name: str, qualifier: str = "$LATEST") -> dict[str, Any]:
    def done() -> Any:
        now = client.get_function_configuration(FunctionName=name, Qualifier=qualifier)
        return now if now["State"] != "Pending" and now.get("LastUpdateStatus") != "InProgress" else None

    return dict(wait_for(done, 2 * rig.SLOW_S))


def invoke(client: Any, name: str, payload: Any = None, **options: Any) -> Any:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(payload or {}), **options)
    said = json.load(answer["Payload"])
    assert "FunctionError" not in answer, said
    return said


@thorough
def test_extensions(server: Server, client: Any) -> None:
    content = zip_of({"extensions/recorder": RECORDER.read_text()}, executable=["extensions/recorder"])
    arn = client.publish_layer_version(LayerName="recorder", Content={"ZipFile": content})["LayerVersionArn"]
    create_function_slowly(client, "extended", LOOK, Layers=[arn])
    for _ in range(2):
        invoke(client, "extended")
    client.update_function_configuration(FunctionName="extended", Description="another one")
    wanted = ["REGISTERED", "INVOKE", "INVOKE"]
    if kvm.is_hardware():  # else two seconds are too short for it to say so
        wanted.append("SHUTDOWN")
    events = Log(server.client("logs"), "extended").wait_for(len(wanted), rig.SLOW_S)
    assert [event["eventType"] for event in events][: len(wanted)] == wanted


def see(client: Any, expression: str) -> Any:
    return invoke(client, "look", {"eval": expression})


def rows(server: Server, **wanted: Any) -> list[dict[str, Any]]:
    listed = json.loads(server.hanabi("ps", "--json"))
    found = listed["environments"] if isinstance(listed, dict) else listed
    return [row for row in found if all(row.get(name) == value for name, value in wanted.items())]


def kill_machines(server: Server, **wanted: str) -> None:
    for row in rows(server, **wanted):
        (jail,) = [each for each in rig.jails(server) if each.parent.name == row["id"]]
        os.kill(rig.machine_pid(jail), signal.SIGKILL)
    wait_for(lambda: not rows(server, **wanted), rig.SLOW_S)


def messages(server: Server, name: str) -> list[str]:
    events = server.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
    return [event["message"] for event in events]


# --- one function, one machine


def test_the_ready_line_says_what_isolates(server: Server) -> None:
    assert "firecracker (Firecracker 1." in server.ready_line


def test_a_function_answers_and_is_recorded(server: Server, client: Any, look: str) -> None:
    seen = invoke(client, look)
    assert abs(seen["time"] - time.time()) < 30 and seen["host"].startswith("100.127.")
    assert rows(server, function=look)
    said = messages(server, look)
    assert any(line.startswith("INIT_START Runtime Version: python:3.13") for line in said)
    assert any(line.startswith("inside ") for line in said)
    report = next(line for line in said if line.startswith("REPORT"))
    assert "Memory Size: 512 MB" in report and 10 < int(report.partition("Max Memory Used: ")[2].split()[0]) < 200


def test_it_is_warm_then_paused_then_warm_again(server: Server, client: Any, look: str) -> None:
    before = invoke(client, look)
    for _ in range(3):
        wait_for(lambda: rows(server, function=look, state="frozen"), rig.SLOW_S)
        (jail,) = [each for each in rig.jails(server) if each.parent.name == rows(server, function=look)[0]["id"]]
        used = cpu_ticks(rig.machine_pid(jail))
        time.sleep(0.5)  # a length of time to measure over, not a wait for something
        assert cpu_ticks(rig.machine_pid(jail)) - used <= 1
        after = invoke(client, look)
        assert (after["host"], after["pid"]) == (before["host"], before["pid"])
        assert abs(after["time"] - time.time()) < 30


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@thorough
def test_what_a_function_sees_of_its_machine(client: Any, look: str) -> None:
    assert see(client, "os.getuid(), os.getgid(), os.getgroups(), os.getcwd()") == "(993, 990, [], '/var/task')"
    assert "CapEff:\t0000000000000000" in see(client, "open('/proc/self/status').read()").encode().decode("unicode_escape")
    assert see(client, "sorted(os.listdir('/dev'))").startswith("['fd', 'full', 'null', 'random'")
    for expression in ("os.listdir('/.hanabi')", "open('/var/task/x', 'w')", "open('/usr/x', 'w')", "os.kill(1, 9)", "os.setuid(0)"):
        assert see(client, expression).split(":")[0] in ("PermissionError", "OSError"), expression
    assert see(client, "open('/etc/resolv.conf').read().split()[:2]") == "['nameserver', '169.254.78.1']"
    assert 511 << 20 < int(see(client, "os.statvfs('/tmp').f_bavail * os.statvfs('/tmp').f_frsize")) < 600 << 20
    assert see(client, "os.posix_fallocate(os.open('/tmp/big', os.O_CREAT | os.O_RDWR), 0, 700 << 20)").startswith("OSError: [Errno 28]")
    see(client, "os.unlink('/tmp/big')")


def test_the_jail_of_a_machine(server: Server, client: Any, look: str) -> None:
    invoke(client, look)
    (row,) = rows(server, function=look)
    (jail,) = [each for each in rig.jails(server) if each.parent.name == row["id"]]
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{rig.machine_pid(jail)}/status").read_text().splitlines() if ":\t" in line)
    uids = set(status["Uid"].split())
    assert len(uids) == 1 and int(uids.pop()) > 1 << 30
    assert status["CapEff"].strip("0") == "" and status["Seccomp"].strip() == "2"
    pid = rig.machine_pid(jail)
    assert {"firecracker.pid", "memory", "v.sock"} <= set(os.listdir(f"/proc/{pid}/root")) and not Path(f"/proc/{pid}/root/etc").exists()
    for kind in ("net", "pid", "mnt"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind
    assert row["id"] in Path(f"/proc/{pid}/cgroup").read_text()


# --- clones


def test_two_clones_share_nothing_that_is_random(server: Server, client: Any, look: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: invoke(client, look, {"sleep": 2.0}), range(2)))
    while both[0]["host"] == both[1]["host"]:  # one was done before the other's machine was there
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda _: invoke(client, look, {"sleep": 5.0}), range(2)))
    for name in ("uuid4", "urandom", "random", "ssl", "host"):
        assert both[0][name] != both[1][name], name
    assert both[0]["pid"] == both[1]["pid"]  # they are clones


# --- limits


@thorough
def test_a_busy_loop_dies_at_its_timeout(server: Server, client: Any) -> None:
    create_function_slowly(
        client, "busy", "def lambda_handler(event, context):\n    while event:\n        pass\n    return 'idle'\n", Timeout=15
    )
    assert invoke(client, "busy") == "idle"
    (row,) = rows(server, function="busy")
    answer = client.invoke(FunctionName="busy", Payload=b'{"for": "ever"}')
    assert json.load(answer["Payload"])["errorType"] == "Sandbox.Timedout"
    client.update_function_configuration(FunctionName="busy", Timeout=300)
    settle(client, "busy")
    assert invoke(client, "busy") == "idle"
    wait_for(lambda: row["id"] not in [each["id"] for each in rows(server)], rig.SLOW_S)
    wait_for(lambda: not [each for each in rig.jails(server) if each.parent.name == row["id"]], rig.SLOW_S)
    assert leftovers.of_sandbox(server.data_dir / "run", row["id"]) == []


@thorough
def test_after_a_timeout_nothing_is_left_in_the_machine(server: Server, client: Any, program: bytes) -> None:
    """No process, no memory, no socket of what was cut off; /tmp stays, and the next invocation works."""
    create_function_slowly(client, "late", {"bootstrap": program}, Runtime="provided.al2023", Handler="none", Timeout=HANG_S)
    assert server.process is not None
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    assert invoke(client, "late", {"look": 1}) == {"kept": 0, "processes": 1, "port": True}
    (row,) = rows(server, function="late")
    before = len(list(descriptors.iterdir()))
    kept = 0
    for _ in range(2):
        answer = client.invoke(FunctionName="late", Payload=b'{"hang": 1}')
        assert json.load(answer["Payload"])["errorType"] == "Sandbox.Timedout"
        seen = invoke(client, "late", {"look": 1})
        (now,) = rows(server, function="late")
        kept = kept + 1 if now["id"] == row["id"] else 0  # one that cannot end its processes within 5 s is replaced: not on hardware
        assert now["id"] == row["id"] or not kvm.is_hardware()
        assert seen == {"kept": kept, "processes": 1, "port": True}
        row = now
    wait_for(lambda: [each.parent.name for each in rig.jails(server) if each.parent.name == row["id"]], rig.SLOW_S)
    assert len(list(descriptors.iterdir())) <= before + 4  # connections that are about to close
    reports = [line for line in messages(server, "late") if line.startswith("REPORT")]
    used = [int(line.partition("Max Memory Used: ")[2].split()[0]) for line in reports]
    assert all(after <= cut for cut, after in zip(used[1::2], used[2::2], strict=True)), used  # 2 MB left of it would come on top
    assert [f"Billed Duration: {HANG_S}000 ms" in line for line in reports] == [False, True, False, True, False]


# --- change, and violence


def test_new_code_is_what_runs(client: Any) -> None:
    create_function_slowly(client, "changing", "def lambda_handler(event, context):\n    return 'old'\n")
    assert invoke(client, "changing") == "old"
    archive = zip_of({"lambda_function.py": "def lambda_handler(event, context):\n    return 'new'\n"})
    client.update_function_code(FunctionName="changing", ZipFile=archive)
    settle(client, "changing")
    assert invoke(client, "changing") == "new"


def test_a_machine_that_is_killed_is_replaced(server: Server, client: Any, look: str) -> None:
    before = invoke(client, look)
    for row in rows(server, function=look):
        (jail,) = [each for each in rig.jails(server) if each.parent.name == row["id"]]
        os.kill(rig.machine_pid(jail), signal.SIGKILL)
    wait_for(lambda: not rows(server, function=look), rig.SLOW_S)
    assert invoke(client, look)["host"] != before["host"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A custom runtime, static and small."""
    path = tmp_path_factory.mktemp("program") / "bootstrap"
    source = Path(__file__).with_name("bootstrap.c")
    done = subprocess.run(["cc", "-D_GNU_SOURCE", "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", path, source])
    if done.returncode:
        pytest.skip("needs a C compiler with a static libc: for a custom runtime that is small")
    return path.read_bytes()


@thorough
def test_a_custom_runtime_speaks_http_over_the_relay(server: Server, client: Any, program: bytes) -> None:
    create_function_slowly(client, "custom", {"bootstrap": program}, Runtime="provided.al2023", Handler="none")
    for number in range(3):
        assert invoke(client, "custom", {"number": number}) == {"number": number}
    said = messages(server, "custom")
    assert any(line.startswith('custom {"number": 2}') for line in said)
    peaks = [int(line.partition("Max Memory Used: ")[2].split()[0]) for line in said if line.startswith("REPORT")]
    assert all(peak > 0 for peak in peaks)


@thorough
def test_a_container_image_is_a_machine_too(server: Server, client: Any, program: bytes) -> None:
    made = Image([layer([folder("bin"), file("bin/runtime", program, 0o755)])], {"Entrypoint": ["/bin/runtime"], "Cmd": ["app"]})
    write_layout(server.data_dir / "layout", {"live": made})
    uri = f"oci:{server.data_dir}/layout:live"
    client.create_function(FunctionName="image", PackageType="Image", Code={"ImageUri": uri}, Role=ROLE, Timeout=300, MemorySize=MEMORY_MB)
    assert settle(client, "image")["State"] == "Active"
    for number in range(2):
        assert invoke(client, "image", {"number": number}) == {"number": number}
    assert any(line.startswith('custom {"number": 1}') for line in messages(server, "image"))


# --- network


@thorough
def test_the_network_is_open_where_it_is_said_and_closed_elsewhere(server: Server, client: Any, look: str) -> None:
    if "no outbound network" in server.ready_line:
        pytest.skip(f"this host has no way out: {server.ready_line}")
    subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
    try:
        import socket

        with socket.create_server((ADDRESS, 0)) as listener:
            port = listener.getsockname()[1]
            assert see(client, f"socket.create_connection(({ADDRESS!r}, {port}), 90).getpeername()") == repr((ADDRESS, port))
        inside = invoke(client, look)["host"]
        gateway = ".".join([*inside.split(".")[:3], str(int(inside.split(".")[3]) - 1)])
        for closed in (gateway, "169.254.169.254", "10.0.0.1"):
            said = see(client, f"socket.create_connection(({closed!r}, {server.port}), 2)")
            assert said.startswith(("TimeoutError", "OSError", "ConnectionRefusedError")), (closed, said)
    finally:
        subprocess.run(["ip", "address", "del", f"{ADDRESS}/32", "dev", "lo"], check=True)


@thorough
def test_the_aws_endpoint_is_reached_over_the_relay(client: Any, look: str) -> None:
    asking = (
        "__import__('urllib.request').request.urlopen(os.environ['AWS_ENDPOINT_URL_LAMBDA'] + '/2015-03-31/functions/', timeout=250).status"
    )
    assert see(client, asking).startswith("HTTPError: HTTP Error 403")  # unsigned


# --- SnapStart

SNAP = """
import os, random, urllib.request, uuid
from snapshot_restore_py import register_after_restore, register_before_snapshot

STATE = {"init": str(uuid.uuid4()), "hooks": []}
open("/tmp/kept", "w").write(STATE["init"])
register_before_snapshot(lambda: STATE["hooks"].append("first registered"))
register_before_snapshot(lambda: STATE["hooks"].append("last registered"))

@register_after_restore
def after():
    STATE["hooks"].append("after")
    if os.environ.get("FAIL") == "after":
        raise ValueError("no good")

def lambda_handler(event, context):
    request = urllib.request.Request(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
    request.add_header("Authorization", os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
    credentials = urllib.request.urlopen(request, timeout=250).read().decode() if event.get("credentials") else ""
    names = ["AWS_ACCESS_KEY_ID", "AWS_LAMBDA_LOG_STREAM_NAME"]
    return {
        **STATE, "random": random.random(), "kind": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], "kept": open("/tmp/kept").read(),
        "credentials": credentials, "absent": [name for name in names if name not in os.environ],
    }
"""


@thorough
def test_snapstart_restores_what_was_initialised(server: Server, client: Any) -> None:
    create_function_slowly(client, "snap", SNAP, SnapStart={"ApplyOn": "PublishedVersions"})
    assert client.publish_version(FunctionName="snap")["State"] == "Pending"
    with pytest.raises(ClientError, match="SnapStartNotReady"):
        client.invoke(FunctionName="snap", Qualifier="1")
    now = settle(client, "snap", "1")
    assert (now["State"], now["SnapStart"]["OptimizationStatus"]) == ("Active", "On"), now
    first = invoke(client, "snap", {"credentials": True}, Qualifier="1")
    assert first["hooks"] == ["last registered", "first registered", "after"]
    assert (first["kind"], first["kept"], first["absent"]) == (
        "snap-start",
        first["init"],
        ["AWS_ACCESS_KEY_ID", "AWS_LAMBDA_LOG_STREAM_NAME"],
    )
    assert json.loads(first["credentials"])["AccessKeyId"].startswith("ASIA")
    kill_machines(server, function="snap", version="1")
    second = invoke(client, "snap", Qualifier="1")
    assert second["init"] == first["init"] and second["random"] != first["random"]
    said = messages(server, "snap")
    assert any(line.startswith("RESTORE_START Runtime Version: python:3.13") for line in said)
    assert any(line.startswith("REPORT") and "Restore Duration: " in line and "Billed Restore Duration: " in line for line in said)
    assert any(line.startswith("INIT_REPORT Init Duration: ") for line in said)


@thorough
def test_a_hook_that_fails_after_the_restore_is_told(server: Server, client: Any) -> None:
    options = {"SnapStart": {"ApplyOn": "PublishedVersions"}, "Environment": {"Variables": {"FAIL": "after"}}}
    create_function_slowly(client, "snapfail", SNAP, **options)
    client.publish_version(FunctionName="snapfail")
    assert settle(client, "snapfail", "1")["State"] == "Active"
    with pytest.raises(ClientError, match="SnapStartException"):
        client.invoke(FunctionName="snapfail", Qualifier="1")
    assert any("RESTORE_REPORT" in line and "Runtime.AfterRestoreError" in line for line in messages(server, "snapfail"))


# --- rest


@thorough
def test_what_rests_on_disk_goes_on_where_it_was() -> None:
    code = """
import os, time
SEEN = []

def lambda_handler(event, context):
    SEEN.append(event["number"])
    open("/tmp/seen", "a").write(f"{event['number']} ")
    return {"seen": SEEN, "tmp": open("/tmp/seen").read(), "stream": context.log_stream_name, "time": time.time()}
"""
    with Server(*rig.options(), "--pool-size", "0", "--hibernate-after-s", "1") as server:
        client = server.client("lambda", config=_patient())
        create_function_slowly(client, "rests", code)
        first = invoke(client, "rests", {"number": 1})
        for number in (2, 3):
            wait_for(lambda: rows(server, function="rests", state="hibernated") and not rig.jails(server), rig.SLOW_S)
            again = invoke(client, "rests", {"number": number})
            assert again["seen"] == list(range(1, number + 1)) and again["stream"] == first["stream"]
            assert again["tmp"].split() == [str(each) for each in again["seen"]]
            assert abs(again["time"] - time.time()) < 30
        reports = [line for line in messages(server, "rests") if line.startswith("REPORT")]
        assert sum("Init Duration" in line for line in reports) == 1


# --- the end


@thorough
def test_nothing_is_left_after_a_crash_and_a_restart(server: Server, client: Any, look: str) -> None:
    invoke(client, look)
    server.crash()
    server.start()
    again = server.client("lambda", config=_patient())
    assert invoke(again, look)["uuid4"]
    server.stop()
    assert leftovers.of_run(server.data_dir / "run") == []
    server.start()
