"""Status output of a running command: a spinner on a terminal, plain lines elsewhere."""

import os
from typing import Any, Self, TextIO

from hanabi.cli.progress import STEP, format_progress, format_share
from hanabi.images.builders.progress import ProgressCount

_COLOURS = {"green": "32", "red": "31", "yellow": "33", "dim": "2", "bold": "1"}


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Colour a text where the stream is a terminal with colours. Respects https://no-color.org."""
    if not colour or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


class Terminal:
    """A context that shows one status line. A terminal redraws it; a pipe gets each new one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._status: Any = None
        self._said = ""
        self._reached: dict[str, int] = {}

    def doing(self, what: str, detail: str = "") -> None:
        """Set the status line. `detail` changes often and is shown on a terminal only."""
        if not self._stream.isatty():
            if what != self._said:
                print(what, file=self._stream, flush=True)
            self._said = what
            return
        if what + detail == self._said:
            return
        self._said = what + detail
        if self._status is None:
            from rich.console import Console  # here: it takes longer to import than a short command takes

            self._status = Console(file=self._stream).status("")
            self._status.start()
        from rich.text import Text

        self._status.update(Text(self._said))

    def count(self, what: str, done: int, total: int) -> None:
        """Show bytes of a total: a bar on a terminal, a line for every 10 % in a pipe."""
        count = ProgressCount(what, done, total, "bytes")
        if self._stream.isatty():
            self.doing(format_progress(count))
            return
        reached = done * 100 // total // STEP if total else 0
        if reached != self._reached.get(what):
            self._reached[what] = reached
            self.doing(f"{what}, {format_share(count)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
