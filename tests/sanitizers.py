"""The agent's programs built with ASan and UBSan, where the C compiler has them."""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "guest" / "agent"
COMPILER = os.environ.get("CC", "cc")
BUILD_TIMEOUT_S = 300.0


@cache
def _missing() -> str | None:
    """Why nothing can be built with sanitizers here; None: it can."""
    if shutil.which(COMPILER) is None:
        return f"needs a C compiler with ASan and UBSan: there is no {COMPILER}"
    with tempfile.TemporaryDirectory() as directory:
        program = f"{directory}/program"
        command = [COMPILER, "-fsanitize=address,undefined", "-x", "c", "-", "-o", program]
        for each in (command, [program]):
            done = subprocess.run(each, input="int main(void){return 0;}", capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                return f"needs a C compiler with ASan and UBSan: {COMPILER} says {said}"
    return None


@cache
def _build() -> Path:
    command = ["make", "-C", str(SOURCE), f"CC={COMPILER}", f"PYTHON={sys.executable}", "sanitize"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return SOURCE.parent / "build"


def build_sanitized() -> Path:
    """The directory with `hanabi-init-sanitized` and `fuzz-messages`; skips the test where they cannot be built."""
    if reason := _missing():
        pytest.skip(reason)
    return _build()


def sanitizer_options(log: Path) -> dict[str, str]:
    """Variables for a program of `build_sanitized`: findings go to the files `<log>.<pid>`, and end the process with 99."""
    common = f"log_path={log}:exitcode=99"
    # leaks are looked for by ptrace, which the agent forbids; it has no heap
    return {"ASAN_OPTIONS": f"{common}:detect_leaks=0:detect_stack_use_after_return=1", "UBSAN_OPTIONS": f"{common}:print_stacktrace=1"}
