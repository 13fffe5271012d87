"""Public frameworks on Hanabi, as their users deploy and call them: from a registry, by `hanabi deploy`, through their URLs.

They fetch packages and take minutes, so they run only with HANABI_TEST_APPS=1 (`make test-apps`).
"""

import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import toolchains
from tests.server import IMAGES, Server
from tests.unit.images.layouts import Image, file, layer, layer_of, write_layout
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(os.environ.get("HANABI_TEST_APPS") != "1", reason="fetches packages and takes minutes: HANABI_TEST_APPS=1")

SOURCES = Path(__file__).parent / "sources"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
BYTES = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


@dataclass
class App:
    name: str
    url: str
    times_ms: list[float] = field(default_factory=list)

    def ask(self, path: str = "/", body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str = "") -> Answer:
        parts = urlsplit(self.url)
        assert parts.hostname
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        began = time.monotonic()
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            self.times_ms.append((time.monotonic() - began) * 1000)
            connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if os.geteuid() != 0:
        pytest.skip("needs root: the server makes containers with cgroups, network slots and mounts")
    with Server("--roles", "strict") as started:
        yield started


def deploy(server: Server, folder: Path, name: str, *options: str) -> App:
    printed = server.hanabi("deploy", str(folder), "--name", name, "--memory", "1024", "--timeout", "30", "--url", "--json", *options)
    return App(name, json.loads(printed)["FunctionUrl"])


@pytest.fixture
def app(server: Server, request: pytest.FixtureRequest) -> Iterator[App]:
    made = deploy(server, SOURCES / request.param, request.param)
    yield made
    print(f"{made.name}: first {made.times_ms[0]:.0f} ms, then at best {min(made.times_ms[1:] or [0]):.1f} ms")


