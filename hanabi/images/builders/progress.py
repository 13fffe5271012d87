"""A builder's progress as lines of standard output: text, and counts that a terminal shows as a bar."""

import time
from collections.abc import Callable
from dataclasses import dataclass

INTERVAL_S = 0.2  # a count is told no oftener, but for the last


@dataclass(frozen=True, slots=True)
class ProgressCount:
    """The progress of a step: `done` of `total` if known, in `unit`."""

    what: str
    done: int
    total: int | None
    unit: str

    def encode(self) -> str:
        return f"{self.what}\t{self.done}\t{'' if self.total is None else self.total}\t{self.unit}"


def decode_count(line: str) -> ProgressCount | None:
    """Decode a count from a line; None for text."""
    match line.split("\t"):
        case [what, done, total, unit] if done.isdecimal() and (not total or total.isdecimal()):
            return ProgressCount(what, int(done), int(total) if total else None, unit)
    return None


class ProgressReporter:
    """Reports a builder's progress; `progress` takes the lines."""

    def __init__(self, progress: Callable[[str], None], time_s: Callable[[], float] = time.monotonic) -> None:
        self.say = progress
        self._time_s = time_s

    def counter(self, what: str, unit: str = "bytes") -> Callable[[int, int | None], None]:
        """Make a function that takes (done, total or None); it may be called often."""
        last = float("-inf")

        def counted(done: int, total: int | None) -> None:
            nonlocal last
            now = self._time_s()
            if now - last >= INTERVAL_S or done == total:
                last = now
                self.say(ProgressCount(what, done, total, unit).encode())

        return counted
