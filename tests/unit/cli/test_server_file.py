"""Where commands find the server: `server.json`, and whether the one that answers takes the key."""

import argparse
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from hanabi.base.key_file import fingerprint
from hanabi.cli import main
from hanabi.cli.server import port_of
from hanabi.cli.server_file import NAME, announced, running_port
from hanabi.node.config import DEFAULT_PORT
from tests.server import free_port


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HANABI_PORT", raising=False)
    keys = {"access_key": "AKIAEXAMPLE", "secret_key": "secret", "region": "eu-west-1", "account": "000000000000"}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    return tmp_path


class Answers(HTTPServer):
    """Answers every GET with the same."""

    def __init__(self, status: int, body: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def server_close(self) -> None:
        self.shutdown()
        self.thread.join(10)
        super().server_close()


@pytest.fixture
def answering() -> Iterator[list[Answers]]:
    servers: list[Answers] = []
    yield servers
    for server in servers:
        server.server_close()


def port(data_dir: Path, given: str | None = None) -> int:
    return port_of(argparse.Namespace(data_dir=str(data_dir), port=given))


def test_the_port_is_that_of_the_server_that_runs(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert port(data_dir) == DEFAULT_PORT
    with announced(data_dir) as announcement:
        assert port(data_dir) == DEFAULT_PORT  # it does not serve yet
        announcement.write(1234)
        assert port(data_dir) == 1234
        assert (data_dir / NAME).stat().st_mode & 0o777 == 0o644  # for the user behind sudo
        assert port(data_dir, "77") == 77
        monkeypatch.setenv("HANABI_PORT", "78")
        assert port(data_dir) == 78
        monkeypatch.delenv("HANABI_PORT")
    assert port(data_dir) == DEFAULT_PORT
    assert [each.name for each in data_dir.iterdir()] == ["keys.json"]


def test_what_a_dead_server_left_counts_for_nothing(data_dir: Path) -> None:
    with announced(data_dir) as announcement:
        announcement.write(1234)
        left = json.loads((data_dir / NAME).read_text())
    strange = ({"started": left["started"] + 1}, {"started": 0, "pid": 1 << 30}, {"pid": 1 << 30}, {"pid": -1}, {"port": 0}, {"port": "1"})
    for change in strange:
        (data_dir / NAME).write_text(json.dumps(left | change))
        assert running_port(data_dir) is None, change
    for text in ("", "{", "[]", "null", "{}", "[" * 100_000, json.dumps({"port": 1, "pid": os.getpid()})):
        (data_dir / NAME).write_text(text)
        assert running_port(data_dir) is None, text[:20]
    with announced(data_dir):
        assert not (data_dir / NAME).exists()


def test_env_refuses_a_key_that_the_server_there_would_reject(
    data_dir: Path, answering: list[Answers], capsys: pytest.CaptureFixture[str]
) -> None:
    def env(at: int) -> tuple[int, str, str]:
        status = main(["env", "--data-dir", str(data_dir), "--port", str(at)])
        said = capsys.readouterr()
        return status, said.out, said.err

    def answer(status: int, body: bytes) -> int:
        answering.append(Answers(status, body))
        return int(answering[-1].server_address[1])

    own = json.dumps({"status": "ok", "key": fingerprint("AKIAEXAMPLE")}).encode()
    status, out, err = env(answer(200, own))
    assert (status, err) == (0, "") and "AKIAEXAMPLE" in out
    assert env(answer(503, own.replace(b"ok", b"draining")))[0] == 0

    other = json.dumps({"status": "ok", "key": fingerprint("AKIAOTHER")}).encode()
    status, out, err = env(answer(200, other))
    assert (status, out) == (1, "") and "is that of another data directory: name its --data-dir" in err

    for strange in (b"", b"[]", b"<html>", b'"key"'):
        status, out, err = env(answer(404, strange))
        assert (status, out) == (1, "") and "is no Hanabi" in err

    status, out, err = env(free_port())
    assert status == 0 and "AKIAEXAMPLE" in out and "no Hanabi answers on port" in err
