"""Pulling from registries: a real one, and ones that lie, break off, redirect, and ask for logins."""

import base64
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hanabi.errors import ImageError
from hanabi.images.containers import blobs, paths, pull
from hanabi.images.containers.reference import parse
from hanabi.images.containers.registry_credentials import find_login
from tests.unit.images.layouts import ARCHITECTURE, DOCKER, OCI, Image, Layer, file, index_of, layer, push, put_manifest
from tests.unit.images.registries import PASSWORD, USER, Answer, Liar, docker_registry, liar

MACHINE = os.uname().machine
OTHER = "arm64" if ARCHITECTURE == "amd64" else "amd64"


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration is the test's own."""
    directory = tmp_path / "docker"
    directory.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))
    monkeypatch.setattr(blobs, "PAUSE_S", 0.001)
    return directory


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with docker_registry() as host:
        yield host


@pytest.fixture
def lying() -> Iterator[Liar]:
    with liar() as made:
        yield made


def image(text: str = "hello", **fields: Any) -> Image:
    return Image([layer([file("base", "base")]), layer([file("app", text)])], {"Entrypoint": ["/app"], "Env": ["A=b=c"]}, **fields)


def pull_image(directory: Path, reference: str, plain: tuple[str, ...] = ()) -> Path:
    """Resolve and unpack; the root."""
    resolved = pull.resolve(reference, list(plain), MACHINE)
    puller = pull.Puller(directory, resolved["image"], list(plain), MACHINE, lambda line: None)
    puller.pull()
    return paths.container_path(directory, resolved["digest"]) / "root"


def refused(kind: str, call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(ImageError) as caught:
        call(*arguments)
    assert caught.value.kind == kind, caught.value
    return str(caught.value)


# --- a real registry ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("types", [OCI, DOCKER], ids=["oci", "docker"])
def test_by_tag_and_by_digest(registry: str, tmp_path: Path, types: dict[str, str]) -> None:
    made = image(f"of {types['config']}", types=types)
    push(f"http://{registry}", "team/app", "1.0", made)
    resolved = pull.resolve(f"{registry}/team/app:1.0", [], MACHINE)
    assert resolved == {"image": f"{registry}/team/app@{made.digest}", "digest": made.hex}
    root = pull_image(tmp_path / "images", f"docker://{registry}/team/app:1.0")
    assert (root / "app").read_text() == f"of {types['config']}" and (root / "base").read_text() == "base"
    about = paths.about_of(root.parent)
    assert about["entry_point"] == ["/app"] and about["environment"] == {"A": "b=c"} and about["working_directory"] == "/"
    assert pull_image(tmp_path / "images", resolved["image"]) == root
    assert "does not exist" not in refused("missing", pull.resolve, f"{registry}/team/app:2.0", [], MACHINE)
    refused("missing", pull.resolve, f"{registry}/nobody/app:1.0", [], MACHINE)
    refused("missing", pull.resolve, f"{registry}/team/app@sha256:{'0' * 64}", [], MACHINE)


def test_a_tag_that_moves_is_pinned(registry: str, tmp_path: Path) -> None:
    first, second = image("first"), image("second")
    push(f"http://{registry}", "moving", "latest", first)
    pinned = pull.resolve(f"{registry}/moving", [], MACHINE)["image"]
    push(f"http://{registry}", "moving", "latest", second)
    assert (pull_image(tmp_path, pinned) / "app").read_text() == "first"
    assert (pull_image(tmp_path, f"{registry}/moving") / "app").read_text() == "second"
    base, others = {each.hex_of_blob for each in map(Shared, first.layers)}, {each.hex_of_blob for each in map(Shared, second.layers)}
    assert {path.name for path in (tmp_path / "blobs/sha256").iterdir()} >= base | others


class Shared:
    def __init__(self, made: Layer) -> None:
        import hashlib

        self.hex_of_blob = hashlib.sha256(made.blob).hexdigest()


def test_an_index_gives_this_machines_image(registry: str, tmp_path: Path) -> None:
    ours, theirs = image("ours"), image("theirs", architecture=OTHER)
    for number, each in enumerate((ours, theirs)):
        push(f"http://{registry}", "many", str(number), each)
    put_manifest(f"http://{registry}", "many", "latest", index_of([theirs, ours]), OCI["index"])
    assert pull.resolve(f"{registry}/many", [], MACHINE)["digest"] == ours.hex
    assert (pull_image(tmp_path, f"{registry}/many") / "app").read_text() == "ours"
    put_manifest(f"http://{registry}", "many", "theirs", index_of([theirs]), OCI["index"])
    assert OTHER in refused("unsupported", pull.resolve, f"{registry}/many:theirs", [], MACHINE)
    assert "this machine is" in refused("unsupported", pull_image, tmp_path, f"{registry}/many:1")


def test_logins(tmp_path: Path, no_configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, basic = image(), base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    with docker_registry(login=True) as host:
        push(f"http://{host}", "app", "latest", made, f"Basic {basic}")
        assert "has none for it" in refused("denied", pull.resolve, f"{host}/app", [], MACHINE)
        config = no_configuration / "config.json"
        config.write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(b"tester:wrong").decode()}}}))
        assert "401" in refused("denied", pull.resolve, f"{host}/app", [], MACHINE)
        config.write_text(json.dumps({"auths": {f"https://{host}/v1/": {"auth": basic}}}))
        assert (pull_image(tmp_path / "images", f"{host}/app") / "app").read_text() == "hello"
        helper = no_configuration / "docker-credential-test"
        helper.write_text(f'#!/bin/sh\nread host\n[ "$host" = {host} ] && echo \'{{"Username": "{USER}", "Secret": "{PASSWORD}"}}\'\n')
        helper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{no_configuration}:{os.environ['PATH']}")
        for said in ({"credHelpers": {host: "test"}}, {"credsStore": "test"}):
            config.write_text(json.dumps(said))
            assert pull.resolve(f"{host}/app", [], MACHINE)["digest"] == made.hex


