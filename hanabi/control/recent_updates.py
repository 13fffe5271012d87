"""Updates that ended a moment ago, which the API still shows as in progress.

On AWS an update takes a second or two, and what reads or updates the function meanwhile counts on that. Here it may take milliseconds.
Invocations run the new version at once; only descriptions, and the refusal of another update, come from what is kept here, in memory.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from hanabi.base.clock import Clock
from hanabi.control.arns import LATEST
from hanabi.control.functions import Functions
from hanabi.control.model import Function, Version
from hanabi.errors import ResourceConflict

SHOWN_S = 0.3  # since the update


@dataclass(frozen=True, slots=True)
class _Update:
    function: Function  # as it was when the update began
    until_s: float  # of the monotonic clock


class RecentUpdates:
    """The updates of the last `shown_s` seconds."""

    def __init__(self, functions: Functions, clock: Clock, shown_s: float) -> None:
        self._clock = clock
        self._shown_s = shown_s
        self._updates: OrderedDict[str, _Update] = OrderedDict()  # by name, the oldest first
        functions.listen(self._changed)

    def show(self, function: Function, version: Version) -> Version:
        """Return a version as it was when the function's update began, if that is recent."""
        begun = self._find(function)
        if begun is None:
            return version
        versions: Mapping[str, Version] = {**begun.versions, LATEST: begun.latest}
        shown = versions.get(version.number, version)
        return shown if shown.update == "InProgress" or shown.state == "Pending" else version

    def has_just_begun(self, time_ms: int) -> bool:
        """Whether what was asked for at a Unix time is still shown as under way."""
        return self._clock.time() * 1000 - time_ms < self._shown_s * 1000

    def refuse(self, function: Function) -> None:
        """Raise `ResourceConflict` if the function was updated a moment ago."""
        if self._find(function) is not None:
            raise ResourceConflict(f"The operation cannot be performed at this time. An update is in progress for resource: {function.arn}")

    def _find(self, function: Function) -> Function | None:
        update = self._updates.get(function.name)
        if update is None or update.function.latest.generation != function.latest.generation or self._clock.monotonic() >= update.until_s:
            return None
        return update.function

    def _changed(self, old: Function | None, new: Function | None) -> None:
        now_s = self._clock.monotonic()
        while self._updates and next(iter(self._updates.values())).until_s <= now_s:
            self._updates.popitem(last=False)
        if old is None or new is None:
            return
        if old.latest.generation == new.latest.generation:
            if old.latest.settled and old.versions != new.versions:  # who could publish it knows that it has ended
                self._updates.pop(new.name, None)
        elif new.latest.update == "InProgress" and self._shown_s:
            self._updates.pop(new.name, None)
            self._updates[new.name] = _Update(new, now_s + self._shown_s)
