"""A disk that is full: nothing is accepted that could be lost, what is refused says why, and the server outlives it."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import needs_root

ROOT = Path(__file__).resolve().parents[2]


@needs_root
def test_a_full_disk_is_refused_clearly_and_outlived() -> None:
    with tempfile.TemporaryDirectory(prefix="hanabi-", dir="/var/tmp") as directory:
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.system.full_disk", directory]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
