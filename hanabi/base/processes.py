"""Running programs to their end: a time limit, bounded output, and a process group that ends as a whole."""

import asyncio
import contextlib
import os
import signal
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ASK_S = 30.0  # for a program that answers at once
ANSWER_MAX_BYTES = 1 << 20
SAID_MAX_BYTES = 64 << 10  # of standard error: its end
END_S = 10.0  # from SIGTERM to SIGKILL
SYSTEM_PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # an ordinary user's PATH often lacks them


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit status (negative: the signal), and the end of what it said on standard error."""

    status: int
    said: str


def search_path() -> str:
    """The search path for programs: the user's PATH, then the sbin directories."""
    return ":".join([os.environ.get("PATH", os.defpath), *SYSTEM_PATHS])


def ask(command: Sequence[str | Path], *, timeout_s: float = ASK_S, environment: Mapping[str, str] | None = None) -> str | None:
    """Run a short program and return its output; None when it is absent, fails or takes too long. Blocks."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=timeout_s, env=environment
        )
    except (OSError, ValueError, subprocess.SubprocessError):  # ValueError: a name that no program can have
        return None
    return done.stdout[:ANSWER_MAX_BYTES].decode(errors="replace") if done.returncode == 0 else None


async def run_group(
    command: Sequence[str | Path],
    *,
    limit_s: float,
    environment: Mapping[str, str],
    given: bytes | None = None,
    on_line: Callable[[str], None] | None = None,
    on_start: Callable[[int], None] | None = None,
) -> Ended:
    """Run a program in a process group of its own, which ends with it. Raises `TimeoutError` after `limit_s`, `OSError`.

    `given` is its standard input; `on_line` gets each line of its standard output; `on_start` the id of its group. When it ends
    early, the group gets SIGTERM first, so that programs can clean up, then SIGKILL.
    """
    stdin, stdout = DEVNULL if given is None else PIPE, DEVNULL if on_line is None else PIPE
    program = await asyncio.create_subprocess_exec(
        *command, stdin=stdin, stdout=stdout, stderr=PIPE, env=environment, start_new_session=True
    )
    if on_start is not None:
        on_start(program.pid)
    assert program.stderr is not None
    saying = asyncio.create_task(_read_end(program.stderr), name=f"errors of {os.path.basename(command[0])}")
    try:
        async with asyncio.timeout(limit_s):
            if given is not None:
                await _feed(program, given)
            if on_line is not None:
                assert program.stdout is not None
                async for line in program.stdout:
                    on_line(line.decode(errors="replace").rstrip())
            await program.wait()
            said = await saying
    finally:
        saying.cancel()
        await end_group(program)
    return Ended(program.returncode or 0, said.decode(errors="replace").strip())


async def end_group(program: Process) -> None:
    """End a program that leads its process group, and with it the group: SIGTERM, after `END_S` SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if program.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(program.wait(), END_S)


async def _feed(program: Process, given: bytes) -> None:
    assert program.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its status says why
        program.stdin.write(given)
        await program.stdin.drain()
    program.stdin.close()


async def _read_end(stream: asyncio.StreamReader) -> bytes:
    """Read a whole stream and return its end."""
    kept = b""
    while piece := await stream.read(SAID_MAX_BYTES):
        kept = (kept + piece)[-SAID_MAX_BYTES:]
    return kept
