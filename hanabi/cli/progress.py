"""Progress display: on a terminal a bar with per cent, or a counter where the total is unknown; plain lines elsewhere."""

import shutil
from typing import TextIO

from hanabi.images.builders.progress import ProgressCount, decode_count

BAR = 24  # characters
STEP = 10  # per cent between two plain lines
PLAIN_COUNT = 250  # counted things between two plain lines, where no whole is known
_UNITS = (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10))


class Progress:
    """Shows the lines of builders on a stream, standard error as a rule."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._drawn = False
        self._last: dict[str, int] = {}

    def show(self, name: str, line: str) -> None:
        """Show one line of the builder of `name`."""
        count = decode_count(line)
        if count is None:
            self.end()
            print(f"{name}: {line}", file=self._stream, flush=True)
        elif self._live:
            self._draw(f"{name}: {format_progress(count)}")
        else:
            self._tell(name, count)

    def end(self) -> None:
        """End a drawn bar; the next line begins below it."""
        if self._drawn:
            print(file=self._stream, flush=True)
            self._drawn = False

    def _draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r\x1b[K{text[:width]}")
        self._stream.flush()
        self._drawn = True

    def _tell(self, name: str, count: ProgressCount) -> None:
        reached = count.done * 100 // count.total // STEP if count.total else count.done // PLAIN_COUNT
        if self._last.get(count.what, 0) < reached:
            self._last[count.what] = reached
            print(f"{name}: {count.what}, {format_share(count)}", file=self._stream, flush=True)


def format_progress(count: ProgressCount) -> str:
    """`fetching x [#####.......] 42 %  63 MB`, or `compiling x: 421 files`"""
    if not count.total:
        return f"{count.what}: {_amount(count)}"
    filled = min(BAR, count.done * BAR // count.total)
    return f"{count.what} [{'#' * filled}{'.' * (BAR - filled)}] {format_share(count)}"


def format_share(count: ProgressCount) -> str:
    per_cent = f"{min(100, count.done * 100 // count.total)} %  " if count.total else ""
    return per_cent + _amount(count)


def _amount(count: ProgressCount) -> str:
    if count.unit != "bytes":
        return f"{count.done} {count.unit}"
    for unit, size in _UNITS:
        if count.done >= size:
            return f"{count.done / size:.1f} {unit}"
    return f"{count.done} bytes"
