"""Real file systems that are full: reserved room is had, whatever others write."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import needs_root


@needs_root
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_what_runs_is_recorded_on_a_full_disk(tmp_path: Path, kind: str) -> None:
    if kind != "tmpfs" and not shutil.which(f"mkfs.{kind}"):
        pytest.skip(f"there is no mkfs.{kind}")
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.unit.ledger.small_disk", kind, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode and "mount: " in done.stderr and "loop" in done.stderr:
        pytest.skip(f"no loop device: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
