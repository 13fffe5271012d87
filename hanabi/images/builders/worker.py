"""Worker processes, such as builders: their output is progress, and their programs end with them."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hanabi
from hanabi.base.processes import run_group
from hanabi.errors import ImageError

BUILD_S = 3600.0  # another process's build that is waited for included
LOW = 10  # the nice value while no caller waits


class WorkerFailed(Exception):
    """A worker's exit with a status other than 0, and its standard error."""


class Priority:
    """The priority of a worker and its programs: low while no caller waits for the result."""

    def __init__(self, *, low: bool = False) -> None:
        self._low = low
        self._group = 0

    def begin(self, group: int) -> None:
        """Set the priority of a worker that has started, before it starts programs."""
        self._group = group
        if self._low:
            self._set(LOW)

    def lift(self) -> None:
        """Raise the priority, because a caller waits now. An ordinary user may not: the worker goes on as it is."""
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
    """Run `python -m module arguments`, which prints progress. Raises `ImageError` with its standard error when it fails."""
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
    begin = priority.begin if priority is not None else None
    ended = await run_group(command, limit_s=limit_s, environment=environment, on_line=progress, on_start=begin)
    if ended.status:
        raise WorkerFailed(ended.said or f"its builder ended with {ended.status}")
