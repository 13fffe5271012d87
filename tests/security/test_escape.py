"""The escape corpus: each attempt runs as function code in a real environment, and each is refused. docs/security.md names these tests."""

import base64
import io
import json
import pathlib
import socket
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.security.hostile import NEAR, PRELUDE, PROTECTED, RAW_SOCKETS, SYSTEM_CALLS, evaluate
from tests.server import ROLE, Server, create_function, zip_of


@pytest.fixture(scope="module")
def attacker(lambda_client: Any) -> str:
    return create_function(lambda_client, "escape-attacker", PRELUDE, MemorySize=512, Timeout=30)


@pytest.fixture(scope="module")
def run(lambda_client: Any, attacker: str) -> Any:
    def run(expression: str, function: str = attacker, **names: Any) -> Any:
        return evaluate(lambda_client, function, expression, **names)

    return run


@pytest.fixture(scope="module")
def host_listener() -> Iterator[int]:
    """A TCP server on all addresses of the host, as a database there would be."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        stop = threading.Event()

        def accept() -> None:
            server.settimeout(0.2)
            while not stop.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        stop.set()
        thread.join()


def test_the_function_is_nobody_on_the_host(run: Any) -> None:
    assert run("[os.getuid(), os.getgid(), os.getgroups()]") == [993, 990, []]
    status = run("open('/proc/self/status').read()")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[name], 16) == 0, name
    assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"


def test_environments_have_uids_of_their_own(run: Any, lambda_client: Any) -> None:
    other = create_function(lambda_client, "escape-neighbour", PRELUDE)
    first, second = run("open('/proc/self/uid_map').read().split()"), run("open('/proc/self/uid_map').read().split()", other)
    assert int(first[1]) >= 100_000 and int(second[1]) >= 100_000
    assert abs(int(first[1]) - int(second[1])) >= int(first[2])


def test_host_files_are_out_of_reach(run: Any, hanabi_server: Server) -> None:
    assert run("os.path.exists(path)", path=str(hanabi_server.data_dir)) is False
    for path in ("/etc/shadow", "/etc/hostname", "/etc/machine-id"):  # the root's own, if it has one
        ours = pathlib.Path(path).read_text() if pathlib.Path(path).exists() else ""
        assert not ours or run("attempt(lambda: open(path).read())", path=path) != ["allowed", repr(ours)[:200]]
    assert run("attempt(lambda: open('/proc/1/root/etc/shadow').read())")[0] != "allowed"
    assert run("os.path.exists('/sys/fs/cgroup') and os.listdir('/sys/fs/cgroup')") in (False, [])
    devices = set(run("os.listdir('/dev')"))
    assert devices <= {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "ptmx", "pts", "core"}


def test_the_root_is_read_only(run: Any) -> None:
    for path in PROTECTED:
        assert run("attempt(lambda: open(path, 'w'))", path=path) in (["OSError", 30], ["PermissionError", 13]), path


def test_processes_of_others_are_invisible(run: Any) -> None:
    pids = [int(pid) for pid in run("[p for p in os.listdir('/proc') if p.isdigit()]")]
    assert len(pids) <= 3
    assert run("attempt(lambda: os.kill(1, 9))")[0] == "PermissionError"


def test_the_agents_descriptors_are_unreadable(run: Any) -> None:
    for path in ("/proc/1/fd", "/proc/1/map_files"):
        assert run("attempt(lambda: os.listdir(path))", path=path)[0] == "PermissionError"
    for path in ("/proc/1/mem", "/proc/1/environ", "/proc/1/fd/3"):
        assert run("attempt(lambda: open(path, 'rb').read(1))", path=path)[0] in ("PermissionError", "FileNotFoundError")


def test_the_control_channel_is_not_inherited(run: Any) -> None:
    sockets = run("[fd for fd in range(256) if attempt(lambda: os.fstat(fd))[0] == 'allowed' and stat.S_ISSOCK(os.fstat(fd).st_mode)]")
    assert sockets == [4]


@pytest.mark.parametrize("name", SYSTEM_CALLS)
def test_system_calls_that_reach_out_are_refused(run: Any, name: str) -> None:
    assert run(SYSTEM_CALLS[name]) in ("EPERM", "ENOSYS", "EACCES"), name


@pytest.mark.parametrize("arguments", RAW_SOCKETS.values(), ids=RAW_SOCKETS)
def test_sockets_beyond_plain_networking_are_refused(run: Any, arguments: str) -> None:
    assert run(f"attempt(lambda: socket.socket({arguments}))")[0] in ("PermissionError", "OSError")


def test_the_host_is_closed(run: Any, host_listener: int, hanabi_server: Server) -> None:
    addresses = {"127.0.0.1"} | set(run("[line.split()[2] for line in open('/proc/net/route').readlines()[1:]]"))
    gateways = {socket.inet_ntoa(struct.pack("<L", int(raw, 16))) for raw in addresses if "." not in raw} - {"0.0.0.0"}
    for address in {"127.0.0.1", *gateways, *host_addresses()}:
        for port in (host_listener, hanabi_server.port):
            assert run("attempt(lambda: connect(host, port))", host=address, port=port)[0] != "allowed", (address, port)


def host_addresses() -> set[str]:
    """The host's own addresses, as its default route would use them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return {probe.getsockname()[0]}
        except OSError:
            return set()