# --- logins ---------------------------------------------------------------------------------------------------------------


def test_the_docker_configuration(no_configuration: Path, tmp_path: Path) -> None:
    config, variables = no_configuration / "config.json", {"DOCKER_CONFIG": str(no_configuration), "PATH": str(tmp_path)}
    assert find_login("r.example", variables) is None
    hub = {"https://index.docker.io/v1/": {"auth": base64.b64encode(b"me:pass:word").decode()}}
    config.write_text(json.dumps({"auths": {**hub, "t.example": {"identitytoken": "token"}, "e.example": {}}}))
    login = find_login("docker.io", variables)
    assert login is not None and (login.user, login.secret) == ("me", "pass:word") and "pass" not in repr(login)
    token = find_login("t.example", variables)
    assert token is not None and token.is_token and find_login("e.example", variables) is None
    for said, message in (
        ("{", "cannot be read"),
        ('{"auths": {"r.example": {"auth": "%"}}}', "not base64"),
        ('{"credsStore": "none"}', "docker-credential-none, which the Docker configuration names, is not installed"),
        ('{"credsStore": "../x"}', "names a credential helper"),
    ):
        config.write_text(said)
        assert message in refused("unavailable", find_login, "r.example", variables)


@pytest.mark.parametrize("scheme", ["http://{elsewhere}", "{elsewhere}", "file:///etc/passwd", "http://192.0.2.1", "//", "http://[", ""])
def test_a_token_service_elsewhere(lying: Liar, no_configuration: Path, scheme: str) -> None:
    """A login goes to the service that the registry names, over TLS or on this machine, and the token to the registry alone."""
    with liar() as elsewhere:
        reference = lying.serve(made := image())
        realm = scheme.format(elsewhere=elsewhere.host)
        challenge = f'Bearer realm="{realm}/token",service="tests",scope="repository:app:pull"'

        def wants_token(path: str, headers: Mapping[str, str]) -> Answer | None:
            return None if headers.get("authorization") == "Bearer given" else (401, {"WWW-Authenticate": challenge}, b"")

        lying.handle = wants_token
        elsewhere.answers["/token"] = (200, {}, b'{"token": "given"}')
        auth = base64.b64encode(b"me:word").decode()
        (no_configuration / "config.json").write_text(json.dumps({"auths": {lying.host: {"auth": auth}}}))
        if not scheme.startswith("http://{"):
            with pytest.raises(ImageError):
                pull.resolve(reference, [], MACHINE)
            assert not elsewhere.requests
            return
        assert pull.resolve(reference, [], MACHINE)["digest"] == made.hex
        (_, path, headers) = elsewhere.requests[0]
        assert path == "/token?scope=repository%3Aapp%3Apull&service=tests" and headers["authorization"] == f"Basic {auth}"
        (no_configuration / "config.json").write_text(json.dumps({"auths": {lying.host: {"identitytoken": "refresh"}}}))
        assert pull.resolve(reference, [], MACHINE)["digest"] == made.hex
        method, path, headers = elsewhere.requests[1]
        assert (method, path) == ("POST", "/token") and "grant_type=refresh_token" in headers["body"] and "authorization" not in headers


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"token": 1}', b'{"token": "a\\nb"}', b"[" * 100_000])
def test_a_token_service_that_gives_none(lying: Liar, answer: bytes) -> None:
    lying.answers["/v2/app/manifests/latest"] = (401, {"WWW-Authenticate": f'Bearer realm="http://{lying.host}/token"'}, b"")
    lying.answers["/token"] = (200, {}, answer)
    refused("denied", pull.resolve, f"{lying.host}/app", [], MACHINE)


