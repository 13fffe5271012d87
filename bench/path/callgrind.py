"""Instructions that a process executes in user space, counted by valgrind's callgrind.

The process starts uncounted, which is ten times as fast. Then blocks of work are counted, one of n and one of 2n: their difference is the
cost of n, and what surrounds a block costs nothing.
"""

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

NAME = "callgrind"
_SUMMARY = re.compile(r"^summary: (\d+)", re.MULTILINE)


def is_there() -> bool:
    return all(map(shutil.which, ("valgrind", "vgdb", "setarch")))


def wrapper(directory: Path) -> list[str]:
    """What a command is put behind; the counts of it go into the directory."""
    return ["setarch", "-R", "valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={directory / NAME}"]


async def count(pid: int, directory: Path, work: Callable[[int], Awaitable[object]], n: int) -> float:
    """Instructions of one unit of work, of which `work` does as many as it is told."""
    await _tell(pid, "instrumentation", "on")
    await work(n)  # the code is translated now
    await _tell(pid, "zero")
    totals = []
    for number, units in enumerate((n, 2 * n), 1):
        await work(units)
        await _tell(pid, "dump")
        found = _SUMMARY.search((directory / f"{NAME}.{number}").read_text())
        assert found is not None
        totals.append(int(found[1]))
    return (totals[1] - totals[0]) / n


async def _tell(pid: int, *command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "vgdb", f"--pid={pid}", *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"vgdb {' '.join(command)}: {errors.decode().strip()}")
