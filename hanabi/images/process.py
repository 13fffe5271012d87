"""Running a builder as a process of its own: its lines are progress, its end ends all its programs."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path

import hanabi
from hanabi.errors import ImageError

BUILD_S = 3600.0  # another process's build that is waited for included
END_S = 10.0  # for a builder that is told to stop


async def run_builder(module: str, arguments: Sequence[str | Path], what: str, progress: Callable[[str], None]) -> None:
    """Run `python -m module arguments`, which prints progress. Raises `ImageError` with what it said on standard error when it fails."""
    command = (sys.executable, "-m", module, *map(str, arguments))
    environment = {**os.environ, "PYTHONPATH": str(Path(hanabi.__file__).parents[1]), "PYTHONSAFEPATH": "1"}
    builder = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment, start_new_session=True)
    assert builder.stdout and builder.stderr
    said = asyncio.create_task(builder.stderr.read())
    try:
        async with asyncio.timeout(BUILD_S):
            async for line in builder.stdout:
                progress(line.decode(errors="replace").rstrip())
            await builder.wait()
            reason = (await said).decode(errors="replace").strip()
    except TimeoutError:
        raise ImageError(f"{what} was not built within {BUILD_S:.0f} s") from None
    finally:
        said.cancel()
        await _end(builder)
    if builder.returncode:
        reason = reason or f"its builder ended with {builder.returncode}"
        raise ImageError(f"{what[:1].upper()}{what[1:]} could not be built: {reason}")


async def _end(builder: Process) -> None:
    """Its programs too: first asked, so that they undo their mounts, then killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if builder.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(builder.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(builder.wait(), END_S)