# --- redirects ------------------------------------------------------------------------------------------------------------


def test_a_redirect_takes_no_login_along(lying: Liar, no_configuration: Path, tmp_path: Path) -> None:
    made = image()
    auth = base64.b64encode(b"me:word").decode()
    (no_configuration / "config.json").write_text(json.dumps({"auths": {lying.host: {"auth": auth}}}))
    with liar() as elsewhere:
        reference = lying.serve(made)
        elsewhere.answers = dict(lying.answers)

        def guarded(path: str, headers: Mapping[str, str]) -> Answer | None:
            if "authorization" not in headers:
                return 401, {"WWW-Authenticate": "Basic realm=tests"}, b""
            return (307, {"Location": f"http://{elsewhere.host}{path}?signed=1"}, b"") if "/blobs/" in path else None

        lying.handle = guarded
        assert (pull_image(tmp_path / "images", reference) / "app").read_text() == "hello"
        assert elsewhere.requests and all("authorization" not in headers for _, _, headers in elsewhere.requests)


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd", "ftp://{host}/x", "data:text/plain,x", "http://192.0.2.1/x", "http://169.254.169.254/latest", "//[", "http://",
        "http://user@{host}/x", "http://{host}:port/x", "gopher://{host}/", "\x00", "http://{host}/a b", "/v2/app/manifests/latest",
    ],
)  # fmt: skip
def test_redirects_that_are_not_followed(lying: Liar, target: str) -> None:
    location = target.format(host=lying.host).encode("latin-1", "replace").decode("latin-1")
    lying.answers["/v2/app/manifests/latest"] = (302, {"Location": location}, b"")
    with pytest.raises(ImageError):
        pull.resolve(f"{lying.host}/app", [], MACHINE)
    assert set(lying.paths()) == {"/v2/app/manifests/latest"}


def test_no_plain_http_but_where_it_was_named() -> None:
    assert "--insecure-registry 192.0.2.1:5000" in refused("denied", _transport().open, "http://192.0.2.1:5000/v2/", {})
    for plain, host, scheme in (
        ((), "r.example", "https"),
        (("r.example",), "r.example:5000", "http"),
        (("r.example:5",), "r.example", "https"),
    ):
        assert _transport(*plain).base(host) == f"{scheme}://{host}"
    for host in ("localhost", "127.0.0.1:5000", "127.1.2.3", "[::1]:80"):
        assert _transport().base(host).startswith("http://")
    for host in ("localhost.example", "128.0.0.1", "10.0.0.1:5000", "x.localhost"):
        assert _transport().base(host).startswith("https://")


def _transport(*plain: str) -> Any:
    from hanabi.images.containers.registry_http import Transport

    return Transport(plain)


# --- lies about content -----------------------------------------------------------------------------------------------------


