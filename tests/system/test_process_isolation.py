"""`hanabi up --isolation process` as an ordinary user: it runs functions, and says what that is worth."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import IMAGES, Server, create_function, zip_of
from tests.system.test_extensions import RECORDER, Log

UID = 4343
CODE = """
import os, sys
import boto3

def lambda_handler(event, context):
    if event.get("exit"):
        os._exit(3)
    client = boto3.client("sts")
    return [os.getuid(), sys.version_info[:2], os.path.basename(context.log_group_name), client.get_caller_identity()["Account"]]
"""
STREAM = """
import time

def lambda_handler(event, context):
    yield "one"
    time.sleep(0.2)
    yield "two"
"""


def skip_if_closed() -> None:
    """Skip a test whose ordinary user cannot read this checkout: it lies below a directory that bars others, as mktemp makes them."""
    root = Path(__file__).resolve().parents[2]
    if closed := [str(each) for each in (root, *root.parents) if not each.stat().st_mode & 0o001]:
        pytest.skip(f"an ordinary user cannot read this checkout: chmod o+x {' '.join(closed)}")


def interpreter() -> str:
    """A Python of the version of this one that an ordinary user may run."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = shutil.which(name, path="/usr/local/bin:/usr/bin")
    if os.geteuid() != 0 or found is None:
        pytest.skip(f"needs root, to become an ordinary user, and a {name} that this user can run")
    if not (IMAGES / "roots").is_dir():
        pytest.skip("needs the runtime roots: `make roots`")
    skip_if_closed()
    return found


class OrdinaryServer(Server):
    """Like `Server`, but its processes are an ordinary user's."""

    images = IMAGES

    def start(self) -> "OrdinaryServer":
        os.chown(self.data_dir, UID, UID)
        self.wrapped = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", interpreter()]
        self.environment = {
            "HOME": str(self.data_dir),
            "PATH": "/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), sysconfig.get_path("purelib")]),
        }
        command = [*self.wrapped, "-m", "hanabi", "up", "--isolation", "process", "--roles", "any", "--port", str(self.port)]
        command += ["--data-dir", str(self.data_dir / "data"), "--images-dir", str(self.images)]
        self.log = (self.data_dir / "server.log").open("a+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=self.environment, cwd="/")
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        if not self.ready_line.startswith("hanabi ready"):
            self.process.wait(60)
            self._release()
            raise RuntimeError(f"hanabi did not start:\n{(self.data_dir / 'server.log').read_text()[-4000:]}")
        return self

    @property
    def env(self) -> dict[str, str]:
        command = [*self.wrapped, "-m", "hanabi", "env", "--port", str(self.port), "--data-dir", str(self.data_dir / "data")]
        said = subprocess.run(command, capture_output=True, text=True, env=self.environment, cwd="/", timeout=60, check=True).stdout
        lines = [line.removeprefix("export ").replace("'", "") for line in said.splitlines() if line.startswith("export ")]
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    interpreter()
    with OrdinaryServer() as server:
        yield server


def test_a_function_runs_and_boto3_inside_reaches_hanabi(server: Server) -> None:
    client = server.client("lambda")
    name = create_function(client, "ordinary", CODE, Runtime=f"python{sys.version_info.major}.{sys.version_info.minor}")
    for _ in range(2):
        answer = client.invoke(FunctionName=name, Payload=b"{}")
        payload = json.loads(answer["Payload"].read())
        assert payload == [UID, list(sys.version_info[:2]), name, "000000000000"]
    crashed = client.invoke(FunctionName=name, Payload=b'{"exit": 1}')
    assert "exit status 3" in json.loads(crashed["Payload"].read())["errorMessage"]
    assert "FunctionError" not in client.invoke(FunctionName=name, Payload=b"{}")


def test_extensions_of_layers(server: Server) -> None:
    client = server.client("lambda")
    content = zip_of({"extensions/recorder": RECORDER.read_text()}, executable=["extensions/recorder"])
    arn = client.publish_layer_version(LayerName="recorder", Content={"ZipFile": content})["LayerVersionArn"]
    runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
    name = create_function(client, "extended", CODE, Runtime=runtime, Layers=[arn])
    client.invoke(FunctionName=name, Payload=b"{}")
    client.invoke(FunctionName=name, Payload=b'{"exit": 1}')
    log = Log(server.client("logs"), name)
    assert [event["eventType"] for event in log.wait_for(4)] == ["REGISTERED", "INVOKE", "INVOKE", "SHUTDOWN"]


def test_layers_are_found(server: Server) -> None:
    client = server.client("lambda")
    layers = [
        client.publish_layer_version(LayerName=name, Content={"ZipFile": zip_of({f"python/{name}.py": f"VALUE = '{name}'"})})
        for name in ("one", "two")
    ]
    code = "import one, two\ndef lambda_handler(event, context): return [one.VALUE, two.VALUE]"
    options = {
        "Runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "Layers": [each["LayerVersionArn"] for each in layers],
    }
    answer = client.invoke(FunctionName=create_function(client, "ordinary-layers", code, **options))
    assert json.loads(answer["Payload"].read()) == ["one", "two"]


def test_it_says_what_it_does_not_protect(server: Server) -> None:
    assert "process: no isolation" in server.ready_line


def test_a_function_streams(server: Server) -> None:
    client = server.client("lambda")
    runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
    name = create_function(client, "ordinary-stream", STREAM, Runtime=runtime)
    events = list(client.invoke_with_response_stream(FunctionName=name)["EventStream"])
    assert [event["PayloadChunk"]["Payload"] for event in events[:-1]] == [b"one", b"two"] and events[-1] == {"InvokeComplete": {}}


def test_nothing_is_left(server: Server) -> None:
    assert server.stop() == 0
    assert not (server.data_dir / "data" / "run").exists()
    assert subprocess.run(["pgrep", "-U", str(UID)], capture_output=True).stdout == b""


def test_root_is_refused() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, which is refused")
    with tempfile.TemporaryDirectory(prefix="hanabi-", dir="/var/tmp") as directory:
        server = Server("--isolation", "process", data_dir=Path(directory))
        with pytest.raises(RuntimeError, match="would run functions as root: be an ordinary user, or use --isolation oci"):
            server.start()