@pytest.mark.parametrize("address", NEAR)
def test_metadata_and_private_networks_are_closed(run: Any, address: str) -> None:
    assert run("attempt(lambda: connect(host, 80))", host=address)[0] != "allowed"


def test_a_neighbour_is_closed(run: Any, lambda_client: Any) -> None:
    listening = """
import socket, threading
server = socket.create_server(("0.0.0.0", 8000))
def serve():
    while True:
        server.accept()[0].close()
threading.Thread(target=serve, daemon=True).start()
def lambda_handler(event, context):
    import fcntl, struct
    found = {}
    for _, name in socket.if_nameindex():
        with socket.socket() as probe:
            try:
                found[name] = socket.inet_ntoa(fcntl.ioctl(probe, 0x8915, struct.pack("256s", name.encode()))[20:24])
            except OSError:
                pass
    return found
"""
    name = create_function(lambda_client, "escape-listening", listening)
    addresses = json.loads(lambda_client.invoke(FunctionName=name)["Payload"].read())
    for interface, address in addresses.items():
        if interface != "lo":
            assert run("attempt(lambda: connect(host, 8000))", host=address)[0] != "allowed"


def test_the_api_wants_the_functions_own_signature(run: Any, hanabi_server: Server) -> None:
    url = run("os.environ['AWS_ENDPOINT_URL_LAMBDA']")
    assert run("unsigned(url + '/2015-03-31/functions')", url=url) == 403
    owner = hanabi_server.env
    code = (
        "attempt(lambda: __import__('boto3').client('lambda', aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=None)"
        ".list_functions())"
    )
    kind = run(code, key=owner["AWS_ACCESS_KEY_ID"], secret=owner["AWS_SECRET_ACCESS_KEY"])[0]
    assert kind in ("ClientError", "UnrecognizedClientException"), kind


def test_boto3_inside_reaches_hanabi_as_its_role(run: Any) -> None:
    arn = run("__import__('boto3').client('sts').get_caller_identity()['Arn']")
    assert arn.startswith("arn:aws:sts::000000000000:assumed-role/test/")


def create(client: Any, name: str, archive: bytes) -> Any:
    return client.create_function(FunctionName=name, Runtime="python3.11", Handler="f.f", Role=ROLE, Code={"ZipFile": archive})


def test_a_zip_that_slips_stays_inside(lambda_client: Any, hanabi_server: Server) -> None:
    for path in ("../../escaped", "/escaped", "a/../../escaped"):
        try:
            create(lambda_client, "escape-slip", zip_of({path: "x", "f.py": "f = 1"}))
            lambda_client.delete_function(FunctionName="escape-slip")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InvalidParameterValueException"
    assert not pathlib.Path("/escaped").exists()
    assert all("task" in found.parts for found in hanabi_server.data_dir.rglob("escaped"))


def test_a_symlink_in_a_zip_reaches_nothing_of_the_host(lambda_client: Any, run: Any) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("out")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/")
        archive.writestr("out/tmp/through-a-link", "x")
        archive.writestr("lambda_function.py", PRELUDE)
    try:
        settings = {"Runtime": "python3.11", "Handler": "lambda_function.lambda_handler", "Role": ROLE}
        lambda_client.create_function(FunctionName="escape-link", Code={"ZipFile": buffer.getvalue()}, **settings)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidParameterValueException"
    assert not pathlib.Path("/tmp/through-a-link").exists()


def test_a_zip_bomb_is_refused(lambda_client: Any) -> None:
    chunk = b"\0" * (1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b"".join(packer.compress(chunk) for _ in range(300)) + packer.flush()
    crc = 0
    for _ in range(300):
        crc = zlib.crc32(chunk, crc)
    for declared in (300 << 20, 10):
        sizes = (crc, len(data), declared, 4, 0)
        local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, *sizes) + b"bomb" + data
        central = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, *sizes, 0, 0, 0, 0o644 << 16, 0) + b"bomb"
        end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)
        with pytest.raises(ClientError) as refused:
            create(lambda_client, "escape-bomb", local + central + end)
        assert refused.value.response["Error"]["Code"] == "InvalidParameterValueException"


def test_hostile_frames_break_only_the_sender(lambda_client: Any, run: Any) -> None:
    code = PRELUDE + "\ndef raw(data):\n    socket.socket(fileno=os.dup(4)).sendall(data)\n"
    name = create_function(lambda_client, "escape-frames", code, Timeout=5)
    for frame in (b"\xff\xff\xff\xff", b"\x01\x00\x00\x00Z", b"\x01\x00\x00\x00r" * 50, base64.b64decode("AAAAAA==") * 10):
        expression = f"raw(bytes.fromhex('{frame.hex()}'))"
        lambda_client.invoke(FunctionName=name, Payload=json.dumps({"run": expression}).encode())["Payload"].read()
    assert run("1 + 1") == 2