def test_what_breaks_off_is_gone_on_with(lying: Liar, tmp_path: Path) -> None:
    """The connection ends after some bytes each time; the next request asks for the rest."""
    made = Image([layer([file("big", os.urandom(3_000_000))])])
    reference, big = lying.serve(made), made.layers[0].blob

    def broken(path: str, headers: Mapping[str, str]) -> Answer | None:
        if not path.endswith(pull._digest(big)):
            return None
        start = int(headers.get("range", "bytes=0-")[6:-1])
        status, given = (206, {"Content-Range": f"bytes {start}-{len(big) - 1}/{len(big)}"}) if start else (200, {})
        return status, {"Content-Length": str(len(big) - start)} | given, big[start : start + 1_000_000]

    lying.handle = broken
    assert (pull_image(tmp_path, reference) / "big").stat().st_size == 3_000_000
    ranges = [headers.get("range") for _, path, headers in lying.requests if path.endswith(pull._digest(big))]
    assert ranges == [None, "bytes=1000000-", "bytes=2000000-", "bytes=3000000-"]


def test_a_registry_without_ranges_starts_over(lying: Liar, tmp_path: Path) -> None:
    made = Image([layer([file("big", os.urandom(100_000))])])
    reference, big = lying.serve(made), made.layers[0].blob
    calls: list[str] = []

    def forgetful(path: str, headers: Mapping[str, str]) -> Answer | None:
        if not path.endswith(pull._digest(big)):
            return None
        calls.append(path)
        return 200, {"Content-Length": str(len(big))}, big if len(calls) > 1 else big[:50_000]

    lying.handle = forgetful
    assert (pull_image(tmp_path, reference) / "big").stat().st_size == 100_000 and len(calls) == 2


def test_an_interrupted_pull_is_gone_on_with_by_the_next(lying: Liar, tmp_path: Path) -> None:
    made = Image([layer([file("big", os.urandom(100_000))])])
    reference, big = lying.serve(made), made.layers[0].blob
    name = pull._digest(big)
    lying.handle = lambda path, headers: (503, {}, b"") if path.endswith(name) else None
    assert "503" in refused("unavailable", pull_image, tmp_path, reference)
    (tmp_path / "blobs/incoming" / name.removeprefix("sha256:")).write_bytes(big[:60_000])
    lying.requests.clear()

    def rest(path: str, headers: Mapping[str, str]) -> Answer | None:
        if not path.endswith(name):
            return None
        return 206, {"Content-Range": f"bytes 60000-{len(big) - 1}/{len(big)}"}, big[60_000:]

    lying.handle = rest
    assert (pull_image(tmp_path, reference) / "big").stat().st_size == 100_000
    assert [headers["range"] for _, path, headers in lying.requests if path.endswith(name)] == ["bytes=60000-"]
    assert not list((tmp_path / "blobs/incoming").iterdir())


@pytest.mark.parametrize(
    "lie", ["other bytes", "too long", "too short", "chunks without end", "wrong length", "other part", "damaged before"]
)
def test_blobs_that_are_not_what_they_were_to_be(lying: Liar, tmp_path: Path, lie: str) -> None:
    made = image()
    reference, blob = lying.serve(made), made.layers[1].blob
    name, other = pull._digest(blob), bytes(len(blob))
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    answers: dict[str, Answer] = {
        "other bytes": (200, {}, other),
        "too long": (200, {}, blob + b"x"),
        "too short": (200, {}, blob[:-1]),
        "chunks without end": (200, {"Content-Length": "", "Transfer-Encoding": "chunked"}, chunk * 1000),
        "wrong length": (200, {"Content-Length": str(1 << 40)}, blob),
        "other part": (206, {"Content-Range": f"bytes 5-{len(blob)}/{len(blob)}"}, blob),
        "damaged before": (206, {"Content-Range": f"bytes 10-{len(blob) - 1}/{len(blob)}"}, blob[10:]),
    }
    if lie in ("damaged before", "other part"):
        incoming = tmp_path / "blobs/incoming"
        incoming.mkdir(parents=True)
        (incoming / name.removeprefix("sha256:")).write_bytes(b"0123456789")
    lying.answers[f"/v2/app/blobs/{name}"] = answers[lie]
    refused("invalid", pull_image, tmp_path, reference)
    assert not (tmp_path / "blobs/sha256" / name.removeprefix("sha256:")).exists()
    assert not list((tmp_path / "containers").glob("*-r*")) and not list((tmp_path / "building").iterdir())
    lying.answers[f"/v2/app/blobs/{name}"] = (200, {}, blob)
    assert (pull_image(tmp_path, reference) / "app").read_text() == "hello"


