"""What the README tells people to type works as written."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import needs_root
from tests.readme.sessions import ROOT, session
from tests.server import Server

pytestmark = needs_root
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Server]:
    """With the settings that a user has, who gives none."""
    with Server("--roles", "strict") as server:
        yield server


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


def test_the_shortest_way(strict_server: Server) -> None:
    output = shell("hanabi", strict_server, ROOT)
    assert '"message": "Hi, hanabi!"' in output
    assert "greeting hanabi" in output and "REPORT RequestId: " in output
    assert output.splitlines()[-1].startswith("total")


def test_the_aws_cli_session(strict_server: Server, tmp_path: Path) -> None:
    output = shell("aws", strict_server, tmp_path)
    answer = json.loads((tmp_path / "response.json").read_text())
    assert answer == {"statusCode": 200, "body": '{"area": 42}'}
    assert "The area is 42" in output and "REPORT RequestId: " in output


def test_the_boto3_session(strict_server: Server, tmp_path: Path) -> None:
    output = run([sys.executable, "-c", session("boto3")], strict_server, tmp_path, **strict_server.env)
    assert output.splitlines()[0] == "42"
    assert "adding [20, 22]" in output and "REPORT RequestId: " in output
