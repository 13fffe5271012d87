"""What the README tells people to type works as written."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.readme.sessions import ROOT, session
from tests.server import Server

BIN = Path(sys.executable).parent


def run(command: list[str], server: Server, cwd: Path, **variables: str) -> str:
    """Standard output; fails with both outputs when the command does."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = inherited | {"HANABI_DATA_DIR": str(server.data_dir), "HANABI_PORT": str(server.port), "AWS_PAGER": ""}
    environment["PATH"] = f"{BIN}:{os.environ['PATH']}"
    environment["AWS_CONFIG_FILE"] = environment["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    done = subprocess.run(command, cwd=cwd, env=environment | variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shell(name: str, server: Server, cwd: Path) -> str:
    return run(["bash", "-euo", "pipefail", "-c", session(name)], server, cwd)


def test_the_shortest_way(hanabi_server: Server) -> None:
    output = shell("hanabi", hanabi_server, ROOT)
    assert '"message": "Hi, hanabi!"' in output
    assert "greeting hanabi" in output and "REPORT RequestId: " in output
    assert output.splitlines()[-1].startswith("total")


def test_the_aws_cli_session(hanabi_server: Server, tmp_path: Path) -> None:
    output = shell("aws", hanabi_server, tmp_path)
    answer = json.loads((tmp_path / "response.json").read_text())
    assert answer == {"statusCode": 200, "body": '{"area": 42}'}
    assert "The area is 42" in output and "REPORT RequestId: " in output


def test_the_boto3_session(hanabi_server: Server, tmp_path: Path) -> None:
    output = run([sys.executable, "-c", session("boto3")], hanabi_server, tmp_path, **hanabi_server.env)
    assert output.splitlines()[0] == "42"
    assert "adding [20, 22]" in output and "REPORT RequestId: " in output