def test_a_manifest_is_what_its_digest_says(lying: Liar) -> None:
    made = image()
    lying.serve(made)
    lying.answers[f"/v2/app/manifests/{made.digest}"] = (200, {}, image("other").manifest)
    refused("invalid", pull.resolve, f"{lying.host}/app@{made.digest}", [], MACHINE)
    lying.answers["/v2/app/manifests/latest"] = (200, {"Content-Type": OCI["index"]}, index_of([made]))
    refused("invalid", pull.resolve, f"{lying.host}/app", [], MACHINE)


def _manifest(**changes: Any) -> bytes:
    return json.dumps(json.loads(image().manifest) | changes).encode()


GOOD = json.loads(image().manifest)


@pytest.mark.parametrize(
    ("manifest", "kind"),
    [
        (b"", "invalid"),
        (b"[]", "invalid"),
        (b"[" * 100_000, "invalid"),
        (b'"manifest"', "invalid"),
        (b"{}", "unsupported"),
        (b"x" * (5 << 20), "invalid"),
        (_manifest(schemaVersion=1), "unsupported"),
        (_manifest(mediaType="application/vnd.docker.distribution.manifest.v1+prettyjws"), "unsupported"),
        (_manifest(config=GOOD["config"] | {"mediaType": "application/vnd.oci.empty.v1+json"}), "unsupported"),
        (_manifest(config=GOOD["config"] | {"size": 1 << 40}), "invalid"),
        (_manifest(config=GOOD["config"] | {"size": -1}), "invalid"),
        (_manifest(config=GOOD["config"] | {"size": True}), "invalid"),
        (_manifest(config=GOOD["config"] | {"digest": "sha256:../../../../etc/passwd"}), "unsupported"),
        (_manifest(config=GOOD["config"] | {"digest": "sha512:" + "0" * 128}), "unsupported"),
        (_manifest(config=None), "invalid"),
        (_manifest(layers={}), "invalid"),
        (_manifest(layers=[GOOD["layers"][0]] * 128), "invalid"),
        (_manifest(layers=[GOOD["layers"][0] | {"size": 6 << 30}] * 2), "invalid"),
        (_manifest(layers=[GOOD["layers"][0] | {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}]), "unsupported"),
        (_manifest(mediaType=OCI["index"], manifests=None), "invalid"),
        (_manifest(mediaType=OCI["index"], manifests=[{"platform": 1}]), "invalid"),
        (_manifest(mediaType=OCI["index"], manifests=[]), "unsupported"),
    ],
)
def test_manifests_that_are_none(lying: Liar, manifest: bytes, kind: str) -> None:
    lying.answers["/v2/app/manifests/latest"] = (200, {}, manifest)
    refused(kind, pull.resolve, f"{lying.host}/app", [], MACHINE)


@pytest.mark.parametrize(
    "config",
    [
        {"os": "windows"}, {"architecture": OTHER}, {"rootfs": {}}, {"rootfs": {"diff_ids": []}}, {"rootfs": {"diff_ids": ["x", "y"]}},
        {"config": {"Env": ["NO_VALUE"]}}, {"config": {"Env": ["=x"]}}, {"config": {"Entrypoint": "sh"}}, {"config": {"Cmd": [1]}},
        {"config": {"Cmd": ["a\0b"]}}, {"config": {"Cmd": ["x" * 20_000]}}, {"config": {"WorkingDir": 1}}, {"config": {"Cmd": ["\ud800"]}},
        {"config": "x"},
    ],
)  # fmt: skip
def test_configurations_that_are_none(lying: Liar, tmp_path: Path, config: dict[str, Any]) -> None:
    made = image()
    raw = json.dumps(json.loads(made.config) | config).encode()
    document = json.loads(made.manifest)
    document["config"] |= {"digest": pull._digest(raw), "size": len(raw)}
    lying.serve(made)
    lying.answers["/v2/app/manifests/latest"] = (200, {}, json.dumps(document).encode())
    lying.answers[f"/v2/app/manifests/{pull._digest(json.dumps(document).encode())}"] = lying.answers["/v2/app/manifests/latest"]
    lying.answers[f"/v2/app/blobs/{pull._digest(raw)}"] = (200, {}, raw)
    with pytest.raises(ImageError) as caught:
        pull_image(tmp_path, f"{lying.host}/app")
    assert caught.value.kind in ("invalid", "unsupported") and not list((tmp_path / "containers").glob("*-r*"))


