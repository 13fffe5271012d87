"""`hanabi up` on a data directory that it cannot use ends with one line that names the file, and with status 1."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server import IMAGES, free_port
from tests.upgrades.node import VERSION_0, unpack


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the users of sandboxes may enter."""
    path = Path(tempfile.mkdtemp(prefix="hanabi-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def broken(path: Path) -> None:
    path.write_bytes(b"this is something else\n" * 500)
    path.with_name(f"{path.name}-wal").unlink(missing_ok=True)  # which may hold all that the file lacks


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("state.db", newer, "has version 99, and this Hanabi knows versions up to 2"),
        ("events.db", newer, "has version 99"),
        ("record.db", newer, "has version 99"),
        ("state.db", broken, "is damaged: file is not a database"),
        ("events.db", broken, "is damaged: file is not a database"),
        ("keys.json", broken, "is damaged: it is not JSON"),
    ],
)
def test_it_ends_with_one_line(place: Path, name: str, damage: Callable[[Path], None], said: str) -> None:
    data = unpack(VERSION_0, place / "data")
    damage(data / name)
    before = (data / name).read_bytes()
    command = [sys.executable, "-m", "hanabi", "up", "--port", str(free_port()), "--data-dir", str(data), "--images-dir", str(IMAGES)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    isolation = ["--isolation", "oci"] if os.geteuid() == 0 else ["--isolation", "process"]
    done = subprocess.run([*command, *isolation], capture_output=True, text=True, timeout=60, env=environment)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "hanabi ready" not in done.stdout, done.stderr
    assert last.startswith(f"hanabi up: {data / name} ") and said in last, done.stderr
    assert "Traceback" not in done.stderr and "defect" not in done.stderr
    assert (data / name).read_bytes() == before
