"""Running a module of Hanabi's in a process of its own: its lines are progress, and it ends with whoever waits for it."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

import hanabi

END_S = 10.0  # for a worker that is told to stop
LINE_LIMIT = 1 << 20  # bytes of one line that a worker prints
Progress = Callable[[str], None]


class WorkerFailed(Exception):
    """It ended with another status than 0; what it said on standard error."""


async def run_worker(module: str, *arguments: str, limit_s: float, progress: Progress) -> None:
    """Run `python -m module arguments` to its end. Raises `WorkerFailed`, and `TimeoutError` after `limit_s`.

    The programs that it runs belong to its process group, and end with it.
    """
    command = (sys.executable, "-m", module, *arguments)
    environment = {**os.environ, "PYTHONPATH": str(Path(hanabi.__file__).parents[1]), "PYTHONSAFEPATH": "1"}
    worker = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=PIPE, env=environment, start_new_session=True, limit=LINE_LIMIT
    )
    assert worker.stdout and worker.stderr
    said = asyncio.create_task(worker.stderr.read())
    try:
        async with asyncio.timeout(limit_s):
            async for line in worker.stdout:
                progress(line.decode(errors="replace").rstrip())
            await worker.wait()
            reason = (await said).decode(errors="replace").strip()
    finally:
        said.cancel()
        await _end(worker)
    if worker.returncode:
        raise WorkerFailed(reason or f"it ended with {worker.returncode}")


async def _end(worker: Process) -> None:
    """Its programs too: first asked, so that they undo their mounts, then killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if worker.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.wait(), END_S)
