"""kill -9 between any two steps of a segment's life: nothing acknowledged is lost, nothing counts twice."""

import subprocess
import sys
from pathlib import Path


def test_a_kill_between_any_two_steps_of_rotation_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.unit.ledger.killed", str(tmp_path / "data")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert int(ran.stdout.split()[0]) > 30
