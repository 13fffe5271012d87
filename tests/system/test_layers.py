"""Layers in real containers: what functions find at /opt, in which order, and for how long."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.server import Server, create_function, zip_of

OWN_START = {"LD_BIND_NOW": "1"}  # a variable of the start: the function gets no environment that was started ahead

LOOK = """
import ctypes, importlib, json, os, shutil, subprocess

def lambda_handler(event, context):
    found = {name: importlib.import_module(name).VALUE for name in event.get("modules", ())}
    for name in event.get("libraries", ()):
        found[name] = ctypes.CDLL(name).answer()
    for name in event.get("programs", ()):
        found[name] = subprocess.run([name], capture_output=True, text=True).stdout
    for path in event.get("paths", ()):
        found[path] = os.readlink(path) if os.path.islink(path) else oct(os.stat(path).st_mode)
    if "write" in event:
        try:
            open(event["write"], "w")
        except OSError as error:
            found["write"] = error.strerror
    return found
"""


def publish(client: Any, name: str, content: bytes) -> str:
    arn: str = client.publish_layer_version(LayerName=name, Content={"ZipFile": content})["LayerVersionArn"]
    return arn


def call(client: Any, name: str, event: Any = None) -> Any:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode())
    payload = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, payload
    return payload


def shared_object(directory: Path) -> bytes:
    """A library with a function `answer`."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler: the layer has a library")
    source = directory / "answer.c"
    source.write_text("int answer(void) { return 42; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-nostdlib", "-o", directory / "libanswer.so", source], check=True)
    return (directory / "libanswer.so").read_bytes()


