"""Running a builder or another worker as a process of its own: its lines are progress, its end ends all its programs."""

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
LOW = 10  # the nice value of what nobody waits for


class WorkerFailed(Exception):
    """It ended with another status than 0; what it said on standard error."""


class Priority:
    """Of a worker and its programs: low while nobody waits for what it makes."""

    def __init__(self, *, low: bool = False) -> None:
        self._low = low
        self._group = 0

    def begin(self, group: int) -> None:
        """The worker has started; its programs are still to come."""
        self._group = group
        if self._low:
            self._set(LOW)

    def lift(self) -> None:
        """Somebody waits now. An ordinary user may not lift what was lowered: it goes on as it is."""
        if self._low:
            self._low = False
            self._set(0)

    def _set(self, nice: int) -> None:
        if self._group:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PGRP, self._group, nice)


async def run_builder(
    module: str, arguments: Sequence[str | Path], what: str, progress: Callable[[str], None], priority: Priority | None = None
) -> None:
    """Run `python -m module arguments`, which prints progress. Raises `ImageError` with what it said on standard error when it fails."""
    try:
        await run_worker(module, arguments, BUILD_S, progress, priority)
    except TimeoutError:
        raise ImageError(f"{what} was not built within {BUILD_S:.0f} s") from None
    except WorkerFailed as error:
        raise ImageError(f"{what[:1].upper()}{what[1:]} could not be built: {error}") from None


async def run_worker(
    module: str, arguments: Sequence[str | Path], limit_s: float, progress: Callable[[str], None], priority: Priority | None = None
) -> None:
    """Run `python -m module arguments` to its end. Raises `WorkerFailed`, and `TimeoutError` after `limit_s`."""
    command = (sys.executable, "-m", module, *map(str, arguments))
    environment = {**os.environ, "PYTHONPATH": str(Path(hanabi.__file__).parents[1]), "PYTHONSAFEPATH": "1"}
    builder = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment, start_new_session=True)
    assert builder.stdout and builder.stderr
    if priority is not None:
        priority.begin(builder.pid)
    said = asyncio.create_task(builder.stderr.read())
    try:
        async with asyncio.timeout(limit_s):
            async for line in builder.stdout:
                progress(line.decode(errors="replace").rstrip())
            await builder.wait()
            reason = (await said).decode(errors="replace").strip()
    finally:
        said.cancel()
        await _end(builder)
    if builder.returncode:
        raise WorkerFailed(reason or f"its builder ended with {builder.returncode}")


async def _end(builder: Process) -> None:
    """Its programs too: first asked, so that they undo their mounts, then killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if builder.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(builder.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(builder.wait(), END_S)
