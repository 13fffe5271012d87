"""A program ends with its group, within its time, and what it says is bounded."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from hanabi.base.processes import SAID_MAX_BYTES, ask, run_group

ENVIRONMENT = {"PATH": os.environ["PATH"]}


async def test_lines_status_and_errors() -> None:
    lines: list[str] = []
    groups: list[int] = []
    ended = await run_group(
        ["sh", "-c", "read given; echo got $given; echo second; echo why >&2; exit 3"],
        limit_s=60,
        environment=ENVIRONMENT,
        given=b"this\n",
        on_line=lines.append,
        on_start=groups.append,
    )
    assert (ended.status, ended.said, lines) == (3, "why", ["got this", "second"])
    assert len(groups) == 1


async def test_one_that_does_not_read_what_it_is_given() -> None:
    ended = await run_group(["true"], limit_s=60, environment=ENVIRONMENT, given=b"x" * 1_000_000)
    assert ended.status == 0


async def test_the_end_of_much_is_kept() -> None:
    ended = await run_group(["sh", "-c", "yes no | head -c 1000000 >&2; echo last >&2"], limit_s=60, environment=ENVIRONMENT)
    assert len(ended.said) <= SAID_MAX_BYTES and ended.said.endswith("last")


async def test_its_programs_end_with_it(tmp_path: Path) -> None:
    """The program's own child is of its group; both are asked to end, and do."""
    pid = tmp_path / "pid"
    script = f"sleep 1000 & echo $! > {pid}; echo up; wait"
    up = asyncio.Event()
    running = asyncio.create_task(run_group(["sh", "-c", script], limit_s=600, environment=ENVIRONMENT, on_line=lambda line: up.set()))
    await asyncio.wait_for(up.wait(), 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await _gone(int(pid.read_text()))


async def test_one_that_takes_too_long() -> None:
    groups: list[int] = []
    with pytest.raises(TimeoutError):
        await run_group(["sleep", "1000"], limit_s=0.05, environment=ENVIRONMENT, on_start=groups.append)
    with pytest.raises(ProcessLookupError):
        os.kill(groups[0], 0)


async def test_a_signal_is_a_negative_status() -> None:
    ended = await run_group(["sh", "-c", "kill -9 $$"], limit_s=60, environment=ENVIRONMENT)
    assert ended.status == -signal.SIGKILL


def test_asking() -> None:
    assert ask(["echo", "1.2"]) == "1.2\n"
    assert ask(["false"]) is None
    assert ask(["/no/such/program"]) is None
    assert ask(["sleep", "1000"], timeout_s=0.05) is None


async def _gone(pid: int) -> None:
    """Until a process is there no more, or a zombie that another one has yet to reap."""
    for _ in range(3000):
        if _state(pid) in ("", "Z"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"process {pid} is still there")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