def test_a_hostile_layer_leaves_nothing(lying: Liar, tmp_path: Path) -> None:
    reference = lying.serve(Image([layer([file("../../../escaped", "x")])]))
    refused("invalid", pull_image, tmp_path / "images", reference)
    assert not list(tmp_path.glob("**/escaped")) and not list((tmp_path / "images/containers").glob("*-r*"))


def test_what_a_registry_says_is_shown_with_care(lying: Liar) -> None:
    said = json.dumps({"errors": [{"code": "DENIED", "message": "no\x1b[31m access" + "!" * 1000}]}).encode()
    lying.answers["/v2/app/manifests/latest"] = (403, {}, said)
    message = refused("denied", pull.resolve, f"{lying.host}/app", [], MACHINE)
    assert "DENIED no[31m access!" in message and "\x1b" not in message and len(message) < 400


def test_nobody_there() -> None:
    from tests.server import free_port

    assert "cannot be reached" in refused("unavailable", pull.resolve, f"127.0.0.1:{free_port()}/app", [], MACHINE)


# --- references -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("r.example/a", "r.example/a:latest"),
        ("r.example:5000/a/b_c/d-e.f:V1.2-x", "r.example:5000/a/b_c/d-e.f:V1.2-x"),
        ("localhost/a", "localhost/a:latest"),
        ("[::1]:5000/a:1", "[::1]:5000/a:1"),
        (f"r.example/a:1@sha256:{'0' * 64}", f"r.example/a@sha256:{'0' * 64}"),
        ("docker://alpine", "docker.io/library/alpine:latest"),
        ("docker://me/app:1", "docker.io/me/app:1"),
        ("docker.io/alpine:3", "docker.io/library/alpine:3"),
        ("000000000000.dkr.ecr.us-east-1.amazonaws.com/app:1", "000000000000.dkr.ecr.us-east-1.amazonaws.com/app:1"),
        ("oci:/srv/x", "oci:/srv/x"),
        ("oci:/srv/x:1", "oci:/srv/x:1"),
        ("oci-archive:/srv/x.tar:a_b", "oci-archive:/srv/x.tar:a_b"),
        (f"oci:/srv/x:1@sha256:{'a' * 64}", f"oci:/srv/x@sha256:{'a' * 64}"),
        ("oci:/srv/with:colon/x", "oci:/srv/with:colon/x"),
    ],
)
def test_references(text: str, normal: str) -> None:
    assert str(parse(text)) == normal
    assert str(parse(normal)) == normal


@pytest.mark.parametrize(
    "text",
    [
        "", "app", "app:1", "team/app", "r.example/", "r.example/A", "r.example/a:", "r.example/a:-x", "r.example/a@sha256:0",
        "r.example/a//b", "r.example/../a", "r.example/a?x=y", "r.example/a#", "user@r.example/a", "r.example:port/a",
        "http://r.example/a", "oci:relative", "oci:", "oci:/x\0y", "docker://", "docker://../x", "-r.example/a", "r.example/a b",
        f"r.example/{'a' * 300}", f"r.example/{'a/' * 5000}", "r.example/a@md5:00", f"r.example/a@sha256:{'A' * 64}",
        "r.example\n/a", "r.example/a\n",
    ],
)  # fmt: skip
def test_what_names_no_image(text: str) -> None:
    refused("malformed", parse, text)


def test_no_user_of_the_host_learns_what_images_there_are(lying: Liar, tmp_path: Path) -> None:
    pull_image(tmp_path, lying.serve(image()))
    assert stat.S_IMODE((tmp_path / "blobs").stat().st_mode) == 0o700
    wanted = {"containers": 0o711, "locks": 0o711, "building": 0o711, "names": 0o700, "containers/refs": 0o700}
    assert {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in wanted} == wanted
