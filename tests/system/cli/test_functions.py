"""The commands that make, change and remove functions, against a running Hanabi."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.server import Server


def command(server: Server, *arguments: str) -> tuple[int, str, str]:
    line = [sys.executable, "-m", "hanabi", "--data-dir", str(server.data_dir), "--port", str(server.port), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
    return done.returncode, done.stdout, done.stderr


def answer(server: Server, name: str, *options: str) -> object:
    return json.loads(server.hanabi("invoke", name, "-p", '{"name": "x"}', *options))


@pytest.mark.parametrize("language", ["python", "node"])
def test_what_init_makes_can_be_deployed_and_called(hanabi_server: Server, tmp_path: Path, language: str) -> None:
    folder = tmp_path / f"init-{language}"
    hanabi_server.hanabi("init", str(folder), "--language", language)
    runtime = ["--runtime", "python3.11"] if language == "python" else []
    assert "; created" in hanabi_server.hanabi("deploy", str(folder), "--timeout", "20", *runtime)
    printed = hanabi_server.hanabi("invoke", f"init-{language}", "-f", str(folder / "event.json"))
    assert json.loads(printed)["message"] == "Hello, hanabi!"
    status, _, errors = command(hanabi_server, "init", str(folder), "--language", language)
    assert status == 2 and "already; nothing was written" in errors


def test_deploy_says_what_changed_and_keeps_what_was_set(hanabi_server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "other.py").write_text("def run(event, context): return 1")
    first = hanabi_server.hanabi(
        "deploy", str(folder), "--runtime", "python3.11", "--handler", "other.run", "--memory", "256", "--env", "AA=1"
    )
    assert first.splitlines()[0] == "kept is ready: python3.11, other.run, 256 MB, 3 s; created"
    assert hanabi_server.hanabi("deploy", str(folder)).splitlines()[0].endswith("256 MB, 3 s; unchanged")
    (folder / "app.py").write_text("def handler(event, context): return 2")
    changed = hanabi_server.hanabi("deploy", str(folder), "--timeout", "7", "--env", "BB=2").splitlines()[0]
    assert changed.endswith("python3.11, other.run, 256 MB, 7 s; updated (code, timeout 3 -> 7, variable BB set, variable AA removed)")
    (folder / "other.py").unlink()
    changed = hanabi_server.hanabi("deploy", str(folder), "--runtime", "python3.11").splitlines()[0]
    assert changed.endswith("updated (code, handler other.run -> app.handler)")
    assert answer(hanabi_server, "kept") == 2
    status, _, errors = command(hanabi_server, "deploy", str(folder), "--handler", "gone.handler")
    assert status == 2 and "there is no gone.py for the handler gone.handler" in errors


def test_versions_aliases_and_the_way_back(hanabi_server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "going-back"
    folder.mkdir()
    for number in (1, 2):
        (folder / "app.py").write_text(f"def handler(event, context): return {number}")
        hanabi_server.hanabi("deploy", str(folder), "--runtime", "python3.11", "--memory", str(128 * number), "--alias", "live")
    versions = json.loads(hanabi_server.hanabi("versions", "going-back", "--json"))
    assert [(each["Version"], each["MemorySize"]) for each in versions] == [("1", 128), ("2", 256)]
    assert hanabi_server.hanabi("versions", "going-back").splitlines()[2].split()[:2] == ["2", "live"]
    assert hanabi_server.hanabi("rollback", "going-back", "--alias", "live") == "alias live of going-back names version 1 (it was 2)\n"
    assert (answer(hanabi_server, "going-back", "--qualifier", "live"), answer(hanabi_server, "going-back")) == (1, 2)
    assert hanabi_server.hanabi("rollback", "going-back") == "going-back is as version 1 was\n"
    assert answer(hanabi_server, "going-back") == 1
    assert hanabi_server.client("lambda").get_function_configuration(FunctionName="going-back")["MemorySize"] == 128
    assert "2 (10%)" in hanabi_server.hanabi("alias", "going-back", "beta", "1", "--also", "2=0.1")
    hanabi_server.hanabi("alias", "going-back", "beta", "--delete")
    assert [each["Name"] for each in json.loads(hanabi_server.hanabi("alias", "going-back", "--json"))] == ["live"]
    for arguments, message in (
        (["rollback", "going-back", "--to", "9"], "it has 1, 2"),
        (["rollback", "going-back", "--alias", "live"], "there is no earlier one"),
        (["alias", "going-back", "beta"], "say which version"),
        (["alias", "going-back", "beta", "1", "--also", "2"], "is not VERSION=SHARE"),
        (["versions", "nobody"], "there is no function nobody; hanabi list shows"),
    ):
        status, _, errors = command(hanabi_server, *arguments)
        assert status in (1, 2) and message in errors, arguments


def test_list_url_and_delete(hanabi_server: Server, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def handler(event, context): return 1")
    hanabi_server.hanabi("deploy", str(tmp_path), "--name", "short-lived", "--runtime", "python3.11")
    row = next(line for line in hanabi_server.hanabi("list").splitlines() if line.startswith("short-lived"))
    assert row.split()[1:8] == ["python3.11", "app.handler", "128", "MB", "3", "s", "Active"]
    url, name = hanabi_server.hanabi("url", "short-lived").splitlines()
    assert url.startswith("http://127.") and hanabi_server.hanabi("url", "short-lived").splitlines()[0] == url
    assert name.startswith("in browsers and curl also http://") and f".lambda-url.localhost:{hanabi_server.port}/" in name
    assert "signed requests only" in hanabi_server.hanabi("url", "short-lived", "--auth", "AWS_IAM")
    hanabi_server.hanabi("url", "short-lived", "--delete")
    assert "has no such URL" in command(hanabi_server, "url", "short-lived", "--delete")[2]
    assert hanabi_server.hanabi("delete", "short-lived") == "deleted short-lived\n"
    assert "there is no function short-lived" in command(hanabi_server, "delete", "short-lived")[2]
    assert "short-lived" not in [each["FunctionName"] for each in json.loads(hanabi_server.hanabi("list", "--json"))]


def test_dependencies_are_installed_for_the_runtime(hanabi_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel with compiled parts, for another Python than this one, and a package of npm's; from the registries that are set up here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    python = tmp_path / "with-wheels"
    python.mkdir()
    (python / "requirements.txt").write_text("markupsafe==3.0.2\n")
    (python / "app.py").write_text(
        "import markupsafe, markupsafe._speedups\ndef handler(event, context): return str(markupsafe.escape('<' + event['name']))"
    )
    hanabi_server.hanabi("deploy", str(python), "--runtime", "python3.13", "--timeout", "20")
    assert answer(hanabi_server, "with-wheels") == "&lt;x"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("METADATA")}
    assert before and hanabi_server.hanabi("deploy", str(python)).splitlines()[0].endswith("unchanged")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("METADATA")} == before
    node = tmp_path / "with-npm"
    node.mkdir()
    (node / "package.json").write_text('{"type": "module", "dependencies": {"ms": "2.1.3"}, "devDependencies": {"typescript": "*"}}')
    (node / "index.mjs").write_text("import ms from 'ms';\nexport const handler = async () => ms('2 days');")
    hanabi_server.hanabi("deploy", str(node), "--timeout", "20")
    assert answer(hanabi_server, "with-npm") == 172_800_000
    (python / "requirements.txt").write_text("no-such-package-of-hanabis==9.9\n")
    status, _, errors = command(hanabi_server, "deploy", str(python))
    assert status == 1 and "could not install the dependencies" in errors and "no-such-package-of-hanabis" in errors


def test_a_url_works_in_every_program(hanabi_server: Server, tmp_path: Path) -> None:
    """With no name to be looked up. The decoded path is what AWS was recorded to give."""
    (tmp_path / "app.py").write_text("def handler(event, context): return event['rawPath'] + ' ' + event['requestContext']['http']['path']")
    deployed = json.loads(
        hanabi_server.hanabi("deploy", str(tmp_path), "--name", "everywhere", "--runtime", "python3.11", "--url", "--json")
    )
    url = deployed["FunctionUrl"] + "pa2%25Fth/1"
    programs = {
        "python": [sys.executable, "-c", f"import urllib.request as u; print(u.urlopen('{url}').read().decode())"],
        "curl": ["curl", "-s", "--noproxy", "*", url],
        "node": ["node", "-e", f"fetch('{url}').then(r => r.text()).then(console.log)"],
    }
    for name, line in programs.items():
        if shutil.which(line[0]) is None:
            print(f"{name} is not here, so it was not tried")
            continue
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == "/pa2%25Fth/1 /pa2%Fth/1", (name, done)
    hanabi_server.hanabi("url", "everywhere", "--delete")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(urlsplit(url).hostname), hanabi_server.port), timeout=5)
