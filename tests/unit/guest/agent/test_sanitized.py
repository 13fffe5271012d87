"""The tests of this directory once more, on the agent built with ASan and UBSan."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sanitizers import build_sanitized, sanitizer_options

HERE = Path(__file__).resolve()
TIMEOUT_S = 240.0


@pytest.fixture
def findings() -> Iterator[Path]:
    """A directory into which the agent and its children can write, whatever their uid."""
    directory = Path(tempfile.mkdtemp(prefix="hanabi-sanitizer-", dir="/tmp"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


def reports(findings: Path) -> str:
    return "\n".join(each.read_text(errors="replace") for each in sorted(findings.glob("report.*")))


@pytest.mark.skipif("HANABI_TEST_AGENT" in os.environ, reason="HANABI_TEST_AGENT names the agent to test")
def test_the_agent_s_tests_find_no_error_of_memory(findings: Path) -> None:
    agent = build_sanitized() / "hanabi-init-sanitized"
    environment = {**os.environ, **sanitizer_options(findings / "report"), "HANABI_TEST_AGENT": str(agent)}
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", str(HERE.parent), "--ignore", str(HERE)]
    done = subprocess.run(command, env=environment, cwd=HERE.parents[4], capture_output=True, text=True, timeout=TIMEOUT_S)
    said = done.stdout + done.stderr + reports(findings)
    assert reports(findings) == "" and "runtime error:" not in said, said
    assert done.returncode == 0, said
    assert " passed" in done.stdout


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("volatile char cells[4]; memset((void *)cells, 0, argc + 7); return cells[0];", "stack-buffer-overflow"),
        ("return 0x7fffffff + argc;", "runtime error"),
    ],
    ids=["memory", "undefined behaviour"],
)
def test_an_error_would_be_found(findings: Path, statement: str, finding: str) -> None:
    """The options are understood: an error ends the process and is reported, by ASan to a file, by UBSan to a file or to stderr."""
    build_sanitized()
    source, program = findings / "wrong.c", findings / "wrong"
    source.write_text(f"#include <string.h>\nint main(int argc, char **argv) {{ (void)argv; {statement} }}")
    flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run([os.environ.get("CC", "cc"), *flags, source, "-o", program], check=True, timeout=TIMEOUT_S)
    environment = {**os.environ, **sanitizer_options(findings / "report")}
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode != 0
    assert finding in done.stderr + reports(findings)
