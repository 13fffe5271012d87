"""Layers of others, unmodified from the registries: the Web Adapter in front of frameworks, and OpenTelemetry's agent with a collector."""

import http.client
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import toolchains
from tests.server import Server, zip_of
from tests.system.apps.test_apps import BYTES, SOURCES, deploy, deploy_image, distribution, pytestmark, server
from tests.system.test_runtimes import call
from tests.system.test_web_adapter import BOOTSTRAP, SERVER
from tests.unit.images.layouts import Image, file, layer, layer_of
from tests.waiting import wait_for

__all__ = ["pytestmark", "server"]

PROGRAMS = ("bootstrap", "otel-instrument", "extensions/lambda-adapter", "extensions/collector")


def publish(server: Server, name: str, files: dict[str, str | bytes]) -> str:
    content = {"ZipFile": zip_of(files, executable=PROGRAMS)}
    return str(server.client("lambda").publish_layer_version(LayerName=name, Content=content)["LayerVersionArn"])


@pytest.fixture(scope="module")
def adapter(server: Server) -> str:
    files: dict[str, str | bytes] = {"extensions/lambda-adapter": toolchains.web_adapter().read_bytes(), "bootstrap": BOOTSTRAP}
    return publish(server, "adapter", files)


@pytest.mark.parametrize(("name", "runtime"), [("adapter-fastapi", "python3.11"), ("adapter-express", "nodejs22.x")])
def test_the_web_adapter_in_front_of(server: Server, adapter: str, name: str, runtime: str) -> None:
    wrapper = ("--env", "AWS_LAMBDA_EXEC_WRAPPER=/opt/bootstrap", "--env", "PORT=8000", "--env", "AWS_LWA_PORT=8000")
    options = ("--runtime", runtime, "--handler", "run.sh", "--layer", adapter, *wrapper, "--env", "AWS_LWA_INVOKE_MODE=response_stream")
    app = deploy(server, SOURCES / name, name, *options)
    server.client("lambda").update_function_url_config(FunctionName=name, InvokeMode="RESPONSE_STREAM")
    assert app.ask().json == {"hello": "world"}
    assert app.ask("/items/%C3%BC?q=%C3%A4+b%20c").json == {"item_id": "ü", "q": "ä b c"}
    assert app.ask("/echo", BYTES, {"content-type": "application/octet-stream"}).body == BYTES
    assert app.ask("/nothing").status == 404
    parts = urlsplit(app.url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        connection.request("GET", "/stream")
        answer = connection.getresponse()
        assert answer.readline() == b"line 0\n"
        began = time.monotonic()
        assert answer.read() == b"line 1\nline 2\nline 3\n" and time.monotonic() - began > 0.5  # it was still to come
    finally:
        connection.close()
    print(f"{name}: first {app.times_ms[0]:.0f} ms, then at best {min(app.times_ms[1:]):.1f} ms")


def test_an_image_with_the_web_adapter_in_it(server: Server, tmp_path: Path) -> None:
    """As the adapter's documentation has it: one line of a Dockerfile copies it to /opt/extensions, the command is the server."""
    adapter = layer([file("opt/extensions/lambda-adapter", toolchains.web_adapter().read_bytes(), mode=0o755)])
    code = layer([file("app/server.py", SERVER.encode())])
    variables = ["PATH=/usr/local/bin:/usr/bin:/bin", "PORT=8000", "AWS_LWA_PORT=8000"]
    settings = {"Cmd": ["python3", "server.py"], "WorkingDir": "/app", "Env": variables}
    image = Image([layer_of(distribution()), adapter, code], settings)
    app = deploy_image(server, "adapter-image", image, tmp_path / "layout", MemorySize=1024)
    answers = [app.ask(f"/things/%C3%BC?n={number}", b"body").json for number in range(3)]
    assert [answer["path"] for answer in answers] == [f"/things/%C3%BC?n={number}" for number in range(3)]
    assert {answer["body"] for answer in answers} == {"body"} and len({answer["pid"] for answer in answers}) == 1


def test_opentelemetrys_agent_and_a_collector(server: Server, tmp_path: Path) -> None:
    """The wrapper starts the agent, which starts the runtime; spans go to an extension, at the end of each invocation."""
    folder = tmp_path / "layer"
    shutil.copytree(SOURCES / "otel-layer", folder)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--python-version", "3.11"]
    wanted = ["--only-binary=:all:", "--target", str(folder / "python"), "-r", str(folder / "requirements.txt")]
    subprocess.run([*pip, *wanted], check=True, timeout=300)
    script = folder / "python/bin/opentelemetry-instrument"
    script.write_text("#!/var/lang/bin/python3\n" + script.read_text().partition("\n")[2])
    files: dict[str, str | bytes] = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    arn = publish(server, "otel", files)
    wrapper = ("--env", "AWS_LAMBDA_EXEC_WRAPPER=/opt/otel-instrument")
    deploy(server, SOURCES / "otel", "otel", "--runtime", "python3.11", "--handler", "app.handler", "--layer", arn, *wrapper)
    client: Any = server.client("lambda")
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"  # the agent sends only what is sampled
    client.meta.events.register("before-sign.lambda.Invoke", lambda request, **_: request.headers.add_header("X-Amzn-Trace-Id", trace))
    for number in range(3):
        answer, response, _ = call(client, "otel", {"n": number})
        assert "FunctionError" not in response, answer
        assert answer["header"].startswith(f"{trace};Lineage=")
        assert answer["trace"] == "5759e988bd862e3fe1be46a994272793"  # the agent goes on with the caller's
        assert answer["handler"] == "otel_wrapper.lambda_handler"
    wait_for(lambda: server.hanabi("logs", "otel").count("collector: spans /v1/traces") == 3)
    assert server.hanabi("logs", "otel").count("True") == 3  # the span of the function itself is in each