def on(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("app", [name], indirect=True)


@on("fastapi")
def test_fastapi(app: App, server: Server) -> None:
    assert app.ask().json == {"hello": "world"}
    assert app.ask("/items/%C3%BC?q=%C3%A4+b%20c").json == {"item_id": "ü", "q": "ä b c"}
    many = app.ask("/multi?a=1&a=2&b=x%26y&e=", headers={"Cookie": "a=1; b=2"}).json
    assert many["items"] == [["a", "1"], ["a", "2"], ["b", "x&y"], ["e", ""]] and many["cookies"] == {"a": "1", "b": "2"}
    assert many["url"] == f"{app.url}multi?a=1&a=2&b=x%26y&e="
    created = app.ask("/items", json.dumps({"name": "ü", "price": 1.5}).encode(), {"content-type": "application/json"})
    assert (created.status, created.json) == (200, {"name": "ü", "price": 1.5})
    assert app.ask("/items", b"{}", {"content-type": "application/json"}).status == 422
    assert len(app.ask("/cookies").all("set-cookie")) == 2
    moved = app.ask("/redirect")
    assert (moved.status, moved.all("location")) == (307, ["/items/5?q=%C3%A4"])
    assert app.ask("/binary").body == bytes(range(256)) * 10
    assert app.ask("/echo", BYTES, {"content-type": "application/octet-stream"}).body == BYTES
    assert (app.ask("/none", method="DELETE").status, app.ask("/teapot").status, app.ask("/boom").status) == (204, 418, 500)
    assert app.ask("/echo", bytes(6_500_000)).status == 413
    wait_for(lambda: "RuntimeError: boom ünï" in server.hanabi("logs", "fastapi"))


@on("flask")
def test_flask(app: App) -> None:
    first = app.ask()
    cookie = first.all("set-cookie")[0].partition(";")[0]
    assert (first.body, app.ask(headers={"Cookie": cookie}).body) == (b"<p>visit 1</p>", b"<p>visit 2</p>")
    assert app.ask("/hello/%C3%BC?a=1&a=2").json["args"] == {"a": ["1", "2"]}
    assert app.ask("/go").all("location") == ["/hello/%C3%BC%20x?q=1"] and len(app.ask("/cookies").all("set-cookie")) == 2
    assert app.ask("/bin").body == b"\x89PNG\r\n\x1a\n" + bytes(range(256)) and app.ask("/err").status == 500
    assert app.ask("/form", b"a=%C3%BC", {"content-type": "application/x-www-form-urlencoded"}).json["form"] == {"a": "ü"}
    assert app.ask("/echo", BYTES, {"content-type": "application/pdf"}).body == BYTES


@on("flask-mangum")
def test_flask_through_mangum(app: App) -> None:
    assert app.ask("/p/a%2Fb/%C3%BC%20x").json == {"p": "a/b/ü x"}
    assert app.ask("/", b"12345", {"content-type": "application/octet-stream"}).json["len"] == 5


@on("express")
def test_express(app: App, server: Server) -> None:
    assert app.ask().body == b"Hello World!"
    assert app.ask("/users/%C3%BC%20%2F?a=1&a=2").json | {"ip": ""} == {
        "id": "ü /", "query": {"a": ["1", "2"]}, "path": "/users/%C3%BC%20%2F", "ip": ""
    }  # fmt: skip
    assert app.ask("/json", json.dumps({"x": "ü"}).encode(), {"content-type": "application/json"}).json == {"got": {"x": "ü"}}
    assert app.ask("/raw", BYTES, {"content-type": "application/octet-stream"}).body == BYTES
    assert len(app.ask("/cookies").all("set-cookie")) == 2 and app.ask("/redirect").all("location") == ["/users/7?x=1"]
    assert app.ask("/bin").body == bytes(range(256)) and app.ask("/err").status == 500
    assert app.ask("/log").body == b"logged"
    wait_for(lambda: server.hanabi("logs", "express").count("INFO\tline ") == 3000)


@on("express-esm")
def test_express_as_a_module(app: App) -> None:
    assert app.ask("/?a=%C3%A4").json["q"] == {"a": "ä"}
    assert app.ask("/p/a%2Fb/%C3%BC").json["rest"] == ["a/b", "ü"]
    assert len(app.ask("/cookies").all("set-cookie")) == 2 and app.ask("/bin").body == bytes(range(256))


@on("koa")
def test_koa(app: App) -> None:
    assert len(app.ask("/?a=1").all("set-cookie")) == 2
    assert app.ask("/h/%C3%BC?q=%C3%A4").json == {"name": "ü", "q": {"q": "ä"}}
    assert app.ask("/b", b"a=%C3%BC&b=2", {"content-type": "application/x-www-form-urlencoded"}).json == {"a": "ü", "b": "2"}


@on("hono")
def test_hono(app: App) -> None:
    said = app.ask("/h/%C3%BC?q=%C3%A4&q=2", headers={"Cookie": "a=1"}).json
    assert (said["name"], said["q"], said["cookie"]) == ("ü", {"q": ["ä", "2"]}, {"a": "1"})
    assert len(app.ask("/cookies").all("set-cookie")) == 2 and app.ask("/bin").body == bytes(range(256))
    assert app.ask("/redirect").all("location") == ["/h/x"]
    assert app.ask("/echo", BYTES, {"content-type": "application/octet-stream"}).body == BYTES


@on("powertools-python")
def test_powertools_for_python(app: App, server: Server) -> None:
    assert app.ask("/todos?a=1").json["q"] == {"a": "1"}
    added = app.ask("/todos", b'{"t": 1}', {"content-type": "application/json"})
    assert (added.status, added.json, len(added.all("set-cookie"))) == (201, {"got": {"t": 1}}, 2)
    assert (app.ask("/todos/0").status, app.ask("/nope").status, app.ask("/err").status) == (404, 404, 502)
    wait_for(lambda: '"ColdStart":[1.0]' in server.hanabi("logs", "powertools-python"))


@on("powertools-parts")
def test_parts_of_powertools_for_python(app: App, server: Server) -> None:
    def ask(path: str, body: Any) -> Any:
        answer = app.ask(path, json.dumps(body).encode(), {"content-type": "application/json"})
        return answer.json if answer.status == 200 else (answer.status, answer.json)

    assert ask("/batch", [1, -2, 3]) == {"batchItemFailures": [{"itemIdentifier": "-2"}]}
    assert [ask("/pay", {"id": each})["number"] for each in (1, 1, 2)] == [1, 1, 2]
    assert ask("/order", {"id": 1, "name": "a"}) == {"id": 1, "name": "a"}
    assert ask("/order", {"id": "x"}) == (422, [["id"], ["name"]])
    wait_for(lambda: '"Records":[3.0]' in server.hanabi("logs", "powertools-parts"))


@on("powertools-typescript")
def test_powertools_for_typescript(app: App, server: Server) -> None:
    assert app.ask("/x").json["path"] == "/x" and app.ask("/err").status == 502
    wait_for(lambda: '"ColdStart":1' in server.hanabi("logs", "powertools-typescript"))


@on("pandas")
def test_pandas(app: App) -> None:
    assert app.ask().json == {"sum": 499_500, "groups": 10, "product": 8_000_000.0}
    assert app.ask("/csv").body == b"a\n0\n1\n"


@on("pillow")
def test_pillow(app: App) -> None:
    drawn = app.ask().body
    assert drawn[:4] == b"\x89PNG" and app.ask("/", drawn, {"content-type": "image/png"}).body[:4] == b"\x89PNG"


@on("async")
def test_asyncio(app: App) -> None:
    assert (app.ask().json, app.ask().json) == ({"sum": 40_425, "lines": 1}, {"sum": 40_425, "lines": 2})


@on("sqlite")
def test_sqlite(app: App) -> None:
    assert [app.ask().json["count"] for _ in range(3)] == [1000, 2000, 3000]


@on("threads")
def test_threads_and_processes(app: App) -> None:
    assert app.ask().json == {"squares": 328_350, "fork": 42, "spawn": 42, "said": "hi\n"}


@on("shell")
def test_a_shell_bootstrap(app: App) -> None:
    assert app.ask().body == b"shell Linux"


def test_go(server: Server, tmp_path: Path) -> None:
    go = shutil.which("go") or pytest.skip("go is not installed")
    shutil.copytree(SOURCES / "go", tmp_path / "go")
    variables = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    build = [go, "build", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", "bootstrap", "."]
    subprocess.run(build, cwd=tmp_path / "go", env=os.environ | variables, check=True, timeout=600)
    app = deploy(server, tmp_path / "go", "go")
    first = app.ask("/%C3%BC?a=1&a=2", "ü".encode())
    assert first.json | {"id": ""} == {"path": "/%C3%BC", "q": {"a": "1,2"}, "len": 4, "b64": True, "id": "", "procs": first.json["procs"]}
    assert len(first.all("set-cookie")) == 2
    for way in ("err", "panic", "exit"):
        assert (app.ask(f"/{way}").status, app.ask().status) == (502, 200), way


def test_rust(server: Server, tmp_path: Path) -> None:
    cargo = shutil.which("cargo") or pytest.skip("cargo is not installed")
    toolchains._needs_old_glibc()
    shutil.copytree(SOURCES / "rust", tmp_path / "rust")
    (tmp_path / "package").mkdir()
    subprocess.run([cargo, "build", "--quiet", "--release"], cwd=tmp_path / "rust", check=True, timeout=900)
    target = Path(os.environ.get("CARGO_TARGET_DIR", tmp_path / "rust/target"))
    shutil.copy2(target / "release/bootstrap", tmp_path / "package/bootstrap")
    app = deploy(server, tmp_path / "package", "rust")
    assert app.ask("/%C3%BC?name=%C3%A4", b"abc").body == "hello ä at /%C3%BC with 3".encode()
    assert (app.ask("/err").status, app.ask("/panic").status, app.ask().status) == (502, 502, 200)


def distribution() -> bytes:
    """A layer of an image: Debian with Python, as an archive."""
    found = [path for path in IMAGES.glob("roots/python3.11-*/root") if path.is_dir()]
    if not found:
        pytest.skip("the root of python3.11 is not built: hanabi images build python3.11")
    base = io.BytesIO()
    with tarfile.open(fileobj=base, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("usr", "bin", "lib", "lib64", "etc"):
            archive.add(found[0] / name, arcname=name)
    return base.getvalue()


def deploy_image(server: Server, name: str, image: Image, layout: Path, **options: Any) -> App:
    write_layout(layout, {"1": image})
    role = server.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    functions = server.client("lambda")
    code = {"ImageUri": f"oci:{layout}:1"}
    functions.create_function(FunctionName=name, PackageType="Image", Code=code, Role=role, Timeout=10, **options)
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.2, "MaxAttempts": 600})
    server.hanabi("url", name)
    return App(name, json.loads(server.hanabi("url", name, "--json"))["FunctionUrl"])


def test_an_image_with_the_runtime_interface_client(server: Server, tmp_path: Path) -> None:
    """A distribution, what pip installs, the function: three layers, as a Dockerfile makes them."""
    client = layer([file(f"function/{name}", data) for name, data in toolchains.python_client().items()])
    code = layer([file("function/app.py", (SOURCES / "image/app.py").read_bytes())])
    settings = {"Entrypoint": ["/usr/bin/python3", "-m", "awslambdaric"], "Cmd": ["app.handler"], "WorkingDir": "/function"}
    app = deploy_image(server, "image", Image([layer_of(distribution()), client, code], settings), tmp_path / "layout")
    assert app.ask("/x").json == {"path": "/x", "cwd": "/function"}


def test_boto3_inside_a_function(server: Server) -> None:
    other = deploy(server, SOURCES / "shell", "called")
    assert other.ask().status == 200
    iam = server.client("iam")
    role = iam.create_role(RoleName="caller", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["lambda:InvokeFunction", "logs:*"], "Resource": "*"}]}
    iam.put_role_policy(RoleName="caller", PolicyName="calls", PolicyDocument=json.dumps(allowed))
    app = deploy(server, SOURCES / "boto3", "calls", "--role", role, "--env", "OTHER=called")
    said = app.ask().json
    assert (said["inner"]["body"], said["read"], said["queued"]) == ("shell Linux", ["hello from inside"], 202)
    denied = deploy(server, SOURCES / "boto3", "calls-in-vain", "--env", "OTHER=called")  # the role that deploy makes may only log
    assert denied.ask().status == 502
    wait_for(lambda: "not authorized to perform: lambda:InvokeFunction" in server.hanabi("logs", "calls-in-vain"))


def test_curl_python_and_node_reach_it(server: Server) -> None:
    app = deploy(server, SOURCES / "threads", "from-everywhere")
    for program, line in {
        "curl": ["curl", "-sf", "--noproxy", "*", app.url],
        "node": ["node", "-e", f"fetch('{app.url}').then(r => r.text()).then(console.log)"],
        "python": [sys.executable, "-c", f"import urllib.request as u; print(u.urlopen('{app.url}').read().decode())"],
    }.items():
        if shutil.which(line[0]) is None:
            print(f"{program} is not here, so it was not tried")
            continue
        assert json.loads(subprocess.run(line, capture_output=True, text=True, timeout=60, check=True).stdout)["fork"] == 42, program
    with urllib.request.urlopen(app.url, timeout=60) as answer:
        assert answer.status == 200