@pytest.fixture(scope="module")
def layers(lambda_client: Any, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    library = shared_object(tmp_path_factory.mktemp("library"))
    first: dict[str, str | bytes] = {
        "python/first.py": "VALUE = 'first'",
        "python/both.py": "VALUE = 'of the first'",
        "python/lib/python3.11/site-packages/packaged.py": "VALUE = 'packaged'",
        "python/lib/python3.13/site-packages/packaged.py": "VALUE = 'packaged'",
        "python/ours.py": "VALUE = 'of the layer'",
        "bin/tool": "#!/bin/sh\nprintf tool",
        "bin/linked": "tool",
        "lib/libanswer.so": library,
    }
    second = zip_of({"python/both.py": "VALUE = 'of the second'", "python/second.py": "VALUE = 'second'", "plain": "text"})
    first_zip = zip_of(first, executable=["bin/tool"], links=["bin/linked"])
    return [publish(lambda_client, "first", first_zip), publish(lambda_client, "second", second)]


@pytest.mark.parametrize(
    ("runtime", "variables"),
    [("python3.11", {}), ("python3.11", OWN_START), ("python3.13", {})],
    ids=["python3.11", "own-start", "python3.13"],
)
def test_python_finds_what_is_in_layers(lambda_client: Any, layers: list[str], runtime: str, variables: dict[str, str]) -> None:
    name = f"layers-{runtime.replace('.', '')}-{len(variables)}"
    code = {"lambda_function.py": LOOK, "ours.py": "VALUE = 'of the function'"}
    create_function(lambda_client, name, code, Layers=layers, Runtime=runtime, Environment={"Variables": variables})  # type: ignore[arg-type]
    wanted = {
        "modules": ["first", "both", "second", "packaged", "ours"],
        "libraries": ["libanswer.so"],
        "programs": ["tool", "linked"],
        "paths": ["/opt/bin/linked", "/opt/bin/tool", "/opt/plain", "/opt/lib/libanswer.so"],
        "write": "/opt/new",
    }
    assert call(lambda_client, name, wanted) == {
        "first": "first", "both": "of the second", "second": "second", "packaged": "packaged", "ours": "of the function",
        "libanswer.so": 42, "tool": "tool", "linked": "tool",
        "/opt/bin/linked": "tool", "/opt/bin/tool": "0o100755", "/opt/plain": "0o100644", "/opt/lib/libanswer.so": "0o100644",
        "write": "Read-only file system",
    }  # fmt: skip


NODE = """
const both = require("both");
exports.handler = async () => ({ both, packaged: require("packaged"), module: (await import("module-only")).default });
"""


def test_node_finds_what_is_in_layers(lambda_client: Any) -> None:
    layer = publish(
        lambda_client,
        "node",
        zip_of(
            {
                "nodejs/node_modules/both/index.js": "module.exports = 'general'",
                "nodejs/node22/node_modules/both/index.js": "module.exports = 'of version 22'",
                "nodejs/node_modules/packaged/index.js": "module.exports = 'packaged'",
                "nodejs/node_modules/module-only/package.json": '{"type": "module", "exports": "./main.js"}',
                "nodejs/node_modules/module-only/main.js": "export default 'module'",
            }
        ),
    )
    create_function(lambda_client, "layers-node", {"index.js": NODE}, Layers=[layer], Runtime="nodejs22.x", Handler="index.handler")
    assert call(lambda_client, "layers-node") == {"both": "of version 22", "packaged": "packaged", "module": "module"}


BOOTSTRAP = """#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  id=$(curl -sS -D - -o /tmp/event "$api/next" | tr -d '\\r' | sed -n 's/^[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d: //p')
  curl -sS -o /dev/null -d "\\"$(cat "$LAMBDA_TASK_ROOT/word") by the layer\\"" "$api/$id/response"
done
"""


def test_a_layer_may_be_the_runtime(lambda_client: Any) -> None:
    layer = publish(lambda_client, "runtime", zip_of({"bootstrap": BOOTSTRAP}, executable=["bootstrap"]))
    create_function(lambda_client, "layers-runtime", {"word": "run"}, Layers=[layer], Runtime="provided.al2023", Handler="any")
    assert call(lambda_client, "layers-runtime") == "run by the layer"


WRAPPER = """#!/bin/sh
export WRAPPED="by $0"
exec "$@"
"""
WRAPPED = "import os\ndef lambda_handler(event, context): return os.environ['WRAPPED']"


def test_a_layer_may_wrap_the_runtime(lambda_client: Any) -> None:
    layer = publish(lambda_client, "wrapper", zip_of({"otel-handler": WRAPPER}, executable=["otel-handler"]))
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-handler"}
    create_function(lambda_client, "layers-wrapper", WRAPPED, Layers=[layer], Environment={"Variables": variables})
    assert call(lambda_client, "layers-wrapper") == "by /opt/otel-handler"


SNAPPED = "from both import VALUE\n" + LOOK.replace("return found", "return {**found, 'init': VALUE}")


def test_layers_are_there_in_copies_of_a_snapshot(lambda_client: Any, layers: list[str]) -> None:
    """Where the host makes them; else the version starts as any other."""
    options = {"Runtime": "python3.13", "Layers": layers, "SnapStart": {"ApplyOn": "PublishedVersions"}, "Publish": True}
    create_function(lambda_client, "layers-snapped", SNAPPED, **options)
    lambda_client.get_waiter("published_version_active").wait(
        FunctionName="layers-snapped", Qualifier="1", WaiterConfig={"Delay": 0.2, "MaxAttempts": 300}
    )
    wanted = {"modules": ["first", "second"], "libraries": ["libanswer.so"], "programs": ["tool"]}
    found = {"init": "of the second", "first": "first", "second": "second", "libanswer.so": 42, "tool": "tool"}
    assert call(lambda_client, "layers-snapped:1", wanted) == found


VERSION = "import which\ndef lambda_handler(event, context): return which.VALUE"


def test_a_function_keeps_its_layer_until_it_gets_another(lambda_client: Any) -> None:
    old, new = [publish(lambda_client, "which", zip_of({"python/which.py": f"VALUE = {value}"})) for value in (1, 2)]
    create_function(lambda_client, "layers-which", VERSION, Layers=[old], Publish=True)
    assert call(lambda_client, "layers-which") == 1
    lambda_client.delete_layer_version(LayerName="which", VersionNumber=1)
    lambda_client.update_function_configuration(FunctionName="layers-which", Layers=[new])
    lambda_client.get_waiter("function_updated_v2").wait(FunctionName="layers-which", WaiterConfig={"Delay": 0.1, "MaxAttempts": 300})
    assert [call(lambda_client, name) for name in ("layers-which", "layers-which:1")] == [2, 1]


def test_layers_survive_a_restart_a_lost_source_and_a_lost_set(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: the server makes containers with cgroups, network slots and mounts")
    foreign = "arn:aws:lambda:us-east-1:123456789012:layer:foreign:3"
    (tmp_path / f"{foreign}.zip").write_bytes(zip_of({"python/foreign.py": "VALUE = 'foreign'"}))
    with Server("--layer-source", str(tmp_path)) as server:
        client = server.client("lambda")
        assert client.get_layer_version_by_arn(Arn=foreign)["Version"] == 3
        names = ("one", "foreign")
        layers = [publish(client, "one", zip_of({"python/one.py": "VALUE = 'one'"})), foreign]
        create_function(client, "kept", LOOK, Layers=layers)
        wanted = {"modules": list(names)}
        assert call(client, "kept", wanted) == {"one": "one", "foreign": "foreign"}
        server.crash()
        (tmp_path / f"{foreign}.zip").unlink()
        (merged,) = [path for path in (server.data_dir / "layers").iterdir() if len(path.name) == 64]
        merged.rename(tmp_path / "gone")
        server.start()
        client = server.client("lambda")
        assert call(client, "kept", wanted) == {"one": "one", "foreign": "foreign"}
        assert [each["Version"] for each in client.list_layer_versions(LayerName="one")["LayerVersions"]] == [1]
