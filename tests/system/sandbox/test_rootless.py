"""The driver as an ordinary user: with delegated cgroups (made so by the test), and its refusal without."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanabi.sandbox.agent import find_agent
from hanabi.sandbox.host.cgroup import CgroupTree
from hanabi.sandbox.host.earlier_runs import tag_of
from tests.system.sandbox.ordinary_user import UID
from tests.system.sandbox.rig import make_image, unavailable

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def scene() -> Iterator[Path]:
    if reason := unavailable():
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="hanabi-test-", dir="/var/tmp"))
    directory.chmod(0o755)
    make_image(directory)
    shutil.copy(find_agent(), directory / "hanabi-init")
    (directory / "home").mkdir(mode=0o700)
    os.chown(directory / "home", UID, UID)
    yield directory
    shutil.rmtree(directory)


def run(scene: Path, module: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", module, scene], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_an_ordinary_user_with_delegated_cgroups(scene: Path) -> None:
    for program in ("fuse2fs", "pasta", "newuidmap"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    tree = CgroupTree(tag_of(scene / "home" / "run"))
    if any(tree.version(name) == 2 for name in ("cpu", "memory", "pids")):
        pytest.skip("delegates cgroup v1 directories; with v2: systemd-run --user --scope -p Delegate=yes hanabi doctor")
    tree.prepare()
    try:
        for directory in tree.directories():
            for path in (directory, *directory.iterdir()):
                os.chown(path, UID, UID)
            if (directory / "cpuset.cpus").exists():
                for name in ("cpuset.cpus", "cpuset.mems"):
                    value = (directory.parents[1] / name).read_text()
                    for each in (directory.parent, directory):
                        (each / name).write_text(value)
        done = run(scene, "tests.system.sandbox.ordinary_user")
        assert done.returncode == 0, done.stderr
    finally:
        tree.close()
    found = json.loads(done.stdout)
    assert "as an ordinary user" in found["describe"] and "no outbound network" not in found["describe"]
    assert found["tried"].splitlines() == [
        "tcp ok 0", *(f"{name} EPERM" for name in ("mount", "raw", "unshare-user", "kill-agent", "setuid-root")),
    ]  # fmt: skip
    assert len(found["uids"]) == 9  # three uids, no range
    assert 16 <= int(found["filled"]) < 24
    assert found["killed"] and found["oom_kills"] == 1
    assert found["mounted"] == "bootstrap"
    assert found["dns"] == "answer 12 code 2"
    assert found["left"] == []


def test_an_ordinary_user_without_delegation_is_told_what_to_do(scene: Path) -> None:
    code = (
        "import os; from hanabi.sandbox.host import mounts; from hanabi.errors import IsolationUnavailable\n"
        f"os.setgroups([]); os.setresgid({UID}, {UID}, {UID}); os.setresuid({UID}, {UID}, {UID})\n"
        "try: mounts.enter_private_mounts()\n"
        "except IsolationUnavailable as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "start it as root" in said.stdout, said.stderr
