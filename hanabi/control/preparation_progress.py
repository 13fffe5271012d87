"""The progress of preparations as text, shown as StateReason and never stored."""

from collections.abc import Callable
from dataclasses import replace

from hanabi.base.clock import Clock
from hanabi.control.model import CREATING, Function, Version
from hanabi.images.builders.progress import decode_count

LONGEST = 200  # characters of a line that a builder said
LONGEST_REASON = 1000  # and of why it does not go on


class PreparationProgress:
    """The progress, by generation of a function. `listen` returns the callback for a builder's lines."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def listen(self, generation: str) -> Callable[[str], None]:
        self._begun[generation] = self._clock.monotonic()

        def hear(line: str) -> None:
            if generation in self._begun:
                self._said[generation] = in_words(line)[:LONGEST]

        return hear

    def wait(self, generation: str, reason: str) -> None:
        """Show what a preparation waits for, and what would help."""
        self._begun.setdefault(generation, self._clock.monotonic())
        self._said[generation] = reason[:LONGEST_REASON]

    def end(self, generation: str) -> None:
        self._begun.pop(generation, None)
        self._said.pop(generation, None)

    def show(self, function: Function, version: Version) -> Version:
        """Return a version with the reason `The function is being created: <progress>, 12 s`."""
        said = self._said.get(function.latest.generation)
        if said is None:
            return version
        waited_s = self._clock.monotonic() - self._begun[function.latest.generation]
        reason = f"{CREATING.rstrip('.')}: {said}, {waited_s:.0f} s"
        return replace(
            version,
            state_reason=reason if version.state_reason == CREATING else version.state_reason,
            update_reason=reason if version.update_reason == CREATING else version.update_reason,
        )


def in_words(line: str) -> str:
    """Format a line or a count of a builder."""
    count = decode_count(line)
    if count is None:
        return line
    if count.total:
        return f"{count.what} {min(100, count.done * 100 // count.total)} %"
    return count.what if count.unit == "bytes" else f"{count.what} {count.done} {count.unit}"
